"""Models named by MLflow URIs: which folder they lead to, and what the errors say."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from tiny_bundle import write_bundle
from tiny_data import TinyData, train

from ctcycle.bundle.mlflow_model import write_mlflow_model
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.errors import BundleError, OutputError
from ctcycle.runs.mlflow_store.model_uris import find_store, is_model_uri, model_folder, run_folder
from ctcycle.runs.mlflow_store.registry import Registration, register_model
from ctcycle.runs.models import load_model
from ctcycle.runs.tracking import recorded_run

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def runs(mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, found through the environment."""
    (tmp_path / "runs").mkdir()
    shutil.copy(mlflow_store, tmp_path / "runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs/mlflow.db")
    return tmp_path / "runs"


def plan(runs: Path, alias: str | None = "champion", run_id: str | None = None, digest: str = "0" * 64) -> Registration:
    return Registration(f"sqlite:///{runs}/mlflow.db", "ctcycle", run_id, "tiny", alias, "A tiny one.", digest)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An MLflow model that need not run here."""
    write_bundle(tmp_path / "tiny")
    code = tmp_path / "tiny" / "scripts" / "bundle" / "runtime"
    code.mkdir(parents=True)
    (code / "served.py").write_text("")
    write_mlflow_model(tmp_path / "tiny", tmp_path / "model")
    return tmp_path / "model"


def test_a_registered_model_is_found_by_alias_version_and_id(runs: Path, model: Path, tmp_path: Path) -> None:
    assert register_model(model, plan(runs)) == "1"
    assert register_model(model, plan(runs, alias=None)) == "1"  # the same weights
    assert register_model(model, plan(runs, alias=None, digest="1" * 64)) == "2"
    client = MlflowClient()
    version = client.get_model_version_by_alias("tiny", "champion")
    assert (version.version, version.description) == (1, "A tiny one.")
    assert re.fullmatch(r"models:/m-\w+", version.source)
    hu = phantom(1, 32)
    expected = load_model(tmp_path / "tiny", device="cpu").denoiser()(hu)
    for uri in ("models:/tiny@champion", "models:/tiny/2", version.source):
        folder = model_folder(uri)
        assert folder.name == "tiny"
        np.testing.assert_array_equal(load_model(folder, device="cpu").denoiser()(hu), expected)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("models:/tiny@other", "not available from MLflow"),
        ("models:/tiny/7", "not available from MLflow"),
        ("models:/absent/1", "not available from MLflow"),
        ("models:/tiny/1/data", "not an MLflow model; use models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID"),
        ("runs:/abc", "not an MLflow model; use"),
        (f"runs:/{'a' * 32}", "not available from MLflow"),
    ],
)
def test_errors_name_the_uri_and_the_remedy(uri: str, reason: str, runs: Path, model: Path) -> None:
    register_model(model, plan(runs))
    with pytest.raises(BundleError) as error:
        model_folder(uri)
    assert str(error.value).startswith(f"{uri}: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_of_something_else_is_refused(runs: Path, model: Path) -> None:
    shutil.rmtree(model / "data" / "tiny" / "configs")
    register_model(model, plan(runs))
    with pytest.raises(BundleError, match="models:/tiny@champion: not a model of ctcycle; register one"):
        model_folder("models:/tiny@champion")


def test_data_outside_the_model_are_refused(runs: Path, model: Path, tmp_path: Path) -> None:
    text = (model / "MLmodel").read_text()
    (model / "MLmodel").write_text(text.replace("data: data/tiny", f"data: {tmp_path / 'tiny'}"))
    register_model(model, plan(runs))
    with pytest.raises(BundleError, match="not a model of ctcycle"):
        model_folder("models:/tiny@champion")


def test_a_run_is_its_folder_or_what_mlflow_keeps_of_it(runs: Path, model: Path, tiny: TinyData) -> None:
    folder = train(tiny, runs / "mine", "supervised", "tracking.enabled=true", "training.epochs=1")
    run_id = recorded_run(folder, f"sqlite:///{runs}/mlflow.db")
    assert model_folder(f"runs:/{run_id}") == folder
    register_model(model, plan(runs, run_id=run_id))
    assert run_folder("models:/tiny@champion") == folder
    hu = phantom(1, 32)
    expected = load_model(folder, device="cpu").denoiser()(hu)
    shutil.move(folder, runs / "elsewhere")
    copy = model_folder(f"runs:/{run_id}")
    assert copy.name == "mine"
    assert copy != folder
    assert load_model(copy, device="cpu").fingerprint == load_model(runs / "elsewhere", device="cpu").fingerprint
    np.testing.assert_array_equal(load_model(copy, device="cpu").denoiser()(hu), expected)


def test_a_model_without_a_run_has_no_run_folder(runs: Path, model: Path) -> None:
    register_model(model, plan(runs))
    with pytest.raises(BundleError, match="registered without the run that made it"):
        run_folder("models:/tiny@champion")


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_store() is None
    with pytest.raises(BundleError, match="no MLflow store found; set MLFLOW_TRACKING_URI"):
        model_folder("models:/tiny@champion")
    for place in (tmp_path / "runs", tmp_path / "other"):
        place.mkdir()
        (place / "mlflow.db").touch()
    assert find_store() == "sqlite:///runs/mlflow.db"
    assert find_store(tmp_path / "other" / "out") == f"sqlite:///{tmp_path}/other/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert find_store(tmp_path / "other" / "out") == "http://127.0.0.1:1"


def test_a_store_that_cannot_be_reached_is_one_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as error:
        register_model(model, Registration("http://127.0.0.1:1", "ctcycle", None, "tiny", None, "", "0"))
    assert str(error.value).startswith("MLflow at http://127.0.0.1:1: cannot register tiny (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"), [("models:/a@b", True), ("runs:/a", True), ("runs/a", False), ("models", False)]
)
def test_what_is_a_uri(text: str, expected: bool) -> None:
    assert is_model_uri(Path(text)) is expected
