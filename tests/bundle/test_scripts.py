"""The code that travels in a bundle; what it may import is a rule of test_layout.py."""

import ast
from pathlib import Path

import pytest

from ctcycle import __version__
from ctcycle.bundle import scripts as module
from ctcycle.bundle.configs import model_configs
from ctcycle.bundle.scripts import scripts
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.bundle_folder import BundleFacts


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


def test_whole_packages_travel_and_nothing_else(copied: dict[str, str]) -> None:
    house = Path(module.__file__).parent.parent
    wanted = {"__init__.py", "bundle/__init__.py", "errors.py", "atomic.py"}
    for package in ("ct", "networks", "inference", "bundle/runtime"):
        wanted |= {path.relative_to(house).as_posix() for path in (house / package).rglob("*.py")}
    assert set(copied) == wanted
    assert wanted > {"ct/dicom/__init__.py", "ct/dicom/creating.py", "networks/discriminator.py"}


def test_every_import_of_a_copy_is_there(copied: dict[str, str]) -> None:
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in copied}
    for path, text in copied.items():
        for name in imported(text):
            assert not name.startswith("ctcycle"), f"{path} imports {name}"
            inside = name.removeprefix("scripts").removeprefix(".")
            assert not name.startswith("scripts") or inside in modules | {""}, f"{path} imports {name}"


def test_every_target_of_the_configs_is_there(copied: dict[str, str]) -> None:
    facts = BundleFacts(GeneratorSpec(), HUWindow(), 0.02, has_fingerprint=True)
    found: set[str] = set()

    def collect(part: object) -> None:
        if isinstance(part, dict):
            found.update(value for name, value in part.items() if name == "_target_")
        for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            collect(item)

    collect(model_configs(facts))
    ours = sorted(target for target in found if target.startswith("scripts."))
    assert len(ours) > 8
    for target in ours:
        *parts, name = target.removeprefix("scripts.").split(".")
        tree = ast.parse(copied[f"{'/'.join(parts)}.py"])
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}, target


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


def test_only_import_statements_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    monkeypatch.setattr(module, "TRAVELS", ("app",))
    text = '"""App of ctcycle:\n\nfrom ctcycle comes all.\n"""\n\nfrom ctcycle import (\n    part,\n)\n'
    text += 'def f():\n    import ctcycle.part  # from ctcycle\n\nNAME = "ctcycle.part"\n'
    (tmp_path / "app.py").write_text(text)
    (tmp_path / "part.py").touch()
    found = scripts()
    assert set(found) == {"__init__.py", "bundle/__init__.py", "app.py"}
    expected = text.replace("\nfrom ctcycle import", "\nfrom scripts import").replace(
        "import ctcycle", "import scripts"
    )
    assert found["app.py"].partition("\n")[2] == expected


def test_the_version_travels(copied: dict[str, str]) -> None:
    assert f'__version__ = "{__version__}"' in copied["__init__.py"]
    assert imported(copied["__init__.py"]) == set()
