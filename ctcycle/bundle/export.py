"""Export a training run as a bundle folder, written atomically."""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch

from ctcycle.atomic import file_digests, new_folder, write_file, write_json, write_text
from ctcycle.bundle.card import Facts, model_card
from ctcycle.bundle.configs import FINGERPRINT, LOGGING, model_configs
from ctcycle.bundle.formats import check_packages, export_network, side_multiple
from ctcycle.bundle.metadata import metadata
from ctcycle.bundle.results import Results, read_results
from ctcycle.bundle.scripts import scripts
from ctcycle.bundle.training_slices import TrainingSlices, describe_series
from ctcycle.config.card import ModelCard
from ctcycle.config.shipped import located
from ctcycle.errors import BundleError, ConfigError, OutputError
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.runs.bundle_folder import BundleFacts
from ctcycle.runs.models import load_model, read_run_facts
from ctcycle.runs.watch_record import read_watch

_log = logging.getLogger(__name__)
_ZOO_MB = 25
RECORD = ".ctcycle/files.json"
"""File in a bundle with the SHA-256 of all others: only what it lists may be replaced."""


@dataclass(frozen=True)
class BundlePlan:
    """The settings for exporting a bundle.

    Attributes:
        run: folder of a training run.
        bundle: the folder to create; its name is the bundle's name.
        checkpoint: checkpoint of the run, "best" or "last"; None: the one that the run keeps.
        formats: formats in addition to the weights: "onnx", "pt2".
        results: ``results.json`` files of evaluations of the run, by heading in the model card.
        average_flips: whether the bundle averages over four flips by default.
        fingerprint: whether the bundle includes a fingerprint of its training data.
        version: version of the bundle.
        changes: changes by version; an entry for this version replaces the default text.
        card: model card entries supplied by the authors.
        overwrite: replace an existing bundle.
    """

    run: Path
    bundle: Path
    checkpoint: str | None = None
    formats: tuple[str, ...] = ("onnx", "pt2")
    results: Mapping[str, Path] = field(default_factory=dict)
    average_flips: bool = False
    fingerprint: bool = True
    version: str = "0.1.0"
    changes: Mapping[str, str] = field(default_factory=dict)
    card: ModelCard = field(default_factory=ModelCard)
    overwrite: bool = False

    @property
    def changelog(self) -> dict[str, str]:
        """Changes by version, always including the exported one."""
        return {self.version: "exported from a training run", **self.changes}


@dataclass(frozen=True)
class _Source:
    """The data from which a bundle is built."""

    plan: BundlePlan
    method: str
    slices: TrainingSlices
    generator: ResNetGenerator
    trained: BundleFacts
    fingerprint: Fingerprint | None
    results: Mapping[str, Results]
    data_license: str
    watched: str

    def facts(self, costs: dict[str, Any]) -> Facts:
        """Return the facts for the model card, given the measured costs of the finished bundle."""
        rows = self.slices.rows() if self.fingerprint else []
        return Facts(
            name=self.plan.bundle.name,
            version=self.plan.version,
            changelog=self.plan.changelog,
            trained=self.trained,
            method=self.method,
            parameters=sum(parameter.numel() for parameter in self.generator.parameters()),
            training_set=describe_series(rows) if rows else "",
            fingerprint=self.fingerprint,
            results=self.results,
            costs=costs,
            watched=self.watched,
        )


def export_bundle(plan: BundlePlan) -> str:
    """Create the bundle folder of a training run, measure its speed, and write its model card.

    Returns:
        A summary for the terminal.

    Raises:
        ConfigError: a package for a format is missing, or a file named in the plan is invalid.
        BundleError: the run has no denoiser, or one that cannot be exported.
        ManifestError: the training slices are missing.
        OutputError: the folder already exists or cannot be written.
    """
    check_packages(plan.formats)
    _check_replaceable(plan.bundle, overwrite=plan.overwrite)
    with new_folder(plan.bundle, may_replace=plan.overwrite) as folder:
        source = _read(plan)
        _write_texts(folder, source)
        _write_models(folder, source)
        _log.info("%s: measuring speed and parity", plan.bundle)
        write_text(folder / "docs" / "README.md", model_card(plan.card, source.facts(_costs(folder))))
        write_json(folder / RECORD, _files(folder))
    return exported(plan)


def exported(plan: BundlePlan) -> str:
    """Return the summary of an export for the terminal."""
    made = ", ".join(["model.pt", *(f"model.{name}" for name in plan.formats)])
    return f"bundle {plan.bundle.name} {plan.version} of {plan.run} ({made}); -> {plan.bundle}"


