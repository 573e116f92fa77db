"""Every kind of bad input has the outcome listed in `bad_inputs`: one line, the exit code, no partial output."""

import copy
import errno
import functools
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import KINDS, Kind, table
from bad_inputs.kind import Place
from mutations import DERIVATION, NoDenoiser
from phantom_series import PATIENT_ID, PATIENT_NAME, stored_body, write_series
from tiny_data import TinyData, write_train_config

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dotted, dump_yaml
from ctcycle.ct.series_io import find_series
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.inference.folders import DenoiseOptions, denoise_folder
from ctcycle.run import main

TABLE = Path(__file__).parent / "bad_inputs" / "TABLE.md"
CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(set(CONFIGS.rglob("*.yaml")) - set((CONFIGS / "base").glob("*.yaml")))
Keys = tuple[str | int, ...]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
SENTENCE = re.compile(r"[^\n]{10,}")


@dataclass(frozen=True)
class Done:
    """The result of a command.

    Attributes:
        code: its exit code.
        out: its standard output.
        err: its standard error.
        folder: its output folder.
    """

    code: int
    out: str
    err: str
    folder: Path

    @property
    def everything(self) -> str:
        """All text that was printed or written to files."""
        files = [file for file in self.folder.rglob("*") if file.suffix in {".txt", ".json", ".csv"}]
        return "\n".join([self.out, self.err, *(file.read_text() for file in files)])


def config_of(kind: Kind, place: Place, tiny: TinyData, out: Path) -> Path:
    """Write the config of the kind's task, to which the kind's overrides are applied, and return its path."""
    if kind.task.startswith("train"):
        return write_train_config(tiny, out, "supervised" if "supervised" in kind.task else "cyclegan")
    task, manifest, run = kind.task.replace("config", "scan"), str(tiny.manifest), str(place.run)
    config = {
        "denoise": {"model": run, "input": str(place.folder.parent), "device": "cpu"},
        "scan": {"sources": [{"path": "nowhere"}]},
        "simulate": {"workers": 1},
        "bench": {"methods": {"mine": run}},
        "bundle": {"run": run, "bundle": str(out / "mine"), "formats": []},
        "pipeline": {"steps": {"list": {"task": "scan", "sources": [{"path": "nowhere"}]}}},
        "evaluate": {"manifest": manifest, "methods": {"supervised": run}, "filters": ["input"], "panels": 0},
    }[task]
    path = out.with_suffix(".yaml")
    path.write_text(dump_yaml({"task": task, "out": str(out), **config}))
    return path


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.task}-{kind.name}".replace(" ", "_"))
def test_each_kind_gives_what_the_table_says(
    kind: Kind,
    tiny: TinyData,
    tiny_run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, out = Place(tmp_path / "in" / "bad", tiny.manifest.parent, tiny_run), tmp_path / "out"
    place.folder.parent.mkdir()
    if kind.task == "denoise" and not kind.alone:
        write_series(place.folder.parent / "good", stored_body(2), series="1.2.826.0.1.3")
    overrides = kind.make(place)
    config = config_of(kind, place, tiny, out)
    for name, value in kind.environment.items():
        monkeypatch.setenv(name, value)
    capfd.readouterr()
    code = main(["--config", str(config), *overrides])
    done = Done(code, *capfd.readouterr(), out)
    record_property("traceback", "Traceback" in done.everything)
    assert done.code == kind.exit_code, done.err
    assert kind.says in done.everything, done.everything
    assert "Traceback" not in done.everything
    assert not CONTROL.search(done.out + done.err)
    for identity in (PATIENT_NAME, PATIENT_ID, "ERROR all is lost"):
        assert identity not in done.everything
    hidden = {Path(name).name for name in tree(done.folder) if Path(name).name.startswith(".")}
    assert hidden <= {".ctcycle"}  # the records of outputs; everything else hidden is left-over
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "out.yaml"}
    assert not {"etc", "x", "y"} & {path.name for path in (*tmp_path.parent.iterdir(), *tmp_path.parents[1].iterdir())}
    if kind.exit_code:
        *_, last = done.err.strip().splitlines()
        assert SENTENCE.fullmatch(last)
    if (done.folder / "summary.json").exists() and not kind.alone:
        _check_batch(kind, done)


def _check_batch(kind: Kind, done: Done) -> None:
    """The good series is always denoised; the bad one completely or not at all."""
    found = json.loads((done.folder / "summary.json").read_text())
    files = [name for name in tree(done.folder) if name.endswith((".dcm", ".npy", ".nii.gz"))]
    assert {name for name in files if name.startswith("good/")} == {"good/IM00001.dcm", "good/IM00002.dcm"}
    assert any(name.startswith("bad/") for name in files) == (kind.outcome == "done")
    assert bool(found["refused"] or found["damaged"]) == (kind.outcome == "refused")
    assert not {name.split("/")[0] for name in tree(done.folder)} - {
        *("good", "bad", "config.yaml", "log.txt", "summary.json", "finished", ".ctcycle")
    }


