"""The Python API: what a notebook calls, and what ``import ctcycle`` costs."""

import json
import logging
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_series import body_hu, write_series
from textured_noise import noisy_trunk, series_of
from tiny_data import TinyData

import ctcycle
from ctcycle.api import DenoiseKeys
from ctcycle.config.schema import Denoise
from ctcycle.ct.series_io import find_series
from ctcycle.errors import ConfigError, OutputError, SeriesError
from ctcycle.evaluation.scoring import BODY_NOTE
from ctcycle.inference.auto_strength import choose_strength

ROOT = Path(__file__).parent.parent
LISTING = re.findall(
    r"^## From Python\n\n```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def model() -> ctcycle.Model:
    return ctcycle.load_model(device="cpu")


def python(code: str) -> str:
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_import_takes_less_than_50_ms_and_brings_nothing() -> None:
    code = (
        "import sys, time; before = set(sys.modules); start = time.perf_counter(); import ctcycle; "
        "print(time.perf_counter() - start, *(set(sys.modules) - before))"
    )
    found = [python(code).split() for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in found) < 0.05
    assert all(modules == ["ctcycle"] for _, *modules in found)


@pytest.mark.parametrize("name", ["find_series", "load_config", "HUWindow", "CtcycleError", "Series"])
def test_what_needs_no_network_does_not_import_torch(name: str) -> None:
    assert python(f"import sys, ctcycle; ctcycle.{name}; print('torch' in sys.modules)") == "False\n"


def test_every_public_name_exists_and_is_listed() -> None:
    assert set(ctcycle.__all__) <= set(dir(ctcycle))
    for name in ctcycle.__all__:
        assert getattr(ctcycle, name) is not None
    with pytest.raises(AttributeError, match=r"^module 'ctcycle' has no attribute 'denoize'$"):
        ctcycle.denoize  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_names_that_python_finds() -> None:
    namespace: dict[str, object] = {}
    exec((ROOT / "ctcycle" / "__init__.pyi").read_text(), namespace)  # noqa: S102
    assert namespace.pop("__all__") == ctcycle.__all__
    assert {*namespace} - {"__builtins__", "__annotations__"} == {*ctcycle.__all__} - {"__version__"}
    assert all(getattr(ctcycle, name) is namespace[name] for name in ctcycle.__all__ if name != "__version__")


def test_submodules_are_still_found() -> None:
    assert import_module("ctcycle.run").__name__ == "ctcycle.run"


@pytest.mark.slow
def test_the_lines_of_the_readme(tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listing,) = LISTING
    shutil.copytree(tiny.series, tmp_path / "series")
    shutil.copy(tiny.manifest, tmp_path / "manifest.csv")
    for name, dose in (("incoming", "low_dose"), ("routine", "full_dose")):
        shutil.copytree(tiny.series / "sim000" / dose, tmp_path / name / "scan")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(listing, found)  # noqa: S102
    assert found["clean"].shape == found["scan"].hu.shape == found["full"].hu.shape
    assert (found["clean"] != found["scan"].hu).any()
    assert found["summary"]["denoised"] == 1
    assert len(list(tmp_path.glob("denoised/scan*/*.dcm"))) == 4
    assert [row.method for row in found["result"].rows] == ["input", "mine"]
    assert found["run"] == Path("runs/small_supervised")
    assert ctcycle.load_model(found["run"], device="cpu").name == "small_supervised"


def test_series_are_found_and_read_by_path_or_text(tmp_path: Path) -> None:
    write_series(tmp_path / "a", series="1.2.3")
    found, _ = ctcycle.find_series(str(tmp_path))
    assert found == find_series(tmp_path)[0]
    for source in (found[0], tmp_path, str(tmp_path / "a")):
        np.testing.assert_array_equal(ctcycle.read_series(source).hu, body_hu())
    write_series(tmp_path / "b", series="1.2.4")
    with pytest.raises(SeriesError, match=r"found 2 CT series, expected one; call find_series to list them$"):
        ctcycle.read_series(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "text.txt").write_text("no image")
    with pytest.raises(SeriesError, match=r"empty: found 0 CT series \(ignored 1 file .*\), expected one"):
        ctcycle.read_series(tmp_path / "empty")


def test_the_attenuation_of_water_is_for_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.full((1, 8, 8), 0.02, dtype=np.float32))
    ((info,), _) = ctcycle.find_series(tmp_path, mu_water=0.02)
    np.testing.assert_allclose(ctcycle.read_series(info, assume_hu=True).hu, 0, atol=1e-3)


def test_the_axis_of_the_slices_can_be_given(tmp_path: Path) -> None:
    cube = np.stack([body_hu(1)[0, :, :32]] * 32, axis=1)
    np.save(tmp_path / "cube.npy", cube)
    found, skipped = ctcycle.find_series(tmp_path)
    assert (found, skipped[0].refused) == ([], True)
    ((info,), _) = ctcycle.find_series(tmp_path, slice_axis=1)
    np.testing.assert_array_equal(ctcycle.read_series(info).hu, np.moveaxis(cube, 1, 0))


