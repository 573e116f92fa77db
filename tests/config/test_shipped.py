"""Configs and the bundle that ship with ctcycle: found by name in a checkout and in an installed package."""

import shutil
from pathlib import Path

import pytest

from ctcycle.config import shipped
from ctcycle.config.loading import load_config
from ctcycle.config.shipped import config_names, find_config, located, shipped_bundle
from ctcycle.errors import BundleError, ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"


@pytest.fixture(params=["checkout", "installed"])
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with ctcycle in a checkout, or installed somewhere."""
    if request.param == "installed":
        package = tmp_path / "site-packages" / "ctcycle"
        shutil.copytree(CONFIGS, package / "shipped" / "configs")
        (package / "shipped" / "bundles" / "ct_denoiser").mkdir(parents=True)
        (tmp_path / "site-packages" / "configs").mkdir()  # of another package, and not ours
        monkeypatch.setattr(shipped, "_PACKAGE", package)
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("empty")
def test_every_shipped_config_has_a_name_that_finds_it() -> None:
    files = set(CONFIGS.rglob("*.yaml")) - set(CONFIGS.glob("base/*.yaml"))  # of which none can be run
    assert {f"{name}.yaml" for name in config_names()} == {file.relative_to(CONFIGS).as_posix() for file in files}
    for name in config_names():
        assert find_config(name).read_bytes() == (CONFIGS / f"{name}.yaml").read_bytes()


@pytest.mark.usefixtures("empty")
def test_a_shipped_config_resolves_alike_wherever_it_is_installed() -> None:
    for name in ("demo", "report2024/cyclegan", "experiments/no_identity"):
        found = load_config(find_config(name))
        assert found.resolved == load_config(CONFIGS / f"{name}.yaml").resolved
        assert str(find_config(name).parent) not in str(found.resolved)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cyclgan", "did you mean 'cyclegan'?"),
        ("no_identity", "did you mean 'experiments/no_identity'?"),
        ("zzz", "give a .yaml file, or one of bench, bundle, ct_denoiser, cyclegan, demo, "),
        ("../configs/demo", "give a .yaml file, or one of bench, bundle, "),
    ],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(name)
    assert str(caught.value).startswith(f"command line: no shipped config named '{name}'; {hint}")


@pytest.mark.parametrize("file", ["demo.yaml", "x/y.yml", Path("demo")])
def test_a_file_is_never_taken_for_a_name(file: str | Path, empty: Path) -> None:
    assert find_config(file) == Path(file)
    (empty / "demo").touch()
    assert find_config("demo") != Path("demo")


@pytest.mark.parametrize("name", ["configs/demo.yaml", "configs/ct_denoiser/data_license.txt", "bundles/ct_denoiser"])
def test_a_path_that_ships_is_found_where_the_current_folder_has_none(name: str, empty: Path) -> None:
    found = located(Path(name))
    assert found.is_absolute()
    assert found.exists()
    own = empty / name
    own.parent.mkdir(parents=True)
    own.mkdir()
    assert located(Path(name)) == Path(name)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    "name", ["configs/none.yaml", "runs/configs/demo.yaml", "demo.yaml", "configs/../configs/demo.yaml", ".", "/none"]
)
def test_any_other_path_stays(name: str) -> None:
    assert located(Path(name)) == Path(name)


@pytest.mark.usefixtures("empty")
def test_an_old_name_of_a_shipped_config_is_found_where_the_current_folder_has_none() -> None:
    assert located(Path("configs/twins.yaml")).name == "low_dose.yaml"
    assert load_config(find_config("configs/twins.yaml")).name == "low_dose"


@pytest.mark.usefixtures("empty")
def test_what_others_share_is_no_config_to_run() -> None:
    with pytest.raises(ConfigError, match="no shipped config named 'base/training'"):
        find_config("base/training")


@pytest.mark.usefixtures("empty")
def test_the_shipped_bundle() -> None:
    assert shipped_bundle().name == "ct_denoiser"


def test_a_broken_installation_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "ctcycle")
    with pytest.raises(BundleError, match=r"bundles/ct_denoiser: the shipped bundle is missing; reinstall ctcycle"):
        shipped_bundle()
