"""Data sets, manifests, runs and configs that cannot be used."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from phantom_series import body_hu, stored_body, write_series
from pydicom import dcmread
from pydicom.dataset import FileDataset

from bad_inputs.images import ESCAPES, damaged_in_folder, in_folder
from bad_inputs.kind import EXIT_CODES, Kind, Outcome, Place, Task
from ctcycle.data.manifest import Manifest, ManifestRow, read_manifest, write_manifest
from ctcycle.data.scan import find_rows
from ctcycle.data.settings import Source
from ctcycle.runs.checkpoints import read_checkpoint, write_checkpoint
from ctcycle.training.building import Parts

Make = Callable[[Place], list[str]]
VAL = "sim006"


def _kind(task: Task, name: str, outcome: Outcome, says: str, make: Make, exit_code: int | None = None) -> Kind:
    return Kind(name, task, outcome, says, make, EXIT_CODES[outcome] if exit_code is None else exit_code)


def sources(*paths: str, **settings: Any) -> Callable[[Path], list[str]]:
    """Return a function that gives the override of ``sources`` for folders under its argument."""

    def value(folder: Path) -> list[str]:
        more = "".join(f", {key}: {setting!r}" for key, setting in settings.items())
        return [f"sources=[{', '.join(f'{{path: {folder / path}{more}}}' for path in paths)}]"]

    return value


def given(*values: str) -> Make:
    """Return these command line overrides."""
    return lambda _place: list(values)


def scanned(*paths: str, make: Callable[[Path], object] = lambda _folder: None, **settings: Any) -> Make:
    """A scan of folders filled by ``make``."""

    def made(place: Place) -> list[str]:
        write_series(place.folder / "good" / "p1" / "low_dose")
        make(place.folder)
        return sources(*paths, **settings)(place.folder)

    return made


def with_manifest(change: Callable[[str], str]) -> Make:
    """The valid manifest with its text changed."""

    def made(place: Place) -> list[str]:
        path = place.folder / "manifest.csv"
        write_manifest(path, read_manifest(place.data / "manifest.csv"))
        path.write_text(change(path.read_text()))
        return [f"data.manifest={path}"]

    return made


def with_rows(change: Callable[[ManifestRow], ManifestRow | None]) -> Make:
    """The valid manifest with rows changed or removed."""

    def made(place: Place) -> list[str]:
        path, manifest = place.folder / "manifest.csv", read_manifest(place.data / "manifest.csv")
        rows = tuple(row for row in map(change, manifest.rows) if row is not None)
        write_manifest(path, replace(manifest, rows=rows))
        return [f"data.manifest={path}"]

    return made


def with_series(change: Callable[[Path], object]) -> Make:
    """The valid data set with the files of a training series changed after indexing."""

    def made(place: Place) -> list[str]:
        shutil.copytree(place.data, place.folder / "data", ignore=shutil.ignore_patterns(".*"))
        manifest = read_manifest(place.folder / "data" / "manifest.csv")
        row = next(row for row in manifest if row.split == "train" and row.dose == "low_dose")
        change(manifest.root / row.path)
        return [f"data.manifest={manifest.path}"]

    return made


def with_leak(place: Place) -> list[str]:
    """A validation patient's slices, added to the training split under another ID."""
    manifest, copy = read_manifest(place.data / "manifest.csv"), place.folder / "copy"
    held_out = next(row for row in manifest if row.patient == VAL and row.dose == "full_dose")
    copy.mkdir(parents=True)
    for file in sorted((manifest.root / held_out.path).iterdir()):
        dataset = dcmread(file)
        dataset.PatientID = dataset.PatientName = "somebody else"
        dataset.save_as(copy / file.name)
    (row,) = find_rows([Source(copy)], manifest.root).rows
    rows = (*manifest.rows, replace(row, split="train", dose="full_dose"))
    write_manifest(place.folder / "manifest.csv", replace(manifest, rows=rows))
    return [f"data.manifest={place.folder / 'manifest.csv'}"]