def has_weights_of(bundle: Path, run: Path, checkpoint: str | None = None) -> bool:
    """Return whether a bundle has the weights of a run.

    Args:
        bundle: the bundle folder.
        run: the run folder.
        checkpoint: as in `BundlePlan`.

    Raises:
        BundleError: one of them holds no denoiser.
    """
    ours, theirs = (load_model(path, checkpoint, "cpu").generator.state_dict() for path in (bundle, run))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _read(plan: BundlePlan) -> _Source:
    results = {heading: read_results(path, plan.run) for heading, path in plan.results.items()}
    data_license = "" if plan.card.data_license is None else _read_text(located(plan.card.data_license))
    run = read_run_facts(plan.run)
    model = load_model(plan.run, plan.checkpoint, "cpu")
    generator = model.generator
    if not isinstance(generator, ResNetGenerator):
        raise BundleError(
            f"{plan.run}: its generator is {type(generator).__name__}; only ResNetGenerator can be exported as a bundle"
        )
    slices = TrainingSlices(plan.run, run.manifest, run.store, run.kernel, run.mu_water, run.mu_air)
    fingerprint = slices.fingerprint() if plan.fingerprint else None
    trained = BundleFacts(
        generator.spec, model.window, model.mu_water, fingerprint is not None, plan.average_flips, model.mu_air
    )
    watch = read_watch(plan.run)
    watched = watch.sentence if watch else ""
    return _Source(plan, run.method, slices, generator, trained, fingerprint, results, data_license, watched)


def _write_texts(folder: Path, source: _Source) -> None:
    trained = source.trained
    own = {heading: results.own for heading, results in source.results.items()}
    contents = {
        "metadata": metadata(source.plan.card, source.plan.version, source.plan.changelog, trained, own),
        **model_configs(trained),
    }
    if source.fingerprint is not None:
        write_json(folder / FINGERPRINT, source.fingerprint.as_dict())
    for name, content in contents.items():
        write_json(folder / "configs" / f"{name}.json", content)
    write_text(folder / "configs" / "logging.conf", LOGGING)
    for name, text in scripts().items():
        write_text(folder / "scripts" / name, text)
    write_text(folder / "LICENSE", _licence())
    if source.data_license:
        write_text(folder / "docs" / "data_license.txt", source.data_license)


def _write_models(folder: Path, source: _Source) -> None:
    models = folder / "models"
    weights = {name: value.contiguous() for name, value in source.generator.state_dict().items()}
    write_file(models / "model.pt", lambda stream: torch.save(weights, stream))
    for name in source.plan.formats:
        _log.info("%s: exporting %s", source.plan.bundle, name)
        export_network(source.generator, models / f"model.{name}", side_multiple(source.trained.spec))
    for path in sorted(models.iterdir()):
        if (size := path.stat().st_size / 2**20) > _ZOO_MB:
            _log.warning(
                "%s is %.0f MB; the model zoo accepts files above %d MB only as links", path.name, size, _ZOO_MB
            )


def _costs(folder: Path) -> dict[str, Any]:
    """Return the speed, memory and format parity that the bundle measures for itself in a separate process."""
    command = [sys.executable, "-B", "-W", "ignore", "-m", "scripts.bundle.runtime.speed"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 (constant arguments)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().rpartition("\n")[2]
        raise BundleError(
            f"the exported bundle does not run ({last}); this is a bug in ctcycle, please report it"
        ) from error
    return found


def _check_replaceable(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "configs" / "metadata.json").is_file() or out.is_symlink():
        raise OutputError(f"{out}: exists and is not a bundle; choose another `bundle`")
    if not overwrite:
        raise OutputError(f"{out}: already exists; choose another `bundle`, or set overwrite=true")
    _check_own(out)


def _files(bundle: Path) -> dict[str, str]:
    """Return the digests of the files of a bundle, without what Python adds when it runs."""
    found = file_digests(bundle)
    return {name: one for name, one in found.items() if name != RECORD and "__pycache__" not in name.split("/")}


def _check_own(bundle: Path) -> None:
    """Check that a bundle holds only what its export wrote.

    Raises:
        OutputError: it has no record, or a file was added or changed; the message names it.
    """
    try:
        known = dict(json.loads((bundle / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        raise OutputError(
            f"{bundle}: has no record of its files, so it is never replaced; "
            "move it elsewhere, or choose another `bundle`"
        ) from None
    foreign = next((name for name, one in _files(bundle).items() if known.get(name) != one), None)
    if foreign is not None:
        raise OutputError(
            f"{bundle / foreign}: was added or changed after the export, so the bundle is never replaced; move it "
            "elsewhere, or choose another `bundle`"
        )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"card.data_license: cannot read {path} as text ({error})") from error


def _licence() -> str:
    """Return the licence text of ctcycle, from the checkout or the installed package."""
    checkout = Path(__file__).parents[2] / "LICENSE"
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    try:
        installed = [file for file in files("ctcycle") or [] if file.name == "LICENSE"]
    except PackageNotFoundError:
        installed = []
    if not installed:
        raise BundleError("ctcycle: its LICENSE file, which a bundle must include, is missing; reinstall ctcycle")
    return installed[0].read_text()
