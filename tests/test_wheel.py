"""The wheel: it carries configs and the shipped bundle, and works where nothing else of the repository is."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pydicom
import pytest
from phantom_series import write_series

from ctcycle.config.strict_yaml import read_yaml

ROOT = Path(__file__).parent.parent
PARTS = ("ctcycle", "configs", "bundles/ct_denoiser", "setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {
    "OMP_NUM_THREADS": "1"
}

SHORT = (
    *(f"steps.data.simulation.{value}" for value in ("patients=8", "slices=1", "size=64", "pixel_mm=5.6", "views=64")),
    *(f"steps.cyclegan.training.{value}" for value in ("epochs=1", "iterations_per_epoch=1")),
    *("steps.cyclegan.tracking.enabled=false", "steps.supervised=null", "steps.results=null", "steps.bundle=null"),
)
"""The first three steps of the demo, in seconds."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build needs of the repository, with things beside it that must stay out of the wheel."""
    for package in ("setuptools", "pip"):
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed: no wheel can be built and installed here without a package index")
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder)
    for stray in ("bundles/mine/model.pt", "bundles/ct_denoiser/scripts/__pycache__/errors.pyc", "configs/.mine.yaml"):
        (folder / stray).parent.mkdir(parents=True, exist_ok=True)
        (folder / stray).write_text("not to be shipped")
    return folder


def build(kind: str, source: Path, out: Path) -> Path:
    """Builds a wheel or an sdist as pip does, with the setuptools that is installed here."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    run([sys.executable, "-c", code], source)
    (built,) = out.iterdir()
    return built


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment that has the wheel, and borrows all that it needs from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))  # what is installed there as editable is left behind
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    run([*pip, "install", "--no-deps", "--no-index", str(wheel)], folder)
    return folder / "bin"


def test_the_wheel_carries_every_config_and_the_bundle(wheel: Path) -> None:
    found = {name.removeprefix("ctcycle/shipped/") for name in contents(wheel) if name.startswith("ctcycle/shipped/")}
    shipped = [path for folder in ("configs", "bundles/ct_denoiser") for path in (ROOT / folder).rglob("*")]
    files = {path.relative_to(ROOT).as_posix() for path in shipped if path.is_file() and path.suffix != ".pyc"}
    assert found == {name for name in files if not Path(name).name.startswith(".")}
    assert {"configs/demo.yaml", "configs/report2024/cyclegan.yaml", "bundles/ct_denoiser/models/model.pt"} <= found
    assert {"ctcycle/report/templates/document.html.j2", "ctcycle/report/templates/style.css"} <= contents(wheel).keys()
    assert not [name for name in contents(wheel) if name.endswith(".pyc") or not name.startswith("ctcycle")]


def test_the_sdist_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("ctcycle-*")
    assert contents(build("wheel", unpacked, tmp_path / "wheel")) == contents(wheel)


def test_from_an_empty_folder_it_denoises_dicom(installed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run([str(installed / "python"), "-c", "import ctcycle; print(ctcycle.__file__)"], empty).stdout
    assert where.startswith(str(installed.parent))
    files = write_series(tmp_path / "incoming")
    line = [str(installed / "ctcycle"), "denoise", "../incoming", "denoised", "device=cpu", "--no-average-flips"]
    assert "1 denoised" in run(line, empty).stdout
    written = [pydicom.dcmread(file) for file in sorted((empty / "denoised" / "incoming").iterdir())]
    assert len(written) == len(files)
    assert written[0].pixel_array.shape == pydicom.dcmread(files[0]).pixel_array.shape
    assert "ct_denoiser" in written[0].DerivationDescription
    kept = {path.name for path in empty.iterdir()}, {path.name for path in (empty / "denoised").iterdir()}
    assert kept == ({"denoised"}, {"incoming", "config.yaml", "log.txt", "summary.json", "finished", ".ctcycle"})
    assert read_yaml(empty / "denoised" / "config.yaml").plain()["model"] is None
    assert str(installed.parent) not in (empty / "denoised" / "config.yaml").read_text()


def test_from_an_empty_folder_it_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    run([str(installed / "ctcycle"), "run", "demo", *SHORT], tmp_path)
    demo = tmp_path / "runs" / "demo"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert (demo / "cyclegan" / "checkpoints" / "best.pt").exists()
    configs = [demo / "pipeline.yaml", *demo.glob("*/config.yaml")]
    assert len(configs) == 4
    assert not [path for path in configs if str(installed.parent) in path.read_text()]


def test_the_paths_of_the_documentation_work_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    line = [str(installed / "python"), "-m", "ctcycle.run", "--check", "--config", "configs/report2024/evaluate.yaml"]
    assert "runs/report2024/cyclegan" in run(line, tmp_path).stdout
