"""The tasks: the parts that each is made of, built from its config and run; what there is to say is printed."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ctcycle.atomic import write_text
from ctcycle.config.loading import LoadedConfig
from ctcycle.config.schema import Bundle, Denoise, Evaluate, Pipeline, Scan, Simulate, Step
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.training_schema import AnyTrain
from ctcycle.errors import CtcycleError, OutputError, StoppedError
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker
from ctcycle.simulation.low_dose_settings import TwinSettings
from ctcycle.tasks.crashes import describe_crash


def run(loaded: LoadedConfig) -> None:
    """Runs the task of a config; a pipeline's steps one after another.

    Raises:
        CtcycleError: see `ctcycle.errors` for the kinds and their exit codes.
    """
    config = loaded.config
    if not isinstance(config, Pipeline):
        _run_step(config, loaded.resolved, loaded.name)
        return
    write_text(config.out / "pipeline.yaml", dump_yaml(loaded.resolved))
    for number, (name, step) in enumerate(config.steps.items(), 1):
        _say(f"[{number}/{len(config.steps)}] {name}: {step.task} -> {step.out}")
        _run_step(step, loaded.resolved["steps"][name], f"{loaded.name}.{name}")


def _run_step(config: Step, resolved: Mapping[str, Any], name: str) -> None:
    folder = RunFolder(config.out)
    fresh = config.overwrite or getattr(config, "resume", "auto") == "never"
    with folder.opened(resolved, overwrite=fresh) as state:
        if state == "finished" and config.task != "denoise":  # there may be new series; what is done already stays
            _tell_finished(config, folder, resolved, name)
        else:
            _work(config, folder, resolved, name, new=state == "new")


def _tell_finished(config: Step, folder: RunFolder, resolved: Mapping[str, Any], name: str) -> None:
    if config.task == "train":
        with _log_to(folder.log):
            Tracker(config.tracking, folder.path, name, flat(resolved)).send_rest()
    _say(f"{config.out}: already finished; overwrite=true does it again")
    _say(folder.summary() if config.task == "evaluate" else folder.summary().splitlines()[-1])


def _work(config: Step, folder: RunFolder, resolved: Mapping[str, Any], name: str, *, new: bool) -> None:
    try:
        with _log_to(folder.log):
            text = _TASKS[config.task](config, folder, resolved, name)
    except BaseException:  # the keyboard's, too
        if new:
            folder.release()
        raise
    folder.finish(text)
    _say(text)


def _simulate(config: Simulate, folder: RunFolder, _resolved: Mapping[str, Any], _name: str) -> str:
    from ctcycle.simulation.dataset import simulate_dataset

    if config.twins is not None:
        return _make_twins(config, config.twins, folder)
    out, patients = folder.path / "series", config.simulation.patients
    if config.overwrite and (out / "simulation.json").exists():
        shutil.rmtree(out)
    workers = min(config.workers or os.cpu_count() or 1, patients)
    with tqdm(total=patients, desc="simulating", unit="patient", dynamic_ncols=True) as bar:

        def report(done: int) -> None:
            bar.update(done - bar.n)

        simulate_dataset(out, config.simulation, config.seed, workers, report)
    return f"{patients} simulated patients, each at full and at low dose; -> {out}"


def _make_twins(config: Simulate, settings: TwinSettings, folder: RunFolder) -> str:
    from ctcycle.data.manifest import write_manifest
    from ctcycle.data.scan import write_skipped
    from ctcycle.simulation.low_dose import make_twins

    out, manifest = folder.path / "series", folder.path / "manifest.csv"
    if config.overwrite:
        shutil.rmtree(out, ignore_errors=True)
    with tqdm(desc="making twins", unit="series", dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        workers = config.workers or os.cpu_count() or 1
        report = make_twins(out, manifest, settings, config.seed, workers=workers, progress=progress)
    write_manifest(manifest, report.manifest)
    write_skipped(folder.path / "skipped.csv", report.skipped)
    left_out = f"; left out: {len(report.skipped)}, see {folder.path / 'skipped.csv'}" if report.skipped else ""
    patients = len(report.manifest.patients)
    return f"{report.twins} low-dose twins of {patients} patients{left_out}; -> {manifest}"


def _scan(config: Scan, folder: RunFolder, _resolved: Mapping[str, Any], _name: str) -> str:
    from ctcycle.data.manifest import write_manifest
    from ctcycle.data.scan import scan_sources, write_skipped
    from ctcycle.data.scan_summary import summary

    path = config.manifest or folder.path / "manifest.csv"
    if path.exists() and not config.overwrite:
        raise OutputError(f"{path}: exists, and may have been edited; choose another `out`, or overwrite=true")
    with tqdm(desc="scanning", unit="file", dynamic_ncols=True) as bar:
        salt = os.environ.get("CTCYCLE_SALT", "")
        report = scan_sources(config.sources, path, config.split, salt=salt, progress=lambda _path: bar.update())
    write_manifest(path, report.manifest)
    left_out = folder.path / "skipped.csv"
    write_skipped(left_out, report.skipped)
    listed = f"what was left out, with its path: {left_out}\n" if report.skipped else ""
    return f"{summary(report)}{listed}\n-> {path}"


def _train(config: AnyTrain, folder: RunFolder, resolved: Mapping[str, Any], name: str) -> str:
    from ctcycle.training.trainer import TrainingRun

    best = TrainingRun(config, folder, name, resolved).run()
    scores = f"best epoch {best['epoch']}: {best['val/psnr']:.2f} dB PSNR" if best else "no validation pairs"
    protocol = f", protocol {config.validation.protocol}, on validation slices" if best else ""
    return f"{config.method} trained; {scores}{protocol}; -> {folder.path}"


def _evaluate(config: Evaluate, folder: RunFolder, _resolved: Mapping[str, Any], _name: str) -> str:
    from ctcycle.tasks.evaluate import compare, describe

    return describe(config, folder, compare(config, folder))


def _denoise(config: Denoise, _folder: RunFolder, _resolved: Mapping[str, Any], _name: str) -> str:
    from ctcycle.tasks.denoise import denoise_all

    return denoise_all(config)


def _bundle(config: Bundle, _folder: RunFolder, _resolved: Mapping[str, Any], _name: str) -> str:
    from ctcycle.bundle.export import export_bundle

    return export_bundle(config)


_TASKS: dict[str, Callable[[Any, RunFolder, Mapping[str, Any], str], str]] = {
    "simulate": _simulate,
    "scan": _scan,
    "train": _train,
    "evaluate": _evaluate,
    "denoise": _denoise,
    "bundle": _bundle,
}


def _say(text: str) -> None:
    tqdm.write(text)


class _BesideBars(logging.Handler):
    """Shows log records without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record."""
        tqdm.write(self.format(record), file=sys.stderr)


class _LogFile(logging.FileHandler):
    """Adds log records to a file; that its disk is full is for those to tell who write what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Keeps silent, where logging would print a traceback."""

    def close(self) -> None:
        """Closes the file."""
        with suppress(OSError):
            super().close()


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Inside, what ctcycle logs is shown, and added to ``path``."""
    try:
        handlers = [_BesideBars(), _LogFile(path, encoding="utf-8")]
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another `out`") from error
    handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ctcycle")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except Exception as error:
        level = logging.INFO if isinstance(error, StoppedError) else logging.ERROR
        text = str(error) if isinstance(error, CtcycleError) else describe_crash(error)
        handlers[1].handle(logging.LogRecord("ctcycle", level, "", 0, text, None, None))  # the terminal gets it last
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