def small_slices(place: Place) -> list[str]:
    """Slices of 16 px for patches of 32 px."""
    for patient in ("a", "b", "v"):
        for dose in ("low_dose", "full_dose"):
            folder = place.folder / patient / dose
            folder.mkdir(parents=True)
            for number, hu in enumerate(body_hu(3, 16)):
                np.save(folder / f"{number}.npy", hu + ord(patient) + len(dose))
    found = find_rows([Source(place.folder)], place.folder)
    rows = tuple(replace(row, split="val" if row.patient == "v" else "train") for row in found.rows)
    write_manifest(place.folder / "manifest.csv", Manifest(place.folder / "manifest.csv", rows))
    return [f"data.manifest={place.folder / 'manifest.csv'}"]


def evaluated(**values: Any) -> Make:
    """An evaluation with these overrides."""
    return lambda _place: [f"{key}={value}" for key, value in values.items()]


def _out(place: Place) -> Path:
    return place.folder.parents[1] / "out"


def others(name: str) -> Make:
    """A file that somebody has put into the output folder."""

    def made(place: Place) -> list[str]:
        path = _out(place) / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        return ["overwrite=true"]

    return made


def _others_manifest(place: Place) -> list[str]:
    overrides = scanned("good")(place)
    (place.folder / "mine.csv").write_text("mine")
    return [*overrides, f"manifest={place.folder / 'mine.csv'}", "overwrite=true"]


def _begun_from_others(place: Place) -> list[str]:
    """A run that is not finished and was begun from other weights than those that are now in the initial run."""
    out = _out(place)
    shutil.copytree(place.run, out)
    (out / "finished").unlink()
    config, last = out / "config.yaml", out / "checkpoints" / "last.pt"
    config.write_text(config.read_text().replace("initial: null", f"initial: {place.run}"))
    write_checkpoint(last, read_checkpoint(last) | {"initial": "0" * 64})
    return [f"initial={place.run}"]


def _inside_scans(place: Place) -> list[str]:
    return [f"low_dose={{sources: [{{path: {_out(place).parent}}}]}}"]


def rewritten(key: str, split: str, change: Callable[[FileDataset], object]) -> Make:
    """A manifest in which one full-dose series of a split is replaced by a copy with all its images changed."""

    def made(place: Place) -> list[str]:
        manifest = read_manifest(place.data / "manifest.csv")
        row = next(row for row in manifest if row.split == split and row.dose == "full_dose")
        target = place.folder / "changed"
        target.mkdir(parents=True)
        for file in sorted((manifest.root / row.path).iterdir()):
            dataset = dcmread(file)
            change(dataset)
            dataset.save_as(target / file.name)
        (found,) = find_rows([Source(target)], place.folder).rows
        others = [replace(other, path=str(target), uid=found.uid) if other == row else other for other in manifest]
        write_manifest(place.folder / "manifest.csv", replace(manifest, rows=tuple(others)))
        return [f"{key}={place.folder / 'manifest.csv'}"]

    return made


def same_pixels(key: str, split: str) -> Make:
    """A manifest in which a full-dose series of a split is a copy of the low dose."""

    def made(place: Place) -> list[str]:
        manifest = read_manifest(place.data / "manifest.csv")
        rows = [row for row in manifest if row.split == split]
        full = next(row for row in rows if row.dose == "full_dose")
        low = next(row for row in rows if row.dose == "low_dose" and row.patient == full.patient)
        shutil.copytree(manifest.root / low.path, place.folder / "copy")
        copy = replace(full, path=str(place.folder / "copy"), uid=low.uid)
        others = tuple(copy if row == full else row for row in manifest)
        write_manifest(place.folder / "manifest.csv", replace(manifest, rows=others))
        return [f"{key}={place.folder / 'manifest.csv'}"]

    return made


def _swap(row: ManifestRow) -> ManifestRow:
    return replace(row, dose="full_dose" if row.dose == "low_dose" else "low_dose", dose_fraction=None)


def swapped(place: Place) -> list[str]:
    """A manifest in which the doses of the test patients are swapped."""
    manifest = read_manifest(place.data / "manifest.csv")
    rows = tuple(_swap(row) if row.split == "test" else row for row in manifest)
    write_manifest(place.folder / "manifest.csv", replace(manifest, rows=rows))
    return [f"manifest={place.folder / 'manifest.csv'}"]


