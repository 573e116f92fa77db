"""The whole config, typed: every key, its default, its range.

Wrong values are refused before torch or monai is imported. Units are in the names; paths are relative to the folder
that the command is run in.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from ctcycle.config.card import ModelCard
from ctcycle.config.methods import CycleGANSettings, NoiseSwapSettings, SupervisedSettings
from ctcycle.config.sections import Count, Device, FilePath, Fraction, Positive, Task
from ctcycle.config.training import GUARD_THRESHOLD, TrainingSettings
from ctcycle.ct.hounsfield import MU_WATER
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.metrics import ProtocolName
from ctcycle.simulation.settings import LowDoseSettings, SimulationSettings

Baseline = Literal["input", "constant", "gaussian", "nlm"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


class Simulate(Task):
    """Simulated low dose: of patients that do not exist (DICOM), or of real full-dose series (in their own format)."""

    task: Literal["simulate"]
    simulation: SimulationSettings = SimulationSettings()
    low_dose: LowDoseSettings | None = Field(None, description="low dose of real scans, instead of simulated patients")
    workers: Count | None = Field(None, description="processes; default: all cores")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.low_dose is not None and self.simulation != SimulationSettings():
            raise ValueError("has both simulation and low_dose; name one of them")
        return self


class Scan(Task):
    """Folders of CT to a manifest.

    Where no folder names the patient, a hash of the PatientID does. Set the environment variable CTCYCLE_SALT to any
    secret text, the same for each scan, or whoever knows an ID can find it in the manifest. It is no key of the config
    because the config is written into the run folder.
    """

    task: Literal["scan"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    manifest: FilePath | None = Field(None, description="default: manifest.csv in `out`")
    split: SplitSettings = SplitSettings()


class Train(TrainingSettings, Task):
    """What the tasks of every training method share."""

    task: Literal["train"]
    resume: Literal["auto", "never"] = "auto"


class TrainCycleGAN(CycleGANSettings, Train):
    """Two generators, two discriminators, no pairs."""


class TrainNoiseSwap(NoiseSwapSettings, Train):
    """One generator, one discriminator, no pairs."""


class TrainSupervised(SupervisedSettings, Train):
    """One generator, true pairs."""


AnyTrain = Annotated[TrainCycleGAN | TrainSupervised | TrainNoiseSwap, Field(discriminator="method")]


class Evaluate(Task):
    """Trained runs and classical filters against the full dose of held-out patients."""

    task: Literal["evaluate"]
    manifest: FilePath
    store: FilePath | None = None
    methods: dict[str, FilePath] = Field(default_factory=dict, description="name: run folder")
    baselines: tuple[Baseline, ...] = BASELINES
    protocols: Annotated[tuple[ProtocolName, ...], Field(min_length=1)] = ("hu2000", "report2024", "abdomen")
    split: Literal["train", "val", "test"] = "test"
    kernel: str | None = None
    checkpoint: Literal["best", "last"] = "best"
    device: Device = "auto"
    guard: bool = Field(True, description="stop where low and full dose do not show the same anatomy")
    guard_threshold: Fraction = GUARD_THRESHOLD
    body_mask: bool = Field(False, description="count only pixels inside the patient")
    panels: Annotated[int, Field(ge=0, le=12)] = Field(3, description="slices shown in the panel figure")
    mu_water: Positive = MU_WATER

    @field_validator("methods")
    @classmethod
    def _names_are_free(cls, methods: dict[str, FilePath]) -> dict[str, FilePath]:
        taken = sorted(methods.keys() & set(BASELINES))
        if taken:
            raise ValueError(f"'{taken[0]}' is the name of a classical filter; choose another name")
        return methods


class Denoise(Task):
    """A series, or a folder of many, to denoised ones."""

    task: Literal["denoise"]
    model: FilePath | None = Field(
        None, description="a run folder or a bundle folder; default: the bundle that ships with ctcycle"
    )
    input: FilePath = Field(description="a series, a volume, or a folder of many")
    checkpoint: Literal["best", "last"] = Field(
        "best", description="best or last, of a run folder; a bundle has only one"
    )
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    strength: Annotated[float, Field(ge=0, le=2)] = Field(1.0, description="factor of the correction, from 0 to 2")
    tile: Annotated[int, Field(ge=0, multiple_of=32)] = Field(
        0, description="side in pixels of overlapping tiles, for little memory; at least 64; 0: whole slices"
    )
    residual: bool = Field(False, description="also write what was removed, in HU")
    average_flips: bool | None = Field(
        None,
        description="mean over four flips: a little better, four times as slow; default: as the bundle says, or not",
    )
    uncertainty: bool = Field(False, description="also write how far results for flipped slices differ, in HU")
    strict: bool = Field(False, description="refuse series unlike what the model was trained on, instead of warning")
    keep_private: bool = Field(False, description="keep private DICOM elements")
    assume_hu: bool = Field(False, description="take NIfTI and npy values for HU although they do not look like it")

    @field_validator("tile")
    @classmethod
    def _tile_is_large_enough(cls, tile: int) -> int:
        if 0 < tile < 64:
            raise ValueError("must be 0 (whole slices) or at least 64")
        return tile


class Bundle(Task):
    """A training run to a MONAI bundle: a folder that denoises where ctcycle is not installed."""

    task: Literal["bundle"]
    run: FilePath = Field(description="a run folder of task train")
    bundle: FilePath = Field(description="the folder that is made; its name is the bundle's name")
    checkpoint: Literal["best", "last"] = "best"
    formats: tuple[Literal["onnx", "pt2"], ...] = Field(("onnx", "pt2"), description="beside the weights")
    results: dict[str, FilePath] = Field(
        default_factory=dict, description="heading in the model card: results.json of an evaluation of the run"
    )
    average_flips: bool = Field(False, description="the bundle's default: mean over four flips, four times as slow")
    fingerprint: bool = Field(True, description="measure the training slices, so that unlike scans are noticed")
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "0.1.0"
    changelog: dict[str, str] = Field(default_factory=dict, description="version: what changed in it")
    card: ModelCard = ModelCard()

    @field_validator("bundle")
    @classmethod
    def _name_is_plain(cls, bundle: Path) -> Path:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", bundle.name):
            raise ValueError(f"'{bundle.name}' is no name of a bundle: small letters, digits and _, a letter first")
        return bundle


Step = Annotated[Simulate | Scan | AnyTrain | Evaluate | Denoise | Bundle, Field(discriminator="task")]


class Pipeline(Task):
    """Tasks one after another; each is skipped where its output is already complete."""

    task: Literal["pipeline"]
    steps: Annotated[dict[str, Step], Field(min_length=1)]


Config = Annotated[Simulate | Scan | AnyTrain | Evaluate | Denoise | Bundle | Pipeline, Field(discriminator="task")]
TASKS = ("simulate", "scan", "train", "evaluate", "denoise", "bundle", "pipeline")
