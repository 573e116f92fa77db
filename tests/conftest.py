"""What every test shares."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tiny_data import TinyData

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples every time, without a clock: a shared machine must not decide whether a test passes.
settings.register_profile(
    "ctcycle", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ctcycle")

ROOT = Path(__file__).parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what no encoding can express as escapes, or a report could not be sent by the process that ran the test."""
    report = yield
    report.sections = [(name, _encodable(text)) for name, text in report.sections]
    if report.failed and _encodable(report.longreprtext) != report.longreprtext:
        report.longrepr = _encodable(report.longreprtext)
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT, or the test is skipped."""
    folder = Path(os.environ.get("CTCYCLE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of real CT; CTCYCLE_REAL_DATA names one")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "TinyData":
    """Eight simulated patients, two slices of 64 px each at both doses, and their manifest; not to be changed."""
    from tiny_data import make_tiny_data

    return make_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_run(tiny: "TinyData", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished supervised run on the tiny data, with its figures; not to be changed."""
    from tiny_data import train

    return train(tiny, tmp_path_factory.mktemp("runs") / "supervised", "supervised")


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training draws one pixel: figures take longer than the training of tiny networks."""
    from PIL import Image

    from ctcycle.atomic import write_file

    def draw(path: Path, *_content: object, **_options: object) -> None:
        write_file(path, lambda stream: Image.new("L", (1, 1)).save(stream, "png"))

    for name in ("ctcycle.training.handlers.samples.slice_panels", "ctcycle.training.trainer.loss_curves"):
        monkeypatch.setattr(name, draw)


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: to make one takes seconds, to copy it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
