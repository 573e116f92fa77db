"""A bundle at work: through MONAI, with its own code, and where ctcycle is not installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from exported_bundle import low_dose, read_json, workflow
from pydicom import dcmread
from tiny_data import TEST, TinyData

from ctcycle.ct.series_io import find_series, read_series
from ctcycle.runs.models import load_denoiser, load_model

ABSENT = ("ctcycle", "ignite", "scipy", "skimage", "pydantic", "tqdm", "mlflow", "matplotlib", "onnx", "onnxruntime")
"""What a bundle must not need to denoise."""


def test_bundle_and_run_denoise_alike(inside: Path, tiny: TinyData, tiny_run: Path) -> None:
    of_bundle = workflow(inside, "inference", device="cpu").parser.get_parsed_content("model").denoiser()
    of_run, read = load_denoiser(tiny_run, device="cpu"), load_denoiser(inside, device="cpu")
    assert type(of_bundle).__module__ == "scripts.inference.denoiser"  # its own code, not ctcycle's
    hu = low_dose(tiny)[0]
    expected = of_run(hu)
    assert np.abs(expected - hu).max() > 1
    np.testing.assert_array_equal(of_bundle(hu), expected)
    np.testing.assert_array_equal(read(hu), expected)


def pairs(tiny: TinyData, folder: Path, patients: Sequence[str]) -> tuple[Path, Path]:
    """Low and full dose of some patients, laid out as a bundle wants them."""
    for patient in patients:
        for dose in ("low_dose", "full_dose"):
            shutil.copytree(tiny.series / patient / dose, folder / dose / patient)
    return folder / "low_dose", folder / "full_dose"


def test_evaluate_scores_the_users_pairs(inside: Path, tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    from ctcycle.metrics.protocols import PROTOCOLS, score

    low, full = pairs(tiny, tmp_path, [TEST])
    workflow(inside, "evaluate", low=str(low), full=str(full), output=str(tmp_path / "out"), device="cpu").run()
    found = read_json(tmp_path / "out" / "evaluation.json")
    slices = [read_series(find_series(folder)[0][0]).hu for folder in (low, full)]
    expected = score(PROTOCOLS["hu2000"], load_denoiser(tiny_run, device="cpu")(slices[0][1]), slices[1][1])
    assert found["slices"][1]["denoised"]["psnr_db"] == pytest.approx(expected.psnr, abs=1e-4)
    assert found["slices"][1]["denoised"]["ssim"] == pytest.approx(expected.ssim, abs=1e-6)


@pytest.fixture
def random_states() -> Iterator[None]:
    """MONAI's `set_determinism` changes what all tests share."""
    from monai.utils import set_determinism

    state, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    legacy = np.random.get_state()  # noqa: NPY002 (it is the one that MONAI seeds)
    yield
    set_determinism(None)
    torch.set_rng_state(state)
    torch.use_deterministic_algorithms(deterministic)
    np.random.set_state(legacy)  # noqa: NPY002


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)  # MONAI's trainer
@pytest.mark.usefixtures("random_states")
def test_fine_tuning_starts_from_the_weights_and_writes_new_ones(inside: Path, tiny: TinyData, tmp_path: Path) -> None:
    low, full = pairs(tiny, tmp_path, ["sim000", "sim001", "sim002"])
    places = {"low": str(low), "full": str(full), "output": str(tmp_path / "out"), "device": "cpu"}
    tuning = workflow(inside, "train", max_epochs=2, learning_rate=1e-3, patch_size=32, **places)
    assert tuning.check_properties() == []
    network = tuning.parser.get_parsed_content("network")
    start = {name: value.clone() for name, value in network.state_dict().items()}
    original = torch.load(inside / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(start[name], original[name]) for name in original)
    tuning.run()
    tuned = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert set(tuned) == set(original)
    assert any(not torch.equal(tuned[name], original[name]) for name in original)
    assert tuning.parser.get_parsed_content("train::trainer").state.epoch == 2


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which ctcycle and all that only ctcycle needs cannot be imported."""
    folder = tmp_path / "absent"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {ABSENT!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def run_bundle(bundle: Path, cwd: Path, env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    root = os.path.relpath(bundle, cwd)
    config = ["--config_file", f"{root}/configs/inference.json", "--bundle_root", root]
    command = [sys.executable, "-m", "monai.bundle", "run", *config, *arguments]
    return subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_denoises_dicom_and_nifti_where_ctcycle_is_not_installed(
    bundle: Path, tiny: TinyData, tiny_run: Path, without: dict[str, str], tmp_path: Path
) -> None:
    gone = subprocess.run([sys.executable, "-c", "import ctcycle"], env=without, check=False, capture_output=True)
    assert gone.returncode == 1
    hu = low_dose(tiny)
    incoming, out = tmp_path / "in", tmp_path / "out"
    for name, dose in (("one", "low_dose"), ("two", "full_dose")):
        shutil.copytree(tiny.series / TEST / dose, incoming / name)
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([5.6, 5.6, 3, 1])), incoming / "volume.nii.gz")
    given = ["--input", str(incoming), "--output", str(out), "--strength", "0.5", "--residual", "true"]
    done = run_bundle(bundle, bundle, without, *given)
    assert done.returncode == 0, done.stderr
    assert "one: 2 of 2 slices" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("3 denoised, 0 already done, 0 refused")
    denoiser = load_model(tiny_run, device="cpu").denoiser(strength=0.5)
    volumes = [read_series(find_series(folder / "volume.nii.gz")[0][0]).hu for folder in (incoming, out)]
    np.testing.assert_allclose(volumes[1], volumes[0] + denoiser.correction(volumes[0]), atol=1e-3)
    found = find_series(out / "one")[0][0]
    np.testing.assert_array_equal(read_series(found).hu, hu + np.rint(denoiser.correction(hu)))
    header = dcmread(found.files[0])
    assert header.ImageType[0] == "DERIVED"
    assert "tiny_denoiser" in str(header)
    assert len(list((out / "two-residual").glob("*.dcm"))) == 2
    assert not list(bundle.rglob("__pycache__"))


@pytest.mark.slow
def test_what_is_wrong_is_told_in_the_last_line_from_any_folder(
    bundle: Path, without: dict[str, str], tmp_path: Path
) -> None:
    done = run_bundle(bundle, tmp_path, without, "--input", "nowhere", "--output", "out")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "nowhere: does not exist; give a folder or file of CT images"
    assert "Traceback" not in done.stderr
