"""The task `bundle`: its config, and what the export is told."""

from pathlib import Path
from typing import Any

import pytest

from ctcycle.bundle.export import BundlePlan
from ctcycle.config.card import ModelCard
from ctcycle.config.schema import Bundle
from ctcycle.runs.folder import RunFolder
from ctcycle.tasks import bundle
from ctcycle.tasks.job import Job


def config_of(folder: Path, **changes: Any) -> Bundle:
    return Bundle(task="bundle", run=folder.parent / "run", bundle=folder, out=folder.parent / "out", **changes)


def told(config: Bundle, monkeypatch: pytest.MonkeyPatch) -> BundlePlan:
    plans: list[BundlePlan] = []
    monkeypatch.setattr(bundle, "export_bundle", lambda plan: plans.append(plan) or "made")
    assert bundle.run(config, Job(RunFolder(config.out), {}, "bundle")) == "made"
    return plans[0]


def test_every_key_reaches_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard(title="Mine", data_license=tmp_path / "licence.txt")
    values = {
        "checkpoint": "last",
        "formats": ("pt2",),
        "results": {"Test": tmp_path / "results.json"},
        "average_flips": True,
        "fingerprint": False,
        "version": "0.2.0",
        "card": card,
        "overwrite": True,
    }
    found = told(config_of(tmp_path / "mine", changelog={"0.1.0": "first"}, **values), monkeypatch)
    assert found == BundlePlan(tmp_path / "run", tmp_path / "mine", changes={"0.1.0": "first"}, **values)
    assert found.changelog == {"0.2.0": "exported from a training run", "0.1.0": "first"}


def test_defaults_are_those_of_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(config_of(tmp_path / "mine"), monkeypatch) == BundlePlan(tmp_path / "run", tmp_path / "mine")


@pytest.mark.parametrize("name", ["Upper", "with-dash", "9digits", "dot.ted"])
def test_names_are_those_of_the_zoo(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a valid bundle name"):
        config_of(tmp_path / name)
