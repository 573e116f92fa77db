"""MLflow's default store inside a context, and what is left of it afterwards."""

import os
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest

from ctcycle.runs.mlflow_store.connection import artifacts_of, default_store

STORE = "MLFLOW_TRACKING_URI"


@pytest.mark.parametrize("given", [None, "sqlite:///given.db"])
@pytest.mark.parametrize("chosen", [None, "sqlite:///chosen.db"])
def test_the_default_store_is_replaced_and_restored(
    given: str | None, chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STORE, raising=False)
    if given is not None:
        monkeypatch.setenv(STORE, given)
    try:
        if chosen is not None:
            mlflow.set_tracking_uri(chosen)
        before, environment = mlflow.get_tracking_uri(), os.environ.get(STORE)
        with suppress(ValueError), default_store("sqlite:///inside.db"):
            assert mlflow.get_tracking_uri() == "sqlite:///inside.db"
            raise ValueError
        assert mlflow.get_tracking_uri() == before
        assert os.environ.get(STORE) == environment
    finally:
        if chosen is not None:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "folder"),
    [("sqlite:///runs/demo/mlflow.db", "runs/demo/mlartifacts"), ("sqlite:////a/b.db", "/a/mlartifacts")],
)
def test_artefacts_lie_beside_the_database(
    uri: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifacts_of(uri) == (tmp_path / folder).as_uri()


def test_a_server_decides_where_artefacts_go() -> None:
    assert artifacts_of("http://127.0.0.1:5000") is None
