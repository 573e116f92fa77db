"""The code that travels in a bundle."""

import ast
import sys
from pathlib import Path

import pytest

from ctcycle import __version__
from ctcycle.bundle import scripts as module
from ctcycle.bundle.scripts import ALLOWED, scripts, travelling
from ctcycle.errors import BundleError

NEVER = {"scipy", "pydantic", "tqdm", "mlflow", "ignite", "skimage", "matplotlib", "yaml", "ctcycle"}


@pytest.fixture(scope="module")
def copied() -> dict[str, str]:
    return scripts()


def imported(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def test_what_inference_needs_travels_and_nothing_of_training() -> None:
    names = set(travelling())
    assert names >= {
        f"ctcycle.{name}"
        for name in ("bundle.runtime.app", "inference.folders", "networks.resnet", "ct.dicom.writing", "ct.npy")
    }
    assert names >= {"ctcycle", "ctcycle.ct.dicom"}  # packages, which an import runs first
    assert not names & {
        f"ctcycle.{name}" for name in ("training", "config", "config.schema", "runs.models", "bundle.export")
    }


def test_the_copies_need_nothing_but_torch_monai_and_the_readers(copied: dict[str, str]) -> None:
    packages = {name.partition(".")[0] for text in copied.values() for name in imported(text)}
    assert not packages & NEVER
    # plug-ins whose absence is borne, and the runtime that the speed test looks for
    assert packages - set(sys.stdlib_module_names) - ALLOWED - {"scripts"} <= {"gdcm", "pylibjpeg", "onnxruntime"}


def test_every_import_of_a_copy_is_there(copied: dict[str, str]) -> None:
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in copied}
    for path, text in copied.items():
        for name in imported(text):
            inside = name.removeprefix("scripts").removeprefix(".")
            assert not name.startswith("scripts") or inside in modules | {""}, f"{path} imports {name}"


def test_the_code_is_the_same_but_for_its_imports(copied: dict[str, str]) -> None:
    source = (Path(module.__file__).parent.parent / "inference" / "denoiser.py").read_text()
    first, _, rest = copied["inference/denoiser.py"].partition("\n")
    assert __version__ in first
    assert first.startswith("#")
    changed = [(a, b) for a, b in zip(source.splitlines(), rest.splitlines(), strict=True) if a != b]
    assert changed == [(a, a.replace("from ctcycle.", "from scripts.")) for a, _ in changed]
    assert (
        "from ctcycle.errors import ConfigError, SeriesError",
        "from scripts.errors import ConfigError, SeriesError",
    ) in changed


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules in place of ctcycle."""
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    monkeypatch.setattr(module, "ROOTS", ("ctcycle.app",))
    (tmp_path / "__init__.py").touch()
    (tmp_path / "app.py").write_text('"""App."""\n\nfrom ctcycle import (\n    part,\n)\n\nNAME = "ctcycle.part"\n')
    (tmp_path / "part.py").write_text("import numpy\n")
    (tmp_path / "alone.py").write_text("import numpy\n")
    return tmp_path


def test_only_imports_are_renamed_and_only_what_is_imported_travels(package: Path) -> None:
    found = scripts()
    assert set(found) == {"__init__.py", "app.py", "part.py"}
    assert found["app.py"].endswith('"""App."""\n\nfrom scripts import (\n    part,\n)\n\nNAME = "ctcycle.part"\n')


@pytest.mark.parametrize(
    "line", ["import scipy", "from skimage.metrics import x", "import monai.handlers", "def f():\n    import tqdm"]
)
def test_a_travelling_module_may_not_need_more(package: Path, line: str) -> None:
    (package / "part.py").write_text(f"{line}\n")
    with pytest.raises(BundleError, match=r"^ctcycle\.part: imports .*, which a bundle must not need; allowed are"):
        travelling()


def test_what_may_be_absent_may_be_asked_for(package: Path) -> None:
    (package / "part.py").write_text("try:\n    import gdcm\nexcept ImportError:\n    gdcm = None\n")
    assert "ctcycle.part" in travelling()