def scalars(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Yield the keys of each scalar, except those that determine the meaning of the others."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from scalars(item, (*keys, key))
    elif keys[-1] not in {"task", "method", "_target_"}:
        yield keys


def with_values(config: dict[str, Any], places: Collection[Keys], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    for *above, last in places:
        functools.reduce(lambda found, key: found[key], above, changed)[last] = copy.deepcopy(value)  # type: ignore[index]
    return changed


WRONG: dict[str, object] = {
    "a word": "fast",
    "nothing": None,
    "an empty text": "",
    "a list": ["x"],
    "a mapping": {"a": 1},
    "true": True,
    "a huge whole number": 10**30,
    "a huge number": 1e300,
    "below nothing": -1,
    "a long text": "x" * 500,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_value_of_every_config_is_taken_or_named_with_its_file(shipped: Path, wrong: str, tmp_path: Path) -> None:
    """Replace all values at once; restore those that are reported as errors, until no error is left."""
    right, path = load_config(shipped).resolved, tmp_path / "x.yaml"
    places = set(scalars(right))
    named = sorted(((dotted(place), place) for place in places), key=lambda item: -len(item[0]))
    for _ in range(50):
        path.write_text(dump_yaml(with_values(right, places, WRONG[wrong])))
        try:
            load_config(path)
        except ConfigError as error:
            *lines, last = str(error).splitlines()
            lines = lines or [last]
            assert all(re.match(rf"{re.escape(str(path))}:\d+: .", line) for line in lines), lines
            said = " ".join(line[len(str(path)) :] for line in lines)
            mended = {place for name, place in named if _speaks_of(said, name)}
            assert places & mended, lines
            places -= mended
        else:
            return
    pytest.fail("still wrong")


def _speaks_of(said: str, name: str) -> bool:
    """Return whether the text names a key, the first item of a list that was put there, or one of its parents."""
    above = [name[: match.start()] for match in re.finditer(r"[.\[]", name)]
    return any(re.search(rf"(?<![\w.]){re.escape(key)}(?![\w\[])", said) for key in (name, f"{name}[0]", *above))


def test_a_file_that_may_not_be_read_is_named(
    tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_series(tmp_path / "in" / "a", series="1.2.826.0.1.1")
    write_series(tmp_path / "in" / "b", series="1.2.826.0.1.2")
    opened = Path.open

    def forbid(self: Path, *args: Any, **kwargs: Any) -> Any:  # the tests may be run by root, who can read every file
        if self == files[1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", forbid)
    config = {"task": "denoise", "model": str(tiny_run), "input": str(tmp_path / "in"), "out": str(tmp_path / "out")}
    (tmp_path / "x.yaml").write_text(dump_yaml(config))
    assert main(["--config", str(tmp_path / "x.yaml")]) == 3
    assert "0002.dcm: cannot open (Permission denied)" in capfd.readouterr().err
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.dcm")} == {"b"}


def test_ten_thousand_files_are_scanned_in_time(tmp_path: Path) -> None:
    """The files are links to one image and one text, since creating so many files takes longer than scanning them."""
    (image,) = write_series(tmp_path / "in" / "image", stored_body(1))
    text = tmp_path / "in" / "text"
    text.write_text("no image")
    for number in range(100):
        folder = tmp_path / "in" / f"{number:03d}"
        folder.mkdir()
        for other in range(99):
            os.link(text, folder / f"{other:03d}")
        os.link(image, folder / "099")
    started = time.process_time()
    found, skipped = find_series(tmp_path / "in")
    assert time.process_time() - started < 15
    assert len(found) == 101
    assert [entry.reason for entry in skipped] == ["ignored 9901 files (hidden or not CT images)"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a header cut off", "MR"])
def test_the_process_itself_ends_so(name: str, tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    place = Place(tmp_path / "in" / "bad", tiny.manifest.parent, tiny_run)
    place.folder.parent.mkdir()
    kind.make(place)
    config = config_of(kind, place, tiny, tmp_path / "out")
    command = [sys.executable, "-m", "ctcycle.run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TABLE.parents[3])
    assert done.returncode == 3, done.stderr  # 3 even if files were only ignored: nothing was denoised
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith((str(tmp_path), "0 denoised"))


@pytest.mark.slow
@pytest.mark.real_data
def test_every_odd_file_of_the_world_is_read_or_refused_in_one_sentence(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ctcycle")
    outcomes, out = [], tmp_path / "out"
    for file in sorted(path for path in (real_data / "zoo").rglob("*") if path.is_file()):
        caplog.clear()
        options, said = DenoiseOptions(overwrite=True), ""
        try:
            denoise_folder(file, out, NoDenoiser(), DERIVATION, options)  # type: ignore[arg-type]
        except SeriesError as error:
            said = str(error)
        messages = [said, *(record.getMessage() for record in caplog.records)]
        assert not any("\n" in message for message in messages), messages
        assert not said or any(file.name in message for message in messages) or file.parent.name in said, messages
        assert not {path.name for path in out.rglob(".*")} - {".ctcycle"}
        outcomes.append("refused" if said else "read")
    assert outcomes.count("read") > 20
    assert outcomes.count("refused") > 20


def test_the_table_says_what_is_tested() -> None:
    assert table(KINDS) == TABLE.read_text(encoding="utf-8")
    assert len(KINDS) >= 180
    assert len({(kind.task, kind.name) for kind in KINDS}) == len(KINDS)


if __name__ == "__main__":
    TABLE.write_text(table(KINDS), encoding="utf-8")
