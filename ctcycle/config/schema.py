"""The typed config schema: every key with its default and range.

Invalid values are refused before torch or monai is imported. Units are part of the key names; paths are relative to the
current folder.
"""

import re
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
from ctcycle.config.sections import Count, Device, FilePath, Fraction, Positive, Section, Task
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
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    manifest: FilePath | None = Field(None, description="default: manifest.csv in `out`")
    split: SplitSettings = SplitSettings()


class Train(TrainingSettings, Task):
    """Keys shared by the training tasks of all methods."""

    task: Literal["train"]
    resume: Literal["auto", "never"] = "auto"


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


class MethodSource(Section):
    """A method under evaluation: a model, or a folder of outputs that another program made."""

    run: FilePath | None = Field(None, description="run folder or bundle folder")
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
    manifest: FilePath
    store: FilePath | None = None
    cache: FilePath | None = Field(None, description="folder of results by content; default: evaluations in the store")
    methods: dict[str, FilePath | MethodSource] = Field(
        default_factory=dict,
        description="run folder or bundle folder of each method, by the name it gets in the tables; or {run: ..., "
        "checkpoint: last}; or {outputs: folder, title: ...}",
    )
    filters: tuple[FilterName, ...] = DEFAULT_FILTERS
    benches: tuple[BenchName, ...] | None = Field(
        None, description="default: pairs and insertion, as far as the data allow"
    )
    physics: PhysicsSettings = Field(PhysicsSettings(), description="scans of the physics bench, if it is chosen")
    protocols: Annotated[tuple[ProtocolName, ...], Field(min_length=1)] = ("hu2000", "report2024", "abdomen")
    split: Literal["train", "val", "test"] = "test"
    kernel: str | None = None
    checkpoint: Literal["best", "last"] | None = Field(
        None, description="default: as training.keep of each run; only for run folders"
    )
    device: Device = "auto"
    guard: bool = Field(True, description="fail if low and full dose of a pair do not show the same anatomy")
    guard_threshold: Fraction = GUARD_THRESHOLD
    body_mask: bool = Field(False, description="score only pixels inside the patient")
    panels: Annotated[int, Field(ge=0, le=12)] = Field(3, description="number of slices in the panel figure")
    mu_water: Positive = MU_WATER
    mu_air: Annotated[float, Field(ge=0)] = MU_AIR

    @field_validator("methods")
    @classmethod
    def _names_are_free(cls, methods: dict[str, FilePath | MethodSource]) -> dict[str, FilePath | MethodSource]:
        taken = sorted(methods.keys() & set(FILTER_NAMES))
        if taken:
            raise ValueError(f"'{taken[0]}' is the name of a classical filter; choose another name")
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
    filters: Annotated[tuple[BenchFilter, ...], Field(min_length=1)] = ("input", "gaussian", "nlm")
    physics: PhysicsSettings = PhysicsSettings()
    checkpoint: Literal["best", "last"] = "best"
    device: Device = "auto"
    workers: Count | None = Field(None, description="number of threads; default: all cores")

    @field_validator("methods")
    @classmethod
    def _names_are_free(cls, methods: dict[str, FilePath]) -> dict[str, FilePath]:
        taken = sorted(methods.keys() & set(FILTER_NAMES))
        if taken:
            raise ValueError(f"'{taken[0]}' is the name of a classical filter; choose another name")
        return methods


class Denoise(Task):
    """Denoise a series, or a folder of series."""

    task: Literal["denoise"]
    model: FilePath | None = Field(
        None, description="run folder or bundle folder; default: the bundle shipped with ctcycle"
    )
    input: FilePath = Field(description="a series, a volume, or a folder of them")
    checkpoint: Literal["best", "last"] | None = Field(
        None,
        description="best or last; default: as the run's training.keep; only for a run folder, a bundle has one set of "
        "weights",
    )
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    strength: Annotated[float, Field(ge=0, le=2)] = Field(
        1.0, description="strength of the correction, 0 to 2; 1 applies it as trained"
    )
    tile: Annotated[int, Field(ge=0, multiple_of=32)] = Field(
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
    run: FilePath = Field(description="run folder of a train task")
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
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "0.1.0"
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


Step = Annotated[Simulate | Scan | AnyTrain | Evaluate | Bench | Denoise | Bundle, Field(discriminator="task")]


class Pipeline(Task):
    """Run several tasks in order; steps with complete output are skipped."""

    task: Literal["pipeline"]
    steps: Annotated[dict[str, Step], Field(min_length=1)]


Config = Annotated[
    Simulate | Scan | AnyTrain | Evaluate | Bench | Denoise | Bundle | Pipeline, Field(discriminator="task")
]
TASKS = ("simulate", "scan", "train", "evaluate", "bench", "denoise", "bundle", "pipeline")
