"""The configs of a bundle: what MONAI looks for, and nothing that is executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from exported_bundle import read_json, workflow


@pytest.mark.parametrize("name", ["inference", "evaluate"])
def test_configs_have_the_properties_that_monai_looks_for(inside: Path, name: str) -> None:
    assert workflow(inside, name).check_properties() == []


def test_inference_and_evaluation_hold_data_alone(bundle: Path) -> None:
    """No ``$``: nothing is evaluated; every ``_target_`` is in the bundle."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for name, item in value.items():
                assert not name.startswith("$")
                assert name != "_target_" or str(item).startswith("scripts.")
                yield from texts(item)
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)
        else:
            yield str(value)

    for name in ("inference", "evaluate"):
        assert not [text for text in texts(read_json(bundle / "configs" / f"{name}.json")) if "$" in text]
