"""The proposed configs load as they are and hold what was proposed."""

from pathlib import Path

import pytest

from ctcycle.config.loading import load_config
from ctcycle.data.settings import Source
from ctcycle.inspection.proposals.configs import config_files
from ctcycle.inspection.proposals.proposal import Proposal

SOURCES = (Source(Path("data, odd: [name]"), dose="low_dose", slice_axis=0), Source(Path("b")))


def loaded(proposal: Proposal, folder: Path, *, gpu: bool = False) -> dict[str, dict]:
    found = {}
    for name, text in config_files(proposal, Path("runs/x"), gpu=gpu).items():
        (folder / name).write_text(text)
        found[name] = load_config(folder / name).resolved
    return found


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("method", ["supervised", "calibrated_pairs", "physics_cyclegan"])
def test_scan_and_training(method: str, gpu: bool, tmp_path: Path) -> None:
    scheme = None if method == "supervised" else "disjoint_slices"
    splits = {"true": "val", "Q: 1": "test", "other": "train"}
    proposal = Proposal(method, ("a\nreason",), SOURCES, "B30f", splits, {}, scheme, 50, 10_000)
    found = loaded(proposal, tmp_path, gpu=gpu)
    scan, train = found["scan.yaml"], found["train.yaml"]
    assert scan["sources"][0]["path"] == "data, odd: [name]"
    assert (scan["sources"][0]["dose"], scan["sources"][0]["slice_axis"]) == ("low_dose", 0)
    assert (scan["split"]["val"], scan["split"]["test"]) == (["true"], ["Q: 1"])
    assert train["method"] == method
    assert (train["data"]["kernel"], train["data"]["patch_size"]) == ("B30f", 48)
    assert train["data"]["manifest"] == f"{scan['out']}/manifest.csv"
    assert train["data"].get("protocol") == scheme
    assert (train["generator"]["filters"] > 16) == gpu
    if gpu:
        assert train["training"]["iterations_per_epoch"] == 313


def test_simulation(tmp_path: Path) -> None:
    found = loaded(Proposal("simulate", (), SOURCES, side=512), tmp_path)
    assert list(found) == ["simulate.yaml", "train.yaml"]
    assert found["train.yaml"]["data"]["manifest"] == f"{found['simulate.yaml']['out']}/manifest.csv"
    assert found["train.yaml"]["data"]["guard"] is False


def test_nothing_to_train() -> None:
    assert config_files(Proposal("", (), SOURCES), Path("x"), gpu=False) == {}