def _spoil_weights(path: Path) -> None:
    """Make one weight NaN, as training without the checks of ctcycle might."""
    state = torch.load(path, weights_only=True)
    next(iter(state["denoiser"].values())).view(-1)[0] = torch.nan
    torch.save(state, path)


def _turn(dataset: FileDataset) -> None:
    dataset.PixelData = np.rot90(dataset.pixel_array).astype("<u2").tobytes()


def _move_by_one_slice(dataset: FileDataset) -> None:
    *plane, position = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [*plane, position + dataset.SliceThickness]


def _move_by_half_a_pixel(dataset: FileDataset) -> None:
    left, *others = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [left + dataset.PixelSpacing[1] / 2, *others]


def _move_by_two_pixels(dataset: FileDataset) -> None:
    """Move the pixels to the right and the first of them to the left, so that the anatomy stays in place."""
    left, *others = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [left - 2 * dataset.PixelSpacing[1], *others]
    dataset.PixelData = np.roll(dataset.pixel_array, 2, axis=1).astype("<u2").tobytes()


def _enlarge_pixels(dataset: FileDataset) -> None:
    dataset.PixelSpacing = [1.03 * side for side in dataset.PixelSpacing]


def _turn_in_header(dataset: FileDataset) -> None:
    dataset.ImageOrientationPatient = [0, 1, 0, -1, 0, 0]


def one_dose(place: Place) -> list[str]:
    """A manifest whose test patients have only one dose, for a bench that needs both."""
    manifest = read_manifest(place.data / "manifest.csv")
    rows = tuple(row for row in manifest.rows if row.split != "test" or row.dose == "low_dose")
    write_manifest(place.folder / "manifest.csv", replace(manifest, rows=rows))
    return [f"manifest={place.folder / 'manifest.csv'}", "benches=[pairs]"]


def broken_run(change: Callable[[Path], object]) -> Make:
    """A training run with its folder changed."""

    def made(place: Place) -> list[str]:
        shutil.copytree(place.run, place.folder / "run")
        change(place.folder / "run")
        return [f"methods.supervised={place.folder / 'run'}"]

    return made


def reweighted(change: Callable[[dict[str, Any]], object]) -> Make:
    """A run whose best weights were changed and saved again."""

    def changed(run: Path) -> None:
        path = run / "checkpoints" / "best.pt"
        state = read_checkpoint(path)
        weights = dict(state["denoiser"])
        state["denoiser"] = change(weights)
        write_checkpoint(path, state)

    return broken_run(changed)


def _first_as(kind: torch.dtype) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(weights: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(weights))
        return weights | {name: weights[name].to(kind)}

    return change


def _replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def no_file(make: Callable[[Path], object]) -> Make:
    """A manifest that is not a file."""

    def made(place: Place) -> list[str]:
        place.folder.mkdir()
        make(place.folder / "manifest.csv")
        return [f"data.manifest={place.folder / 'manifest.csv'}"]

    return made


def loop(place: Place) -> list[str]:
    """A source that is a link to itself."""
    place.folder.mkdir()
    (place.folder / "loop").symlink_to("loop")
    return sources("loop")(place.folder)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    """Flip the bits of one byte in the largest tensor; the padding between tensors is not checked."""
    content = bytearray(path.read_bytes())
    with ZipFile(path) as archive:
        record = archive.read(max(archive.infolist(), key=lambda item: item.file_size))
    content[content.index(record) + len(record) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _first(folder: Path) -> Path:
    return min(folder.iterdir())


def _only(**wanted: str) -> Callable[[ManifestRow], ManifestRow | None]:
    return lambda row: row if all(getattr(row, key) == value for key, value in wanted.items()) else None


def _without(**unwanted: str) -> Callable[[ManifestRow], ManifestRow | None]:
    return lambda row: None if all(getattr(row, key) == value for key, value in unwanted.items()) else row


def _last_column(text: str, name: str, value: str) -> str:
    """Return the table with another value in one column of its first row."""
    header, row, *rest = text.splitlines()
    cells = row.split(",")
    cells[header.split(",").index(name)] = value
    return "\n".join([header, ",".join(cells), *rest]) + "\n"


def _cell(name: str, value: str) -> Callable[[str], str]:
    return lambda text: _last_column(text, name, value)


MR: Mapping[str, Any] = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}


