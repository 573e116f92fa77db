"""What the configs of a bundle name, without a bundle."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers.inferer import SimpleInferer
from phantom_series import PATIENT_NAME, body_hu, write_series
from textured_noise import noisy_trunk
from torch import nn

from ctcycle.bundle.runtime.app import (
    BundledModel,
    CTFolder,
    FolderDenoiser,
    SlicesOrTiles,
    checked_flags,
    load_weights,
    logged,
    run_task,
)
from ctcycle.ct.hounsfield import HUWindow, hu_to_mu
from ctcycle.errors import BundleError, ConfigError, SeriesError
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.inference.folders import DenoiseOptions


class Raised(nn.Module):
    """A network that adds its only weight to every value."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.step


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the weights of a network that adds 10 HU."""
    path = tmp_path / "bundle" / "models" / "model.pt"
    path.parent.mkdir(parents=True)
    torch.save({"step": torch.tensor(0.01)}, path)
    return tmp_path / "bundle"


def denoiser(root: Path, options: DenoiseOptions | None = None, **model: Any) -> FolderDenoiser:
    """A task that denoises ``ct`` beside the bundle to ``out``."""
    write_series(root.parent / "ct")
    bundled = BundledModel(root, Raised(), HUWindow(), **{"device": "cpu", **model})
    return FolderDenoiser(CTFolder(root.parent / "ct"), root.parent / "out", bundled, options or DenoiseOptions())


def written(root: Path, place: str = "ct") -> Any:
    return CTFolder(root.parent / "out" / place)[0]["image"].numpy()


def test_a_folder_is_denoised_and_told(root: Path) -> None:
    text = denoiser(root).run()
    assert text.startswith("1 denoised, 0 already done, 0 refused")
    inside = (body_hu() >= -1000) & (body_hu() <= 1000)
    np.testing.assert_array_equal(written(root), body_hu() + 10 * inside)
    assert json.loads((root.parent / "out" / "summary.json").read_text())["denoised"] == 1


@pytest.mark.parametrize("strength", [0.5, "0.5"])
def test_strength_scales_the_correction(root: Path, strength: float) -> None:
    denoiser(root, strength=strength).run()
    assert set(np.unique(written(root) - body_hu())) == {0, 5}


def test_strength_auto_is_chosen_for_each_series(root: Path) -> None:
    stored = np.rint(noisy_trunk(18.0, size=160) + 1024).clip(0).astype(np.uint16)
    task = denoiser(root, strength="auto")
    shutil.rmtree(root.parent / "ct")
    write_series(root.parent / "ct", stored, changes={"PixelSpacing": [0.75, 0.75]})
    assert task.run().startswith("1 denoised")
    np.testing.assert_array_equal(written(root), stored - np.float32(1024))
    (chosen,) = json.loads((root.parent / "out" / "summary.json").read_text())["strengths"]
    assert chosen["strength"] == 0


def test_strength_auto_is_only_for_series() -> None:
    model = BundledModel("", Raised(), HUWindow(), strength="auto")
    with pytest.raises(ConfigError, match=r"^strength=auto: only for denoising a folder; set a number from 0 to 2$"):
        model.denoiser()


def test_words_of_a_command_line_are_flags(root: Path) -> None:
    words: Any = {"residual": "true", "strict": "False", "overwrite": 1}
    options = checked_flags(DenoiseOptions(**words))
    assert options == DenoiseOptions(residual=True, overwrite=True)
    denoiser(root, DenoiseOptions(**words)).run()
    assert np.abs(written(root, "ct-residual")).max() == 10


@pytest.mark.parametrize("axis", [2, "2"])
def test_a_cube_is_cut_along_the_axis_of_the_command_line(root: Path, axis: Any) -> None:
    cube = np.stack([body_hu(1)[0, :, :32].astype(np.int16)] * 32, axis=-1)
    task = denoiser(root, DenoiseOptions(slice_axis=axis))
    shutil.rmtree(task.dataset.path)
    task.dataset.path.mkdir()
    np.save(task.dataset.path / "cube.npy", cube)
    assert task.run().startswith("1 denoised")
    result = np.load(root.parent / "out" / "cube.npy")
    np.testing.assert_array_equal(result, cube + 10 * ((cube >= -1000) & (cube <= 1000)))


@pytest.mark.parametrize("axis", [3, -1, "z", True, 1.5])
def test_an_axis_that_no_volume_has_is_refused(root: Path, axis: Any) -> None:
    with pytest.raises(ConfigError, match=r"^slice_axis=.*: must be 0, 1 or 2$"):
        denoiser(root, DenoiseOptions(slice_axis=axis)).run()


@pytest.mark.parametrize(("word", "passes"), [("true", 4), ("false", 1), (True, 4), (False, 1)])
def test_slices_go_through_the_network_once_or_four_times(word: Any, passes: int) -> None:
    seen = []
    SlicesOrTiles(0, word)(torch.rand(1, 1, 32, 32), lambda image: seen.append(image) or image)
    assert len(seen) == passes


@pytest.mark.parametrize("word", ["yes", 2, None, ""])
def test_other_words_are_refused(word: Any) -> None:
    with pytest.raises(ConfigError, match=r"^strict=.*: must be true or false$"):
        checked_flags(DenoiseOptions(strict=word))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"strength": "much"}, "strength='much': must be a number"),
        ({"strength": 3}, "strength=3.0: must be between 0"),
        ({"device": "tpu"}, "device='tpu': must be auto, cpu"),
        ({"device": "cuda:77"}, "device=cuda:77: not available on this machine"),
        ({"inferer": SlicesOrTiles(7)}, "tile=7: must be 0"),
        ({"inferer": SlicesOrTiles(0, "often")}, "average_flips='often': must be true or false"),  # type: ignore[arg-type]
        ({"inferer": SlicesOrTiles("big")}, "tile='big': must be a whole number"),  # type: ignore[arg-type]
    ],
)
def test_wrong_options_are_told_and_nothing_is_written(root: Path, model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        denoiser(root, **model).run()
    assert not list(root.parent.glob("out/*"))


@pytest.mark.parametrize("name", ["input", "output"])
def test_no_path_is_not_the_current_folder(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    task = denoiser(root)
    changed = replace(task, dataset=CTFolder("")) if name == "input" else replace(task, out="")
    with pytest.raises(ConfigError, match=rf"^{name}: the path is empty; '\.' is the current folder$"):
        changed.run()
    assert sorted(root.rglob("*")) == before


def test_tiles_and_whole_slices_agree_on_a_network_without_surroundings() -> None:
    image = torch.rand(1, 1, 128, 160)
    whole, tiles = (SlicesOrTiles(tile)(image, Raised()) for tile in (0, 64))
    torch.testing.assert_close(whole, image)
    torch.testing.assert_close(tiles, image)
    assert not isinstance(SlicesOrTiles(), SimpleInferer)


def test_strict_needs_and_uses_the_fingerprint(root: Path) -> None:
    task = denoiser(root, DenoiseOptions(strict=True))
    with pytest.raises(BundleError, match="strict"):
        task.run()
    (root / "print.json").write_text(json.dumps(measure_fingerprint(body_hu()).as_dict()))
    same = FolderDenoiser(task.dataset, task.out, task.model, task.options, "print.json")
    assert same.run().startswith("1 denoised")


def test_weights_fill_the_network(root: Path) -> None:
    net = load_weights(Raised(), root / "models" / "model.pt")
    assert net.step == torch.tensor(0.01)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(root: Path, bad: float) -> None:
    torch.save({"step": torch.tensor(bad)}, root / "models" / "model.pt")
    with pytest.raises(BundleError, match=r"model\.pt: weights contain NaN or infinity \(in step\)"):
        load_weights(Raised(), root / "models" / "model.pt")


def test_weights_that_are_code_are_never_run(root: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"step": Evil()}, root / "models" / "model.pt")
    with pytest.raises(BundleError, match="damaged, or not the weights of this network"):
        load_weights(Raised(), root / "models" / "model.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other"])
def test_weights_that_are_damaged_are_told(root: Path, damage: str) -> None:
    path = root / "models" / "model.pt"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        place = content.index(np.float32(0.01).tobytes())
        content[place] ^= 1
        path.write_bytes(content)
    else:
        torch.save({"stride": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match=r"model\.pt: (weights not found|damaged, or not the weights)"):
        load_weights(Raised(), path)


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("a: b; c"), 2), (SeriesError("a: b; c"), 3), (BundleError("a: b; c"), 4)]
)
def test_what_goes_wrong_ends_with_its_sentence_and_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as found:
        run_task(Failing(error))
    assert found.value.code == code
    assert capsys.readouterr().err == "a: b; c\n"


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_task(Failing(ZeroDivisionError()))


def test_progress_and_the_end_are_told_without_any_name(
    root: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        text = run_task(denoiser(root))
    assert "ct: 3 of 3 slices" in caplog.text
    assert capsys.readouterr().out == f"{text}\n"
    assert PATIENT_NAME not in caplog.text + text


def test_progress_passes_everything_on() -> None:
    images = [np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)]
    assert list(logged(images, "ct", 2)) == images


def test_a_folder_is_looked_through_only_when_asked(tmp_path: Path) -> None:
    dataset = CTFolder(tmp_path / "later")
    write_series(tmp_path / "later")
    assert len(dataset) == 1
    assert dataset[0]["image"].shape == (3, 32, 36)
    with pytest.raises(SeriesError, match="does not exist"):
        len(CTFolder(tmp_path / "never"))


def test_attenuation_is_read_with_the_water_that_the_config_gives(tmp_path: Path) -> None:
    hu = body_hu().clip(-1000, None)
    np.save(tmp_path / "mu.npy", hu_to_mu(hu, 0.025))
    np.testing.assert_allclose(CTFolder(tmp_path, 0.025)[0]["image"].numpy(), hu, atol=0.01)
