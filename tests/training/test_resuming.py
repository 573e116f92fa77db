"""A run is resumed on the pixels and from the weights it was started on, or not at all."""

import shutil
from pathlib import Path

import pydicom
import pytest
from tiny_data import TinyData, assert_same_run, train

from ctcycle.data.manifest import read_manifest
from ctcycle.errors import ConfigError, StoppedError
from ctcycle.runs.checkpoints import read_checkpoint, write_checkpoint


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("dose", ["low_dose", "full_dose"])
def test_other_pixels_of_the_same_size_and_uid_are_refused(dose: str, tiny: TinyData, tmp_path: Path) -> None:
    shutil.copytree(tiny.manifest.parent, tmp_path / "data", ignore=shutil.ignore_patterns(".ctcycle_store"))
    manifest = tmp_path / "data" / tiny.manifest.name
    data = f"data.manifest={manifest}"
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", data, "training.stop_after_epoch=1")
    row = read_manifest(manifest).select(dose=dose, split="train").rows[0]  # type: ignore[arg-type]
    for file in (manifest.parent / row.path).rglob("*.dcm"):
        image = pydicom.dcmread(file)
        image.PixelData = (image.pixel_array + 1).tobytes()
        image.save_as(file)
    with pytest.raises(
        ConfigError, match=rf"the pixels of series {row.series} have changed since the run in "
    ) as error:
        train(tiny, tmp_path / "run", "supervised", data)
    assert error.value.exit_code == 2
    assert not (tmp_path / "run" / "finished").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_other_initial_weights_are_refused_until_they_are_restored(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(tiny_run, start)
    weights = start / "checkpoints" / "best.pt"
    initial, former = f"initial={start}", weights.read_bytes()
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", initial, "training.stop_after_epoch=1")
    state = read_checkpoint(weights)
    state["denoiser"] = {name: 2 * value for name, value in state["denoiser"].items()}
    write_checkpoint(weights, state)
    with pytest.raises(ConfigError, match=rf"^initial: the weights in {start} have changed since the run in ") as error:
        train(tiny, tmp_path / "run", "supervised", initial)
    assert error.value.exit_code == 2
    weights.write_bytes(former)
    train(tiny, tmp_path / "run", "supervised", initial)
    train(tiny, tmp_path / "whole", "supervised", initial)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    weights.unlink()  # of no use to a finished run
    train(tiny, tmp_path / "run", "supervised", initial)