def _damage_one(folder: Path) -> None:
    file = write_series(folder / "good" / "p2" / "low_dose", series="1.2.826.0.1.5")[0]
    file.write_bytes(file.read_bytes()[:300])


def _odd_folder(name: str) -> Callable[[Path], object]:
    return lambda folder: write_series(folder / name, series="1.2.826.0.1.5")


def _latin(folder: Path) -> None:
    in_folder(b"B\xe4uche")(folder / "p2")


def _only_latin(folder: Path) -> None:
    in_folder(b"B\xe4uche")(folder / "p")


def _escapes(folder: Path) -> None:
    damaged_in_folder(ESCAPES)(folder / "p2")


def _a_map(folder: Path) -> None:
    changes = {"SeriesDescription": "Chest ctcycle residual"}
    write_series(folder / "good" / "p2", series="1.2.826.0.1.5", changes=changes)


def _phases(folder: Path) -> None:
    write_series(folder / "good" / "p2", series="1.2.826.0.1.5")
    changes = {"SeriesInstanceUID": "1.2.826.0.1.5"}
    write_series(folder / "good" / "p2", stored_body(2)[::-1], "1.2.826.0.1.6", ["a.dcm", "b.dcm"], changes)


def _one_id(folder: Path) -> None:
    for number in range(1, 4):
        changes = {"StudyInstanceUID": f"1.2.826.0.2.{number}", "FrameOfReferenceUID": f"1.2.826.0.3.{number}"}
        write_series(folder / "good" / f"case{number}" / "ct", series=f"1.2.826.0.4.{number}", changes=changes)


def _one_value(folder: Path) -> None:
    write_series(folder / "good" / "p2", np.full((3, 32, 36), 1064, np.uint16), series="1.2.826.0.1.5")


def _only_air(folder: Path) -> None:
    write_series(folder / "good" / "p2", np.zeros((3, 32, 36), np.uint16), series="1.2.826.0.1.5")


def _one_slice(folder: Path) -> None:
    write_series(folder / "good" / "p2", stored_body(1), series="1.2.826.0.1.5")


def _one_off(folder: Path) -> None:
    files = write_series(folder / "good" / "p2", stored_body(12), series="1.2.826.0.1.5")
    dataset = dcmread(files[4])
    dataset.RescaleIntercept = 0
    dataset.save_as(files[4])


def killed_worker(_place: Place) -> list[str]:
    """A training whose loader worker is killed once, as by the kernel when memory runs out."""
    step = Parts.update

    def update(parts: Parts, *args: Any) -> Any:
        Parts.update = step  # type: ignore[method-assign]
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        return step(parts, *args)

    Parts.update = update  # type: ignore[method-assign]
    return ["data.workers=1"]


def _full(folder: Path) -> None:
    write_series(folder / "good" / "p2" / "full", series="1.2.826.0.1.5")


def _cube(folder: Path) -> None:
    np.save(folder / "good" / "cube.npy", np.stack([body_hu(1)[0, :, :32]] * 32))


def _no_folder(place: Place) -> list[str]:
    return [f"input={place.folder / 'not there'}"]


_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
_SRUN = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "0", "SLURM_TASKS_PER_NODE": "3"}


def _on_ranks(task: Task, starter: str, says: str, environment: Mapping[str, str]) -> Kind:
    """A task that runs in one process, started by ``torchrun`` or ``srun``."""
    return Kind(f"several ranks by {starter}", task, "refused", says, given(), 2, environment=environment)


RANKS: tuple[Kind, ...] = (
    *(
        _on_ranks(task, "torchrun", f"task={task}: runs in one process, and 2 were started", _TORCHRUN)
        for task in ("simulate", "bench", "bundle", "pipeline")
    ),
    _on_ranks("simulate", "srun", "start it without torchrun or srun", _SRUN),
)