def test_an_array_keeps_its_shape_and_is_left_alone(model: ctcycle.Model) -> None:
    hu = body_hu()
    before = hu.copy()
    clean = ctcycle.denoise(hu, model)
    assert (clean.shape, clean.dtype) == (hu.shape, np.float32)
    np.testing.assert_array_equal(hu, before)
    np.testing.assert_array_equal(clean, model.denoiser()(hu))
    np.testing.assert_allclose(ctcycle.denoise(hu[1].astype(np.int16), model), clean[1], atol=1e-3)
    np.testing.assert_array_equal(ctcycle.denoise(hu, model, strength=0), hu)


def test_options_of_an_array(model: ctcycle.Model) -> None:
    hu = body_hu(1, 96)
    expected = model.denoiser(strength=0.5, tile=64, average_flips=False)(hu)
    np.testing.assert_array_equal(ctcycle.denoise(hu, model, strength=0.5, tile=64, average_flips=False), expected)
    assert (expected != ctcycle.denoise(hu, model)).any()


def test_a_run_folder_is_a_model(tiny_run: Path) -> None:
    hu = body_hu()
    expected = ctcycle.denoise(hu, ctcycle.load_model(tiny_run))
    np.testing.assert_array_equal(ctcycle.denoise(hu, str(tiny_run)), expected)


def test_a_series_is_denoised_but_for_its_padding(model: ctcycle.Model, tmp_path: Path) -> None:
    write_series(tmp_path / "in", changes={"PixelPaddingValue": 24})  # -1000 HU
    scan = ctcycle.read_series(tmp_path / "in")
    clean = ctcycle.denoise(scan, model)
    assert scan.padding is not None
    assert scan.padding.any()
    assert clean.info == scan.info
    np.testing.assert_array_equal(clean.hu[scan.padding], scan.hu[scan.padding])
    np.testing.assert_array_equal(clean.hu[~scan.padding], ctcycle.denoise(scan.hu, model)[~scan.padding])


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros(5), r"image: got float64 of shape \(5,\); give numbers of shape \(H, W\) or \(S, H, W\) in HU"),
        (np.zeros((2, 2, 2, 2)), r"image: got float64 of shape \(2, 2, 2, 2\)"),
        (np.zeros((0, 8)), r"image: got float64 of shape \(0, 8\)"),
        (np.zeros((8, 8), dtype=complex), r"image: got complex128 of shape"),
        (np.full((8, 8), np.nan), r"image: 64 values are not finite"),
    ],
)
def test_arrays_that_are_no_slices(image: Any, complaint: str, model: ctcycle.Model) -> None:
    with pytest.raises(SeriesError, match=complaint):
        ctcycle.denoise(image, model)


