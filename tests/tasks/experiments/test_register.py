"""Registering a bundle, and using the registered model wherever a model is named."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from tiny_bundle import write_bundle
from tiny_data import TEST, TinyData, train

from ctcycle.bundle.runtime.speed import phantom
from ctcycle.config.loading import load_config
from ctcycle.config.schema import Bench, Bundle, Evaluate
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import BundleError, ConfigError
from ctcycle.run import main
from ctcycle.runs.tracking import recorded_run
from ctcycle.tasks import running
from ctcycle.tasks.experiments.models import with_local_models

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def place(mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a store in ``runs`` and a bundle that has its code."""
    (tmp_path / "runs").mkdir()
    shutil.copy(mlflow_store, tmp_path / "runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_bundle(tmp_path / "tiny")
    code = tmp_path / "tiny" / "scripts" / "bundle" / "runtime"
    code.mkdir(parents=True)
    (code / "served.py").write_text("")
    return tmp_path


def run(place: Path, **config: Any) -> None:
    (place / "config.yaml").write_text(dump_yaml(config))
    running.run(load_config(place / "config.yaml"))


def register(place: Path, **changes: Any) -> None:
    run(place, task="register", bundle="tiny", out="runs/register", alias="champion", **changes)


def test_the_registered_model_denoises_as_the_bundle(
    place: Path, tiny: TinyData, capsys: pytest.CaptureFixture[str]
) -> None:
    register(place)
    printed = capsys.readouterr().out
    assert "tiny registered as tiny, version 1" in printed
    assert "-> model=models:/tiny@champion" in printed
    assert "mlflow models serve -m models:/tiny@champion --env-manager local" in printed
    for model in ("models:/tiny@champion", "models:/tiny/1", "tiny"):
        out = f"runs/{model.replace('/', '_')}"
        run(place, task="denoise", model=model, input=str(tiny.series / TEST / "low_dose"), out=out, device="cpu")
    folders = [place / "runs" / name for name in ("models:_tiny@champion", "models:_tiny_1", "tiny")]
    pixels = [[path.read_bytes()[-8192:] for path in sorted(folder.rglob("*.dcm"))] for folder in folders]
    assert pixels[0]
    assert pixels[0] == pixels[1] == pixels[2]


def test_the_model_belongs_to_the_run_that_made_it(place: Path, tiny: TinyData) -> None:
    folder = train(tiny, place / "runs" / "mine", "supervised", "tracking.enabled=true", "training.epochs=1")
    register(place, run=str(folder), name="My denoiser")
    client = MlflowClient(f"sqlite:///{place}/runs/mlflow.db")
    version = client.get_model_version_by_alias("My denoiser", "champion")
    run_id = recorded_run(folder, f"sqlite:///{place}/runs/mlflow.db")
    assert version.run_id == run_id
    assert client.get_run(str(run_id)).outputs.model_outputs[0].model_id == version.source.removeprefix("models:/")


def test_every_config_with_a_model_takes_a_uri(place: Path, tiny: TinyData) -> None:
    folder = train(tiny, place / "runs" / "mine", "supervised", "tracking.enabled=true", "training.epochs=1")
    register(place, run=str(folder))
    uri = "models:/tiny@champion"
    common: dict[str, Any] = {"out": Path("runs/x")}
    evaluate = with_local_models(Evaluate(task="evaluate", manifest=tiny.manifest, methods={"a": Path(uri)}, **common))
    assert evaluate.sources["a"].run is not None
    assert evaluate.sources["a"].run.name == "tiny"
    bench = with_local_models(Bench(task="bench", methods={"a": Path(uri), "b": Path("b")}, **common))
    assert [path.name for path in bench.methods.values()] == ["tiny", "b"]
    bundle = with_local_models(Bundle(task="bundle", run=Path(uri), bundle=Path("b"), **common))
    assert bundle.run == folder


def test_the_python_api_takes_a_uri(place: Path) -> None:
    from ctcycle import denoise

    register(place)
    hu = phantom(1, 32)
    np.testing.assert_array_equal(denoise(hu, "models:/tiny@champion"), denoise(hu, "tiny"))


def test_errors_are_one_sentence(
    place: Path, tiny: TinyData, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--config", "config.yaml", f"input={tiny.series / TEST}", "out=runs/new"]
    (place / "config.yaml").write_text("task: denoise\nmodel: models:/absent@champion\nout: o\ninput: i\n")
    assert main(given) == 4
    error = capsys.readouterr().err.strip()
    assert error.startswith("models:/absent@champion: not available from MLflow at sqlite:///")
    assert "\n" not in error
    assert not (place / "runs" / "new").exists()
    with pytest.raises(BundleError, match="was not tracked in MLflow; remove run="):
        register(place, run=str(tiny_run))
    with pytest.raises(ConfigError, match=r"tracking\.enabled=false: a model is registered in MLflow"):
        register(place, tracking={"enabled": False})