DATA_SETS: tuple[Kind, ...] = (
    *RANKS,
    _kind("denoise", "no such folder", "refused", "does not exist", _no_folder),
    _kind("scan", "a manifest of others", "refused", "no record of writing it", _others_manifest, 4),
    _kind("train", "a file of others in the way", "refused", "no record of writing it", others("metrics.jsonl"), 4),
    _kind("train supervised", "other initial weights", "refused", "initial: the weights in", _begun_from_others, 2),
    _kind("evaluate", "a file of others in the way", "refused", "no record of writing it", others("results.json"), 4),
    _kind("simulate", "files of others", "refused", "not written by the simulator", others("series/notes.md"), 4),
    _kind("simulate", "low dose inside its scans", "refused", "is the input", _inside_scans, 4),
    _kind("scan", "no such source", "refused", "does not exist", scanned("nowhere")),
    _kind("scan", "an empty source", "refused", "no CT found in", scanned("e", make=lambda f: (f / "e").mkdir())),
    _kind(
        "scan",
        "a source of MR",
        "refused",
        "MR, not CT",
        scanned("m", make=lambda f: write_series(f / "m", changes=MR)),
    ),
    _kind("scan", "a damaged slice", "left out", "the file may be truncated", scanned("good", make=_damage_one)),
    _kind("scan", "a pattern that finds no patient", "refused", "does not match", scanned("good", patient="xyz(.*)")),
    _kind("scan", "a blank at the end of a name", "left out", "rename it", scanned(".", make=_odd_folder("p2 "))),
    _kind("scan", "a line break in a name", "left out", "rename it", scanned(".", make=_odd_folder("p\r2"))),
    _kind("scan", "a folder that is not UTF-8", "left out", "is not UTF-8 text", scanned(".", make=_latin)),
    _kind("scan", "only a folder that is not UTF-8", "refused", "is not UTF-8 text", scanned("p", make=_only_latin)),
    _kind("scan", "escape sequences in a folder", "left out", "\\x1b[31mred", scanned(".", make=_escapes)),
    _kind("scan", "a link to itself", "refused", "is a link to itself", loop, 2),
    _kind("scan", "a name of 300 bytes", "refused", "longer than 255 bytes", scanned("x" * 300), 2),
    _kind("scan", "a map of ctcycle", "left out", "a map of ctcycle", scanned("good", make=_a_map)),
    _kind("scan", "one PatientID in three studies", "done", "one PatientID in 4 fold", scanned("good", make=_one_id)),
    _kind("scan", "one value everywhere", "left out", "all pixels are 40 HU", scanned("good", make=_one_value)),
    _kind("scan", "nothing but air", "left out", "only air", scanned("good", make=_only_air)),
    _kind("scan", "one slice 1024 HU off", "left out", "off the slice before it", scanned("good", make=_one_off)),
    _kind("scan", "one slice", "done", "", scanned("good", make=_one_slice)),
    _kind("scan", "full as low dose", "done", "series say full_dose", scanned("good", make=_full, dose="low_dose")),
    _kind("scan", "npy of a cube", "left out", "set slice_axis to 0, 1 or 2", scanned("good", make=_cube)),
    _kind("scan", "npy of a cube with an axis", "done", "", scanned("good", make=_cube, slice_axis=0)),
    _kind("scan", "an axis that is none", "refused", "slice_axis", scanned("good", make=_cube, slice_axis=3), 2),
    _kind("scan", "several images at a position", "left out", "images at 3 positions", scanned("good", make=_phases)),
    _kind(
        "train", "a quote too many in a manifest", "refused", "check the quotes", with_manifest(_cell("kernel", '"B30'))
    ),
    _kind(
        "train",
        "a cell of 128 KiB in a manifest",
        "refused",
        "the length of its cells",
        with_manifest(_cell("kernel", "x" * 131_073)),
    ),
    _kind("train", "a pipe as manifest", "refused", "is not a file", no_file(os.mkfifo)),
    _kind("train", "a device as manifest", "refused", "is not a file", no_file(_endless)),
    _kind("train", "a window of 1e308", "refused", "beyond 1e+06 HU", given("data.hu_window.high=1e308"), 2),
    _kind("train", "patches of one pixel", "refused", "too small for the networks", given("data.patch_size=1"), 2),
    _kind("train", "a million filters", "refused", "2048 channels", given("generator.filters=1000000"), 2),
    _kind("train", "a billion blocks", "refused", "at most 100 blocks", given("generator.blocks=1000000000"), 2),
    _kind("train", "fifty layers", "refused", "12 layers", given("discriminator.layers=50"), 2),
    _kind("denoise", "tiles of a billion pixels", "refused", "tile", given("tile=1000000000"), 2),
    _kind("train", "a million threads", "refused", "at most 1024", given("threads=1000000"), 2),
    _kind("train", "a name of 300 bytes", "refused", "than 255 bytes", given(f"data.manifest={'x' * 300}"), 2),
    _kind("train", "a name that is not UTF-8", "refused", "is not UTF-8 text", given("data.store=B\udce4uche"), 2),
    _kind("train", "no manifest", "refused", "cannot read", lambda _place: ["data.manifest=nowhere.csv"]),
    _kind("train", "an empty manifest", "refused", "the file is empty", with_manifest(lambda _text: "")),
    _kind("train", "a manifest without rows", "refused", "no series after", with_manifest(lambda t: t.splitlines()[0])),
    _kind(
        "train", "a manifest of other columns", "refused", "missing columns", with_manifest(lambda _text: "a,b\n1,2\n")
    ),
    _kind("train", "a manifest in UTF-16", "refused", "manifest.csv", with_manifest(lambda t: t[:40] + "\0" * 40)),
    _kind("train", "a word for a number", "refused", "manifest.csv:2", with_manifest(_cell("rows", "many"))),
    _kind("train", "a dose that is none", "refused", "manifest.csv:2", with_manifest(_cell("dose", "high"))),
    _kind(
        "train", "another size than the series has", "refused", "the manifest says", with_manifest(_cell("rows", "7"))
    ),
    _kind("train", "a path that leads nowhere", "refused", "is missing", with_manifest(_cell("path", "../gone"))),
    _kind("train", "a patient in two splits", "refused", "split", with_manifest(_cell("split", "val"))),
    _kind("train", "one patient under two IDs", "refused", "contain the same slices", with_leak),
    _kind("train", "nothing of one dose", "refused", "full_dose", with_rows(_only(dose="low_dose"))),
    _kind("train", "nobody for training", "refused", "low_dose", with_rows(_without(split="train"))),
    _kind(
        "train",
        "a slice cut off since the scan",
        "refused",
        "cannot decode the pixels",
        with_series(lambda f: _cut(_first(f))),
    ),
    _kind(
        "train",
        "a slice gone since the scan",
        "refused",
        "the manifest says",
        with_series(lambda f: _first(f).unlink()),
    ),
    _kind(
        "train", "a loader worker killed for lack of memory", "refused", "probably for lack of memory", killed_worker
    ),
    _kind("train", "slices smaller than patches", "refused", "smaller than the 32x32 px", small_slices),
    _kind(
        "train supervised", "pairs that do not match", "refused", "anatomy", rewritten("data.manifest", "train", _turn)
    ),
    _kind(
        "train supervised",
        "pairs that are off by one slice",
        "refused",
        "seem to be off by one slice: 1 of 1",
        rewritten("data.manifest", "train", _move_by_one_slice),
    ),
    _kind(
        "train",
        "validation pairs that are off by one slice",
        "refused",
        "or remove the patient from the val split",
        rewritten("data.manifest", "val", _move_by_one_slice),
    ),
    _kind(
        "train supervised",
        "pairs with other pixel sizes",
        "refused",
        "pixel sizes differ",
        rewritten("data.manifest", "train", _enlarge_pixels),
    ),
    _kind(
        "train",
        "validation pairs half a pixel apart",
        "refused",
        "in-plane positions differ",
        rewritten("data.manifest", "val", _move_by_half_a_pixel),
    ),
    _kind(
        "evaluate",
        "pairs with other pixel sizes",
        "refused",
        "pixel sizes differ",
        rewritten("manifest", "test", _enlarge_pixels),
    ),
    _kind("evaluate", "pairs two pixels apart", "done", "", rewritten("manifest", "test", _move_by_two_pixels)),
    _kind(
        "evaluate",
        "pairs half a pixel apart",
        "refused",
        "in-plane positions differ",
        rewritten("manifest", "test", _move_by_half_a_pixel),
    ),
    _kind(
        "evaluate",
        "pairs with other orientations",
        "refused",
        "orientations differ",
        rewritten("manifest", "test", _turn_in_header),
    ),
    _kind(
        "train supervised",
        "pairs of the same pixels",
        "refused",
        "the same pixels",
        same_pixels("data.manifest", "train"),
    ),
    _kind("evaluate", "pairs of the same pixels", "refused", "the same pixels", same_pixels("manifest", "test")),
    _kind("evaluate", "swapped doses", "done", "the doses may be swapped", swapped),
    _kind(
        "evaluate",
        "weights of NaN",
        "refused",
        "best.pt: weights contain NaN or infinity",
        broken_run(lambda run: _spoil_weights(run / "checkpoints" / "best.pt")),
        4,
    ),
    _kind("evaluate", "a split without pairs", "refused", "no patient has both doses", one_dose),
    _kind("evaluate", "a kernel that nobody has", "refused", "no series of kernel 'B99'", evaluated(kernel="B99")),
    _kind("evaluate", "pairs that do not match", "refused", "anatomy", rewritten("manifest", "test", _turn)),
    _kind(
        "evaluate",
        "pairs that are off by one slice",
        "refused",
        "seem to be off by one slice: 1 of 1",
        rewritten("manifest", "test", _move_by_one_slice),
    ),
    _kind(
        "evaluate", "a folder that is no run", "refused", "nowhere", evaluated(**{"methods.supervised": "nowhere"}), 4
    ),
    _kind(
        "evaluate",
        "weights cut off",
        "refused",
        "best.pt",
        broken_run(lambda run: _cut(run / "checkpoints" / "best.pt")),
        4,
    ),
    _kind(
        "evaluate",
        "weights with a flipped bit",
        "refused",
        "best.pt",
        broken_run(lambda run: _flip(run / "checkpoints" / "best.pt")),
        4,
    ),
    _kind("evaluate", "weights of whole numbers", "refused", "torch.int64", reweighted(_first_as(torch.int64)), 4),
    _kind("evaluate", "complex weights", "refused", "torch.complex64", reweighted(_first_as(torch.complex64)), 4),
    _kind("evaluate", "weights of yes and no", "refused", "torch.bool", reweighted(_first_as(torch.bool)), 4),
    _kind("evaluate", "words for weights", "refused", "str, not", reweighted(lambda w: dict.fromkeys(w, "x")), 4),
    _kind("evaluate", "a list of weights", "refused", "no denoiser", reweighted(lambda w: list(w.values())), 4),
    _kind(
        "evaluate",
        "weights named by numbers",
        "refused",
        "is not text",
        reweighted(lambda w: dict(enumerate(w.values()))),
        4,
    ),
    _kind(
        "evaluate",
        "a pipe for weights",
        "refused",
        "best.pt: damaged",
        broken_run(lambda run: _replaced(run / "checkpoints" / "best.pt", os.mkfifo)),
        4,
    ),
    _kind(
        "evaluate",
        "a device for weights",
        "refused",
        "best.pt: damaged",
        broken_run(lambda run: _replaced(run / "checkpoints" / "best.pt", _endless)),
        4,
    ),
    _kind("config", "a word for a number", "refused", "seed: 'ten' is not a whole number", given("seed=ten"), 2),
    _kind("config", "a number for a word", "refused", "out: 7 is not text", given("out=7"), 2),
    _kind("config", "an unknown key", "refused", "did you mean 'split'?", given("splits={}"), 2),
    _kind("config", "a number beyond all bounds", "refused", "the number 1e999 is too large", given("seed=1e999"), 2),
    _kind(
        "config",
        "a fraction above 1",
        "refused",
        "val_fraction 7.0 is not at least 0",
        given("split.val_fraction=7"),
        2,
    ),
    _kind("config", "nothing for a list", "refused", "sources: null is not a list", given("sources="), 2),
    _kind("config", "a tag", "refused", "tags such as", given("out=!!python/object:os.system x"), 2),
    _kind("config", "an expression", "refused", "expressions are never evaluated", given("out=$import os"), 2),
)