def test_slices_unlike_the_training_are_warned_of(
    model: ctcycle.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ctcycle"):
        ctcycle.denoise(np.full((64, 64), 0.5), model)
    assert any("the model was trained on" in record.message for record in caplog.records)


@pytest.mark.slow
def test_a_routine_dose_is_warned_of_and_left_alone_by_strength_auto(
    model: ctcycle.Model, caplog: pytest.LogCaptureFixture
) -> None:
    routine, low = series_of(noisy_trunk(18.0)), series_of(noisy_trunk(60.0))
    with caplog.at_level(logging.INFO, "ctcycle"):
        ctcycle.denoise(routine, replace(model, fingerprint=None))
        assert "denoising would over-smooth it" in caplog.text
        caplog.clear()
        np.testing.assert_array_equal(ctcycle.denoise(routine, model, strength="auto").hu, routine.hu)
        assert "over-smooth" not in caplog.text
        assert "already at routine dose" in caplog.text
    clean = ctcycle.denoise(low, model, strength="auto")
    chosen = choose_strength(model.denoiser(), low).strength
    assert chosen > 0
    np.testing.assert_array_equal(clean.hu, model.denoiser(strength=chosen)(low.hu))


def test_strength_auto_needs_a_series(model: ctcycle.Model) -> None:
    with pytest.raises(SeriesError, match=r"^image: strength=auto: pixel size or slice thickness is unknown; set"):
        ctcycle.denoise(noisy_trunk(40.0), model, strength="auto")


def test_a_folder_is_denoised_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in" / "a")
    monkeypatch.chdir(tmp_path)
    found = ctcycle.denoise_folder("in", Path("out"), device="cpu", average_flips=False, strength=np.float32(0.5))
    assert (found["denoised"], found["refused"]) == (1, [])
    assert found == json.loads((tmp_path / "out" / "summary.json").read_text())
    kept = ctcycle.load_config(Path("out/config.yaml")).resolved
    assert (kept["model"], kept["strength"], kept["average_flips"]) == (None, 0.5, False)
    assert ctcycle.denoise_folder("in", "out", device="cpu", average_flips=False, strength=0.5)["already_there"] == 1
    with pytest.raises(ConfigError, match="contains a run with another config"):
        ctcycle.denoise_folder("in", "out", device="cpu")
    with pytest.raises(OutputError, match="or inside it"):
        ctcycle.denoise_folder("in", "in/out")


def test_options_of_a_folder_are_the_keys_of_the_config() -> None:
    assert DenoiseKeys.__annotations__.keys() == Denoise.model_fields.keys() - {"task", "input", "out", "model"}
    with pytest.raises(ConfigError, match=r"^unknown key 'strenght'; did you mean 'strength'\?$"):
        ctcycle.denoise_folder("in", "out", strenght=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^strength: must be at most 2, got 3$"):
        ctcycle.denoise_folder("in", "out", strength=3)


def test_arrays_are_scored_by_slice_and_patient() -> None:
    full = body_hu(4, 64)
    low = full + np.random.default_rng(1).normal(0, 40, full.shape)
    halfway = (low + full) / 2
    found = ctcycle.evaluate(low, full, {"half": halfway, "all": full}, ["hu2000", "abdomen"], patients=list("aabb"))
    rows = {(row.method, row.protocol): row for row in found.rows}
    assert [*rows] == [(m, p) for m in ("input", "half", "all") for p in ("hu2000", "abdomen")]
    inside = np.abs(np.clip(low, -1000, 1000) - np.clip(full, -1000, 1000))
    assert rows["input", "hu2000"].mae_hu == pytest.approx(float(inside.mean()), rel=1e-4)
    assert rows["half", "hu2000"].rmse_hu < 0.6 * rows["input", "hu2000"].rmse_hu
    assert rows["all", "abdomen"].rmse_hu == 0
    assert (rows["half", "abdomen"].patients, rows["half", "abdomen"].slices) == (2, 4)
    one = ctcycle.evaluate(low[0], full[0], halfway[0])
    assert [(row.method, row.patients, row.slices) for row in one.rows] == [("input", 1, 1), ("denoised", 1, 1)]
    assert ctcycle.format_table(one.rows, "hu2000").splitlines()[3].startswith("denoised ")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"denoised": np.zeros((2, 8, 9))}, r"denoised: has shape \(2, 8, 9\), full dose has \(2, 8, 8\); they must"),
        ({"low": np.zeros((3, 8, 8))}, r"input: has shape \(3, 8, 8\), full dose has \(2, 8, 8\)"),
        ({"denoised": {"mine": np.full((2, 8, 8), np.inf)}}, r"mine: 128 values are not finite"),
        ({"denoised": {"input": np.zeros((2, 8, 8))}}, r"denoised: 'input' is a reserved name"),
        ({"patients": ["a"]}, r"patients: got 1 for 2 slices; give one per slice"),
        ({"protocols": "hu200"}, r"unknown protocol 'hu200'; did you mean 'hu2000'\?"),
        ({"protocols": ["x"]}, r"unknown protocol 'x'; the protocols are hu2000, report2024, abdomen, dugan"),
    ],
)
def test_pairs_that_cannot_be_scored(changes: dict[str, Any], complaint: str) -> None:
    arguments = {name: np.zeros((2, 8, 8)) for name in ("low", "full", "denoised")} | changes
    with pytest.raises((SeriesError, ConfigError), match=f"^{complaint}"):
        ctcycle.evaluate(**arguments)


@pytest.mark.slow
def test_a_manifest_is_scored_as_the_task_does(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"split": "val", "filters": ["input"], "protocols": ["hu2000"], "device": "cpu", "panels": 0}
    found = ctcycle.evaluate_manifest(tiny.manifest, {"mine": tiny_run}, out, guard=False, body_mask=True, **options)
    written = json.loads((out / "results.json").read_text())
    assert [row.method for row in found.rows] == ["input", "mine"]
    assert [row.psnr for row in found.rows] == [row["psnr"] for row in written["rows"]]
    assert list(found.notes) == written["notes"]
    assert BODY_NOTE in found.notes
    assert found.notes[0].startswith("mine: NOT held out")
    again = ctcycle.evaluate_manifest(tiny.manifest, {"mine": tiny_run}, out, guard=False, body_mask=True, **options)
    assert (again.rows, again.notes) == (found.rows, found.notes)


def test_configs_by_name_and_by_file(tmp_path: Path) -> None:
    assert ctcycle.load_config("cyclegan", ["training.epochs=1"]).config == (
        ctcycle.load_config(ROOT / "configs" / "cyclegan.yaml", ["training.epochs=1"]).config
    )
    with pytest.raises(ConfigError, match=r"did you mean 'cyclegan'\?"):
        ctcycle.load_config("cyclgan")
    with pytest.raises(ConfigError, match="config not found"):
        ctcycle.load_config(str(tmp_path / "none.yaml"))
