"""The MLflow model of a bundle: loaded and served where ctcycle is not installed, with the same HU as `denoise`."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from ctcycle import denoise
from ctcycle.bundle.mlflow_model import requirements, write_mlflow_model
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.errors import BundleError, OutputError

HU = phantom(2, 48)
ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ctcycle", "ignite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def model(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow_model") / "model"
    write_mlflow_model(bundle, folder)
    return folder


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which ctcycle cannot be imported."""
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    own = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # mlflow calls uvicorn
    return {**os.environ, **own, "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_it_says_what_goes_in_and_out(model: Path, bundle: Path) -> None:
    described = yaml.safe_load((model / "MLmodel").read_text())
    stack = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, -1, -1]}}]
    assert json.loads(described["signature"]["inputs"]) == stack
    assert json.loads(described["signature"]["outputs"]) == stack
    params = {one["name"]: one["default"] for one in json.loads(described["signature"]["params"])}
    assert params == {"strength": 1.0, "average_flips": False}
    example = json.loads((model / "input_example.json").read_text())
    assert np.shape(example["inputs"] if isinstance(example, dict) else example) == (1, 32, 32)
    assert set(requirements()) <= set((model / "requirements.txt").read_text().splitlines())
    assert not list(model.rglob("*.pkl"))
    same = (bundle / "models" / "model.pt").read_bytes()
    assert (model / "data" / bundle.name / "models" / "model.pt").read_bytes() == same


@pytest.mark.slow
def test_it_loads_where_ctcycle_is_not_installed(
    model: Path, bundle: Path, without: dict[str, str], tmp_path: Path
) -> None:
    np.save(tmp_path / "hu.npy", HU)
    code = (
        "import numpy, mlflow.pyfunc; "
        f"model = mlflow.pyfunc.load_model({str(model)!r}); "
        "numpy.save('out.npy', model.predict(numpy.load('hu.npy'), params={'strength': 0.5}))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=without, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = denoise(HU, bundle, strength=0.5)
    assert np.abs(expected - HU).max() > 0.5
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-3)


@contextmanager
def served(model: Path, env: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of a server of the model on 127.0.0.1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "models", "serve", "-m", str(model)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            up = _answers(f"http://127.0.0.1:{port}/ping", server)
            assert up, (folder / "server.log").read_text()
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, 15)
            server.wait()


def _answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    until = time.monotonic() + 240
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address)  # noqa: S310 (a server of this test)
        except urllib.error.URLError:
            time.sleep(0.5)
        else:
            return True
    return False


@pytest.mark.slow
def test_a_server_answers_with_the_hu_of_denoise(
    model: Path, bundle: Path, without: dict[str, str], tmp_path: Path
) -> None:
    with served(model, without, tmp_path) as address:
        body = json.dumps({"inputs": HU.tolist(), "params": {"average_flips": True}}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 (as above)
        answer = json.load(urllib.request.urlopen(request))  # noqa: S310 (as above)
    found, expected = np.asarray(answer["predictions"]), denoise(HU, bundle, average_flips=True)
    assert np.abs(found - expected).max() <= 0.01


def test_what_is_no_bundle_is_refused(tmp_path: Path, model: Path, bundle: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle folder"):
        write_mlflow_model(tmp_path, tmp_path / "model")
    with pytest.raises(OutputError, match="exists and is not empty"):
        write_mlflow_model(bundle, model)
    assert not (tmp_path / "model").exists()
