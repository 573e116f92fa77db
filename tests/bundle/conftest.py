"""What the tests of bundles share: the bundle of the tiny run."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported_bundle import write_results

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.tasks import running


@pytest.fixture(scope="session")
def bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tiny run, made as the command line makes it; not to be changed."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "data.txt").write_text("Nobody's data.\n")
    config = {
        "task": "bundle",
        "run": str(tiny_run),
        "bundle": str(folder / "tiny_denoiser"),
        "out": str(folder / "run"),
        "results": {"Training patients": str(write_results(folder / "evaluation", tiny_run))},
        "version": "0.2.0",
        "changelog": {"0.1.0": "the first"},
        "card": {
            "authors": "A. Nonymous",
            "training_data": "Six simulated abdomens.",
            "data_license": str(folder / "data.txt"),
            "references": ["Zhu et al. 2017"],
        },
    }
    (folder / "bundle.yaml").write_text(dump_yaml(config))
    running.run(load_config(folder / "bundle.yaml"))
    return folder / "tiny_denoiser"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "copies" / bundle.name))


@pytest.fixture
def inside(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the bundle's folder, its ``scripts`` importable, as `python -m` has it there."""
    monkeypatch.chdir(bundle)
    monkeypatch.syspath_prepend(bundle)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield bundle
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are made without the process that measures them."""
    costs = {"slices": 1, "size_px": 8, "threads": 2, "machine": "abacus", "peak_memory_mb": None}
    formats = {"torch": {"slices_per_s": 1.0, "max_difference_hu": 0.0}}
    monkeypatch.setattr("ctcycle.bundle.export._costs", lambda _folder: {**costs, "formats": formats})
