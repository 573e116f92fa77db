"""What strangers may send: configs, bundles, weights, images, manifests; SECURITY.md says what is promised of them."""

import csv
import gzip
import logging
import os
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

from ctcycle import components
from ctcycle.config.components import trusted, trusting
from ctcycle.errors import BundleError
from ctcycle.run import main
from ctcycle.runs.models import load_denoiser

if TYPE_CHECKING:
    from tiny_data import TinyData

FOREIGN = """
from pathlib import Path
from torch import nn

Path(__file__).with_suffix(".ran").touch()

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 3, padding=1)
"""


class Evil:
    """Writes the file ``evil`` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where traps leave their marks."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stranger(here: Path, tiny: "TinyData", monkeypatch: pytest.MonkeyPatch) -> str:
    """A config that trains a network of a module of someone else, which can be imported."""
    from tiny_data import write_train_config

    (here / "foreign_net.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "foreign_net", raising=False)
    components._warn.cache_clear()
    path = write_train_config(tiny, here / "run", "supervised")
    content = yaml.safe_load(path.read_text())
    content["generator"] = {"_target_": "foreign_net.Net"}
    content["training"]["epochs"] = 1
    path.write_text(yaml.safe_dump(content))
    return str(path)


def last_line(captured: pytest.CaptureFixture[str]) -> str:
    return captured.readouterr().err.splitlines()[-1]


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_foreign_code_is_refused_before_anything_is_imported_or_made(
    stranger: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", stranger]) == 2
    assert "generator._target_: 'foreign_net.Net' is outside the allowed packages" in last_line(capsys)
    assert main(["--config", stranger, "--check", "--trust"]) == 0
    assert not (here / "foreign_net.ran").exists()
    assert not (here / "run").exists()


@pytest.mark.usefixtures("no_figures")
def test_trust_is_for_one_command_and_kept_nowhere(
    stranger: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", stranger, "--trust"]) == 0
    assert (here / "foreign_net.ran").exists()
    line = "_target_ 'foreign_net.Net': is code from outside the allowed packages; running it because of --trust"
    for told in (capsys.readouterr().err, (here / "run" / "log.txt").read_text()):
        assert told.count(line) == 1
    assert not trusted()

    kept = str(here / "run" / "config.yaml")
    for config in (stranger, kept):
        assert main(["--config", config, "training.stop_after_epoch=1"]) == 2
        assert "outside the allowed packages" in last_line(capsys)
    assert main(["--config", kept, "--trust"]) == 0
    with pytest.raises(BundleError, match=r"config\.yaml is not valid for .*'foreign_net\.Net' is outside .* --trust"):
        load_denoiser(here / "run", device="cpu")
    with trusting(every_target=True):
        assert type(load_denoiser(here / "run", device="cpu").generator).__name__ == "Net"


@pytest.mark.parametrize("override", ["trust=true", "--trust=true", "generator.trust=true"])
def test_no_config_can_grant_trust(
    override: str, stranger: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CTCYCLE_TRUST", "1")
    assert main(["--config", stranger, override]) == 2
    assert last_line(capsys)
    assert not (here / "foreign_net.ran").exists()


def test_expressions_are_not_run_with_trust_either(
    stranger: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", stranger, "--trust", "out=$__import__('pathlib').Path('evil').touch()"]) == 2
    assert "expressions are never evaluated, even with --trust" in last_line(capsys)
    assert not (here / "evil").exists()


def with_code(content: object) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path)


def packed_code(path: Path) -> None:
    """As ``torch.save`` writes it, but packed."""
    torch.save({"w": Evil()}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


TRAPS = {
    "weights": with_code({"w": Evil()}),
    "checkpoint": with_code({"format": "ctcycle checkpoint", "format_version": 1, "x": Evil()}),
    "packed": packed_code,
    "old format": lambda path: torch.save({"w": Evil()}, path, _use_new_zipfile_serialization=False),
    "bare pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_code_in_weights_is_refused_and_not_run(
    trap: str, kind: str, here: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_bundle import write_bundle

    (here / "input").mkdir()
    np.save(here / "input" / "slice.npy", np.zeros((32, 32), np.int16))
    if kind == "run":
        shutil.copytree(tiny_run, here / "model")
    else:
        write_bundle(here / "model")
    TRAPS[trap](here / "model" / ("checkpoints/best.pt" if kind == "run" else "models/model.pt"))
    assert main([*denoising(here), "model=model"]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert not (here / "evil").exists()
    assert not list((here / "out").rglob("*.npy"))


def test_the_traps_are_real(here: Path) -> None:
    for name, trap in TRAPS.items():
        trap(here / "trap.pt")
        with suppress(RuntimeError):  # of the bare pickle, when it has run already
            torch.load(here / "trap.pt", weights_only=False)
        assert (here / "evil").exists(), name
        (here / "evil").unlink()


def denoising(here: Path) -> list[str]:
    """The command line of a denoising from ``input`` to ``out``."""
    (here / "denoise.yaml").write_text("task: denoise\nmodel: model\ninput: input\nout: out\ndevice: cpu\n")
    return ["--config", "denoise.yaml"]


@pytest.mark.parametrize("name", ["slice.npy", "volume.nii", "volume.nii.gz", "slice.dcm"])
@pytest.mark.parametrize("kind", ["array of objects", "bare pickle"])
def test_code_in_images_is_refused_and_not_run(
    name: str, kind: str, here: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "input").mkdir()
    file = here / "input" / name
    if kind == "bare pickle":
        file.write_bytes(pickle.dumps(Evil()))
    else:
        with file.open("wb") as stream:
            np.save(stream, np.array([[Evil()] * 8] * 8), allow_pickle=True)
    if name.endswith(".gz"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert main([*denoising(here), f"model={tiny_run}"]) == 3
    assert last_line(capsys).startswith("input: no CT found")
    assert not (here / "evil").exists()


def test_links_in_the_output_are_refused_and_not_followed(here: Path, tiny_run: Path) -> None:
    (here / "input").mkdir()
    np.save(here / "input" / "a.npy", np.random.default_rng(0).normal(0, 30, (2, 32, 32)).astype(np.int16))
    arguments = [*denoising(here), f"model={tiny_run}", "assume_hu=true"]
    assert main(arguments) == 0
    for name in ("summary.json", "config.yaml", "finished"):
        (here / f"mine-{name}").write_text("mine")
        (here / "out" / name).unlink()
        (here / "out" / name).symlink_to(here / f"mine-{name}")
    before = {path: content for path, content in files_of(here).items() if path.name.startswith("mine-")}
    assert main([*arguments, "overwrite=true"]) == 4
    assert {path: path.read_bytes() for path in before} == before
    assert sum(path.is_symlink() for path in (here / "out").rglob("*")) == len(before)


def test_a_link_in_place_of_a_result_is_refused(here: Path, tiny_run: Path) -> None:
    (here / "input").mkdir()
    np.save(here / "input" / "a.npy", np.random.default_rng(0).normal(0, 30, (2, 32, 32)).astype(np.int16))
    arguments = [*denoising(here), f"model={tiny_run}", "assume_hu=true"]
    assert main(arguments) == 0
    (here / "mine.npy").write_text("mine")
    (here / "out" / "a.npy").unlink()
    (here / "out" / "a.npy").symlink_to(here / "mine.npy")
    assert main([*arguments, "overwrite=true"]) == 4
    assert (here / "mine.npy").read_text() == "mine"
    assert (here / "out" / "a.npy").is_symlink()


def test_links_in_the_input_lead_to_no_other_place_for_the_output(here: Path, tiny_run: Path) -> None:
    volume = np.random.default_rng(0).normal(0, 30, (2, 32, 32)).astype(np.int16)
    for folder in ("elsewhere/deep", "input"):
        (here / folder).mkdir(parents=True)
        np.save(here / folder / "a.npy", volume)
    (here / "input" / "up").symlink_to("../elsewhere")
    (here / "input" / "b.npy").symlink_to("../elsewhere/deep/a.npy")
    (here / "input" / "loop").symlink_to(".")
    arguments = [*denoising(here), f"model={tiny_run}", "assume_hu=true"]
    before = files_of(here)
    main(arguments)
    made = files_of(here).keys() - before.keys()
    assert {path.relative_to(here).parts[0] for path in made} == {"out"}
    assert here / "out" / "a.npy" in made
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_is_cleared_without_following_links(here: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, here / "run")
    (here / "run" / "checkpoints").rename(here / "mine")
    (here / "run" / "checkpoints").symlink_to(here / "mine")
    (here / "scan.yaml").write_text("task: scan\nsources: [{path: nowhere}]\nout: run\noverwrite: true\n")
    before = files_of(here / "mine")
    assert main(["--config", "scan.yaml"]) == 3
    assert files_of(here / "mine") == before != {}
    assert (here / "run" / "checkpoints").is_symlink()


@pytest.mark.usefixtures("no_figures")
def test_names_in_a_manifest_lead_nowhere(here: Path, tiny: "TinyData") -> None:
    from tiny_data import TinyData, write_train_config

    rows = list(csv.DictReader(tiny.manifest.read_text().splitlines()))
    for row in rows:
        row["series"], row["patient"] = (f"../../evil/{row[key]}" for key in ("series", "patient"))
        row["path"] = os.path.relpath(tiny.manifest.parent / row["path"], here / "a" / "b")
    (here / "a" / "b").mkdir(parents=True)
    with (here / "a" / "b" / "manifest.csv").open("w") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    data = files_of(tiny.series)
    config = write_train_config(TinyData(tiny.series, here / "a" / "b" / "manifest.csv"), here / "run", "supervised")
    before = files_of(here)
    assert main(["--config", str(config), "training.epochs=1", "data.store=store"]) == 0
    made = files_of(here).keys() - before.keys()
    assert {path.relative_to(here).parts[0] for path in made} == {"run", "store"}
    assert not list(here.rglob("*evil*"))
    assert files_of(tiny.series) == data


def test_a_manifest_that_names_any_file_reads_nothing_but_ct(
    here: Path, tiny: "TinyData", capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_data import write_train_config

    (here / "secret").write_text("s3cret")
    manifest = here / "manifest.csv"
    rows = list(csv.DictReader(tiny.manifest.read_text().splitlines()))
    with manifest.open("w") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows({**row, "path": str(here / "secret")} for row in rows)
    config = write_train_config(tiny, here / "run", "supervised")
    assert main(["--config", str(config), f"data.manifest={manifest}"]) == 3
    told = capsys.readouterr()
    assert "no longer contains it" in told.err
    assert "s3cret" not in told.err + told.out


def test_a_config_that_is_any_file_is_not_quoted_at_length(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "secret").write_text("root:x:0:0:root\n" * 100)
    assert main(["--config", "secret"]) == 2
    assert len(capsys.readouterr().err) < 400


def test_nothing_is_logged_when_nothing_is_trusted(
    here: Path, tiny_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_denoiser(tiny_run, device="cpu")
    assert caplog.messages == []
    assert not list(here.iterdir())


@pytest.mark.filterwarnings("ignore")  # MONAI's, of the bundle
def test_monai_runs_what_a_bundle_says_and_ctcycle_does_not(here: Path) -> None:
    from monai.bundle import run
    from tiny_bundle import bundle_config, write_bundle

    call = {"_target_": "pathlib.Path.touch", "self": "$__import__('pathlib').Path('called')"}
    does = ["$__import__('pathlib').Path('evaluated').touch()", call]
    write_bundle(here / "ct", bundle_config() | {"x": does})
    load_denoiser(here / "ct", device="cpu")
    assert sorted(path.name for path in here.iterdir()) == ["ct"]
    run(run_id="x", config_file=str(here / "ct" / "configs" / "inference.json"))
    assert sorted(path.name for path in here.iterdir()) == ["called", "ct", "evaluated"]


def test_what_security_md_names_exists() -> None:
    root = Path(__file__).parent.parent
    text = (root / "SECURITY.md").read_text()
    tests = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", text)
    assert len(names) > 10
    assert [name for name in names if f"def {name}(" not in tests] == []
    paths = re.findall(r"`((?:ctcycle|tests)/[\w/.]+)`", text)
    assert [path for path in paths if not (root / path).is_file()] == []
    assert "_risk" in vars(components)
