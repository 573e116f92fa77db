"""The tests of the node need its extra."""

import gc
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("pynetdicom") and find_spec("dicomweb_client") else ["*"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A new folder for the node and its peers."""
    from node_sending import place

    with place() as folder:
        yield folder
    gc.collect()
