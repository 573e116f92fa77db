"""The results of an evaluation, for the card of a bundle."""

from pathlib import Path

import pytest
from exported_bundle import write_results

from ctcycle.bundle.results import read_results
from ctcycle.errors import ConfigError


def test_results_of_another_run_are_refused(tmp_path: Path, tiny_run: Path) -> None:
    path = write_results(tmp_path, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"has results for .*other, not for .*supervised; evaluate the run first"):
        read_results(path, tiny_run)
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"is not a results\.json of this version of ctcycle; evaluate"):
        read_results(path, tiny_run)
