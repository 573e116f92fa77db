"""The typed config schema: every key with its default and range.

Invalid values are refused before torch or monai is imported. Units are part of the key names; paths are relative to the
current folder.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ctcycle.config.card import ModelCard
from ctcycle.config.methods import (
    CalibratedPairsSettings,
    CycleGANSettings,
    NoiseSwapSettings,
    PhysicsCycleGANSettings,
    SupervisedSettings,
)
from ctcycle.config.sections import Count, Device, FilePath, Fraction, Positive, Section, Strength, Task
from ctcycle.config.tasks.experiments import Register, Sweep
from ctcycle.config.tasks.node import Serve
from ctcycle.config.tasks.pages import Inspect, View
from ctcycle.config.training import GUARD_THRESHOLD, TrainingSettings
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.evaluation import DEFAULT_FILTERS, FILTER_NAMES, FilterName
from ctcycle.evaluation.physics.settings import PhysicsSettings
from ctcycle.metrics import ProtocolName
from ctcycle.simulation.settings import LowDoseSettings, SimulationSettings

BenchName = Literal["pairs", "insertion", "physics"]
BenchFilter = Literal["input", "constant", "gaussian", "median", "bilateral", "tv", "nlm"]
"""Filters whose strength follows a rule; tuned ones need patients to be tuned on."""


class Simulate(Task):
    """Simulate CT of phantom patients at both doses (DICOM), or the low dose of real full-dose series (same format)."""

    task: Literal["simulate"]
    simulation: SimulationSettings = SimulationSettings()
    low_dose: LowDoseSettings | None = Field(
        None, description="simulate the low dose of real scans instead of phantom patients"
    )
    workers: Count | None = Field(None, description="number of processes; default: all cores")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.low_dose is not None and self.simulation != SimulationSettings():
            raise ValueError("simulation and low_dose are both set; set only one of them")
        return self


class Scan(Task):
    """Index folders of CT into a manifest.

    Patients are keyed by folder name where possible, otherwise by a hash of the PatientID. Set the environment variable
    CTCYCLE_SALT to a secret, the same for every scan, so that the hash cannot be reversed by guessing. It is not a
    config key because the config is written to the run folder.
    """

    task: Literal["scan"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = Field(description="folders or files to index")
    manifest: FilePath | None = Field(None, description="default: manifest.csv in `out`")
    split: SplitSettings = SplitSettings()


class Train(TrainingSettings, Task):
    """Keys shared by the training tasks of all methods."""

    task: Literal["train"]
    resume: Literal["auto", "never"] = Field("auto", description="auto: resume the run in `out`; never: restart it")


class TrainCycleGAN(CycleGANSettings, Train):
    """Train CycleGAN: two generators, two discriminators, no pairs."""


class TrainPhysicsCycleGAN(PhysicsCycleGANSettings, Train):
    """Train the CycleGAN with physics: full2low adds simulated projection noise."""


class TrainCalibratedPairs(CalibratedPairsSettings, Train):
    """Train on calibrated simulated pairs: one generator, no discriminator, no pairs of scans."""


class TrainNoiseSwap(NoiseSwapSettings, Train):
    """Train noise swap: one generator, one discriminator, no pairs."""


class TrainSupervised(SupervisedSettings, Train):
    """Train the supervised baseline: one generator, true pairs."""


AnyTrain = Annotated[
    TrainCycleGAN | TrainSupervised | TrainNoiseSwap | TrainCalibratedPairs | TrainPhysicsCycleGAN,
    Field(discriminator="method"),
]


def _check_names(methods: Iterable[str]) -> None:
    """Check that tables can hold the names of methods, and that nothing else has them."""
    for name in methods:
        if name in FILTER_NAMES:
            raise ValueError(f"'{name}' is the name of a classical filter; choose another name")
        if name.casefold() == "full dose":
            raise ValueError(f"'{name}' is the name of the reference; choose another name")
        if not name.isprintable() or name != name.strip() or not name or "|" in name:
            raise ValueError(f"{name!r} is not a name; use printable characters without '|', in one line")


class MethodSource(Section):
    """A method under evaluation: a model, or a folder of outputs that another program made."""

    run: FilePath | None = Field(None, description="run folder, bundle folder or MLflow model")
    outputs: FilePath | None = Field(None, description="folder with denoised DICOM, NIfTI or npy of the same slices")
    checkpoint: Literal["best", "last"] | None = Field(None, description="of a run folder; default: as for all runs")
    title: str = Field("", description="its name for readers; default: its name in the table")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.run is None) == (self.outputs is None):
            raise ValueError("set either run or outputs")
        return self


class Evaluate(Task):
    """Evaluate models, outputs of other programs and classical filters on held-out patients."""

    task: Literal["evaluate"]
    manifest: FilePath = Field(description="manifest written by scan")
    store: FilePath | None = Field(
        None, description="folder of decoded slices; default: .ctcycle_store next to the manifest"
    )
    cache: FilePath | None = Field(None, description="folder of results by content; default: evaluations in the store")
    methods: dict[str, FilePath | MethodSource] = Field(
        default_factory=dict,
        description="run folder or bundle folder of each method, by the name it gets in the tables; or {run: ..., "
        "checkpoint: last}; or {outputs: folder, title: ...}",
    )
    filters: tuple[FilterName, ...] = Field(
        DEFAULT_FILTERS, description="classical filters as rows of the tables; *_tuned: strength chosen on val patients"
    )
    benches: tuple[BenchName, ...] | None = Field(
        None, description="default: pairs and insertion, as far as the data allow"
    )
    physics: PhysicsSettings = Field(PhysicsSettings(), description="scans of the physics bench, if it is chosen")
    protocols: Annotated[tuple[ProtocolName, ...], Field(min_length=1)] = Field(
        ("hu2000", "report2024", "abdomen"),
        description="conventions of PSNR and SSIM; the first is used for comparisons",
    )
    split: Literal["train", "val", "test"] = Field("test", description="patients to evaluate on")
    kernel: str | None = Field(None, description="use only series of this reconstruction kernel")
    checkpoint: Literal["best", "last"] | None = Field(
        None, description="default: as training.keep of each run; only for run folders"
    )
    device: Device = "auto"
    guard: bool = Field(
        True, description="fail if low and full dose of a pair, or outputs, do not show the same anatomy"
    )
    guard_threshold: Fraction = Field(
        GUARD_THRESHOLD, description="minimum correlation of the anatomy of the two slices of a pair"
    )
    body_mask: bool = Field(False, description="score only pixels inside the patient")
    panels: Annotated[int, Field(ge=0, le=12)] = Field(3, description="number of slices in the panel figure")
    mu_water: Positive = Field(MU_WATER, description="attenuation of water in 1/mm, for npy in attenuation")
    mu_air: Annotated[float, Field(ge=0)] = Field(
        MU_AIR, description="attenuation of air in 1/mm, at -1000 HU; below mu_water"
    )

    @field_validator("methods")
    @classmethod
    def _names_are_free(cls, methods: dict[str, FilePath | MethodSource]) -> dict[str, FilePath | MethodSource]:
        _check_names(methods)
        return methods

    @property
    def sources(self) -> dict[str, MethodSource]:
        """The methods in their long form."""
        return {
            name: source if isinstance(source, MethodSource) else MethodSource(run=source)
            for name, source in self.methods.items()
        }


class Bench(Task):
    """Measure denoisers on simulated scans of a water disc with inserts; needs no data."""

    task: Literal["bench"]
    methods: dict[str, FilePath] = Field(
        default_factory=dict, description="run folder or bundle folder of each method, by the name it gets in the table"
    )
    filters: Annotated[tuple[BenchFilter, ...], Field(min_length=1)] = Field(
        ("input", "gaussian", "nlm"), description="classical filters as rows of the table"
    )
    physics: PhysicsSettings = PhysicsSettings()
    checkpoint: Literal["best", "last"] = Field("best", description="only for run folders")
    device: Device = "auto"
    workers: Count | None = Field(None, description="number of threads; default: all cores")

    @field_validator("methods")
    @classmethod
    def _names_are_free(cls, methods: dict[str, FilePath]) -> dict[str, FilePath]:
        _check_names(methods)
        return methods


class Denoise(Task):
    """Denoise a series, or a folder of series."""

    task: Literal["denoise"]
    model: FilePath | None = Field(
        None,
        description="run folder, bundle folder or MLflow model (models:/NAME@ALIAS, models:/NAME/VERSION, "
        "runs:/RUN_ID); default: "
        "the bundle shipped with ctcycle",
    )
    input: FilePath = Field(description="a series, a volume, or a folder of them")
    checkpoint: Literal["best", "last"] | None = Field(
        None,
        description="best or last; default: as the run's training.keep; only for a run folder, a bundle has one set of "
        "weights",
    )
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    engine: Literal["torch", "onnx"] = Field(
        "torch", description="onnx: run the network with ONNX Runtime, on the CPU; needs onnxruntime"
    )
    strength: Strength = Field(
        1.0,
        description="strength of the correction, 0 to 2; 1 applies it as trained; auto chooses it for each series so "
        "that the noise of a routine dose is left",
    )
    tile: Annotated[int, Field(ge=0, le=8192, multiple_of=32)] = Field(
        0, description="side of overlapping tiles in pixels, to save memory; at least 64; 0: whole slices"
    )
    residual: bool = Field(False, description="also write the removed noise, in HU")
    average_flips: bool | None = Field(
        None,
        description="average over four flips: slightly better, four times slower; default: as in the bundle, or off",
    )
    uncertainty: bool = Field(False, description="also write the spread of the results over four flips, in HU")
    strict: bool = Field(False, description="refuse series that differ from the training data, instead of warning")
    keep_private: bool = Field(False, description="keep private DICOM elements")
    assume_hu: bool = Field(False, description="treat NIfTI and npy values as HU even if they do not look like HU")
    slice_axis: Literal[0, 1, 2] | None = Field(
        None,
        description="axis along which NIfTI and npy volumes are cut into slices: 0, 1 or 2; default: chosen for each",
    )

    @field_validator("tile")
    @classmethod
    def _tile_is_large_enough(cls, tile: int) -> int:
        if 0 < tile < 64:
            raise ValueError("must be 0 (whole slices) or at least 64")
        return tile


class Bundle(Task):
    """Export a training run as a MONAI bundle, which denoises without ctcycle installed."""

    task: Literal["bundle"]
    run: FilePath = Field(description="run folder of a train task, or the MLflow run or model that it made")
    bundle: FilePath = Field(description="folder to create; its name becomes the name of the bundle")
    checkpoint: Literal["best", "last"] | None = Field(None, description="default: as the run's training.keep")
    formats: tuple[Literal["onnx", "pt2"], ...] = Field(
        ("onnx", "pt2"), description="model formats to export in addition to the weights"
    )
    results: dict[str, FilePath] = Field(
        default_factory=dict,
        description="results.json of evaluations of the run, by their heading in the model card",
    )
    average_flips: bool = Field(False, description="default of the bundle: average over four flips, four times slower")
    fingerprint: bool = Field(
        True, description="measure the training slices, so that the bundle can warn about scans that differ"
    )
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field("0.1.0", description="version of the bundle")
    changelog: dict[str, str] = Field(default_factory=dict, description="changes, by version")
    card: ModelCard = ModelCard()

    @field_validator("bundle")
    @classmethod
    def _name_is_plain(cls, bundle: Path) -> Path:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", bundle.name):
            raise ValueError(
                f"'{bundle.name}' is not a valid bundle name; use lower-case letters, digits and _, and start with a "
                "letter"
            )
        return bundle


Step = Annotated[
    Simulate | Inspect | Scan | AnyTrain | Sweep | Evaluate | Bench | Denoise | View | Bundle | Register,
    Field(discriminator="task"),
]


class Pipeline(Task):
    """Run several tasks in order; steps with complete output are skipped."""

    task: Literal["pipeline"]
    steps: Annotated[dict[str, Step], Field(min_length=1)] = Field(
        description="tasks by name, run in this order; `out` of a step defaults to its name in `out` of the pipeline"
    )


Config = Annotated[
    Simulate
    | Inspect
    | Scan
    | AnyTrain
    | Sweep
    | Evaluate
    | Bench
    | Denoise
    | View
    | Bundle
    | Register
    | Serve
    | Pipeline,
    Field(discriminator="task"),
]
TASKS = (
    *("simulate", "inspect", "scan", "train", "sweep", "evaluate", "bench", "denoise", "view", "bundle", "register"),
    *("serve", "pipeline"),
)
