"""Every kind of bad input gives what the table of `bad_inputs` says: one line, its exit code, nothing half made."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_inputs import KINDS, Kind, table
from bad_inputs.kind import Place
from phantom_series import PATIENT_ID, PATIENT_NAME, stored_body, write_series
from tiny_data import TinyData, write_train_config

from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.run import main

TABLE = Path(__file__).parent / "bad_inputs" / "TABLE.md"
SENTENCE = re.compile(r"[^\n]{10,}")


@dataclass(frozen=True)
class Done:
    """What a command has left.

    Attributes:
        code: its exit code.
        out: what it printed.
        err: what it printed to stderr.
        folder: its output.
    """

    code: int
    out: str
    err: str
    folder: Path

    @property
    def everything(self) -> str:
        """All that was said anywhere."""
        files = [file for file in self.folder.rglob("*") if file.suffix in {".txt", ".json", ".csv"}]
        return "\n".join([self.out, self.err, *(file.read_text() for file in files)])


def config_of(kind: Kind, place: Place, tiny: TinyData, out: Path) -> Path:
    """The config of the task that the kind is given to, to be changed by what the kind says."""
    if kind.task.startswith("train"):
        return write_train_config(tiny, out, "supervised" if "supervised" in kind.task else "cyclegan")
    manifest, run = str(tiny.manifest), str(place.run)
    config = {
        "denoise": {"model": run, "input": str(place.folder.parent), "device": "cpu"},
        "scan": {"sources": []},
        "evaluate": {"manifest": manifest, "methods": {"supervised": run}, "baselines": ["input"], "panels": 0},
    }[kind.task]
    path = out.with_suffix(".yaml")
    path.write_text(dump_yaml({"task": kind.task, "out": str(out), **config}))
    return path


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.task}-{kind.name}".replace(" ", "_"))
def test_each_kind_gives_what_the_table_says(
    kind: Kind, tiny: TinyData, tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, out = Place(tmp_path / "in" / "bad", tiny.manifest.parent, tiny_run), tmp_path / "out"
    place.folder.parent.mkdir()
    if kind.task == "denoise" and not kind.alone:
        write_series(place.folder.parent / "good", stored_body(2), series="1.2.826.0.1.3")
    overrides = kind.make(place)
    config = config_of(kind, place, tiny, out)
    capfd.readouterr()
    code = main(["--config", str(config), *overrides])
    done = Done(code, *capfd.readouterr(), out)
    assert done.code == kind.exit_code, done.err
    assert kind.says in done.everything, done.everything
    assert "Traceback" not in done.everything
    for identity in (PATIENT_NAME, PATIENT_ID, "ERROR all is lost"):
        assert identity not in done.everything
    assert not [name for name in tree(done.folder) if Path(name).name.startswith(".")]
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "out.yaml"}
    assert not {"etc", "x", "y"} & {path.name for path in (*tmp_path.parent.iterdir(), *tmp_path.parents[1].iterdir())}
    if kind.exit_code:
        *_, last = done.err.strip().splitlines()
        assert SENTENCE.fullmatch(last)
    if (done.folder / "summary.json").exists() and not kind.alone:
        _check_batch(kind, done)


def _check_batch(kind: Kind, done: Done) -> None:
    """The good series is done in any case; the other one as a whole, or not at all."""
    found = json.loads((done.folder / "summary.json").read_text())
    files = [name for name in tree(done.folder) if name.endswith((".dcm", ".npy", ".nii.gz"))]
    assert {name for name in files if name.startswith("good/")} == {"good/IM00001.dcm", "good/IM00002.dcm"}
    assert any(name.startswith("bad/") for name in files) == (kind.outcome == "done")
    assert bool(found["refused"] or found["damaged"]) == (kind.outcome == "refused")
    assert not {name.split("/")[0] for name in tree(done.folder)} - {
        *("good", "bad", "config.yaml", "log.txt", "summary.json", "finished")
    }


def test_the_table_says_what_is_tested() -> None:
    assert table(KINDS) == TABLE.read_text(encoding="utf-8")
    assert len(KINDS) >= 60
    assert len({(kind.task, kind.name) for kind in KINDS}) == len(KINDS)


if __name__ == "__main__":
    TABLE.write_text(table(KINDS), encoding="utf-8")
