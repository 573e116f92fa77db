"""The whole config, typed: every key, its default, its range.

Wrong values are refused before torch or monai is imported. Units are in the names; paths are relative to the folder
that the command is run in.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from ctcycle.config.components import Component
from ctcycle.hounsfield import MU_WATER, HUWindow
from ctcycle.metrics import ProtocolName
from ctcycle.network_specs import DiscriminatorSpec, GeneratorSpec
from ctcycle.scan_settings import Source, SplitSettings
from ctcycle.simulation_settings import SimulationSettings
from ctcycle.twin_settings import TwinSettings

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]


Baseline = Literal["input", "constant", "gaussian", "nlm"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values are never changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _spec_or_component(value: Any) -> str:
    return "component" if isinstance(value, Component) or (isinstance(value, dict) and "_target_" in value) else "spec"


Generator = Annotated[
    Annotated[GeneratorSpec, Tag("spec")] | Annotated[Component, Tag("component")], Discriminator(_spec_or_component)
]


def _default_transforms() -> tuple[Component, ...]:
    flips = [{"_target_": "RandFlip", "prob": 0.5, "spatial_axis": axis} for axis in (0, 1)]
    crop = {"_target_": "RandSpatialCrop", "roi_size": [128, 128], "random_size": False}
    return tuple(Component.model_validate(item) for item in (crop, *flips))


class Data(Section):
    """Which slices are trained on, and how they reach the networks."""

    manifest: Path
    store: Path | None = Field(
        None, description="folder of decoded slices; default: .ctcycle_store beside the manifest"
    )
    kernel: str | None = Field(None, description="only series of this reconstruction kernel: kernels confound dose")
    hu_window: HUWindow = HUWindow()
    mu_water: Positive = MU_WATER
    transforms: tuple[Component, ...] = Field(
        default_factory=_default_transforms, description="MONAI array transforms of one slice (1, H, W), crop first"
    )
    skip_air: Fraction = Field(0.9, description="probability of drawing a crop anew that is nearly all air")
    workers: Annotated[int, Field(ge=0)] = 0


class UnpairedData(Data):
    """Two domains, drawn independently."""

    protocol: Literal["shuffled", "disjoint_slices", "disjoint_patients"] = "disjoint_patients"


GUARD_THRESHOLD = 0.65
"""Correlation of anatomy below which two slices are no pair: see `ctcycle.pairing`."""


class PairedData(Data):
    """Low dose and full dose of the same slice."""

    pairing: Literal["position", "shuffled"] = Field("position", description="shuffled: the report's fault, for study")
    same_crop: bool = Field(True, description="false: crop and flip each image on its own; the report's fault")
    guard: bool = Field(True, description="stop where low and full dose do not show the same anatomy")
    guard_threshold: Fraction = GUARD_THRESHOLD


class Optimizer(Section):
    """Adam for the generators and Adam for the discriminators."""

    lr: Positive = 2e-4
    lr_discriminator: Positive | None = Field(None, description="default: lr")
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    clip_norm: Positive | None = Field(None, description="gradients are scaled down to this norm")


class Schedule(Section):
    """What changes while training goes on; progress runs from 0 to 1 over all epochs."""

    decay_start: Fraction = Field(1.0, description="progress from which the learning rate falls linearly; 1: never")
    decay_final: Fraction = Field(0.0, description="factor of the learning rate at the end")
    finish_start: Fraction = Field(1.0, description="progress from which the adversarial weight is lowered; 1: never")
    finish_adversarial: Fraction = Field(0.05, description="factor of the adversarial weight from then on")


class Training(Section):
    """How long, how much at a time."""

    epochs: Count = 160
    batch_size: Count = 32
    iterations_per_epoch: Count | None = Field(None, description="default: one pass over the low-dose slices")
    stop_after_epoch: Count | None = Field(None, description="end early with a checkpoint; the same command continues")
    checkpoint_minutes: Positive = Field(10.0, description="an epoch that takes longer gets checkpoints inside, too")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="running mean of the generator's weights, which is what is evaluated; 0: off"
    )
    precision: Literal["fp32", "bf16"] = "fp32"


class Validation(Section):
    """Whole validation slices at regular epochs; the best checkpoint is chosen by PSNR where pairs exist."""

    every: Count = Field(1, description="epochs")
    protocol: ProtocolName = "hu2000"
    slices: Count = Field(32, description="at most, evenly spread over the validation pairs")


class Tracking(Section):
    """MLflow. MLFLOW_TRACKING_URI in the environment wins over an empty uri."""

    enabled: bool = True
    experiment: str = "ctcycle"
    uri: str | None = Field(None, description="default: an SQLite file beside the run folder")
    every: Count = Field(20, description="iterations between logged losses")


class Task(Section):
    """What every task has."""

    out: Path
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    overwrite: bool = Field(False, description="replace what an earlier run left in `out`")


class Train(Task):
    """What every training method has."""

    task: Literal["train"]
    resume: Literal["auto", "never"] = "auto"
    device: Device = "auto"
    threads: Count | None = Field(None, description="of torch on a CPU; default: all cores")
    initial: Path | None = Field(None, description="run or bundle whose weights the generator starts from")
    generator: Generator = GeneratorSpec()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    validation: Validation = Validation()
    tracking: Tracking = Tracking()


class AdversarialLoss(Section):
    """Weights that the unpaired methods share (method.md, 5)."""

    form: Literal["least_squares", "bce", "hinge"] = "least_squares"
    adversarial: Weight = 1.0
    identity: Weight = 5.0
    noise_swap: Weight = Field(0.0, description="L1(G(f + k·r), f) with the residual r of another patient's low dose")


class CycleGANLoss(AdversarialLoss):
    """The terms of CycleGAN (Zhu et al. 2017), and switches for what unpaired denoising wants otherwise."""

    cycle: Weight = 10.0
    low_cycle: bool = Field(True, description="low → full → low; off: G need not keep the noise recoverable")
    identity_domain: Literal["target", "source"] = "target"
    low_identity: bool = Field(True, description="identity term of full2low, too")


class TrainCycleGAN(Train):
    """Two generators, two discriminators, no pairs."""

    method: Literal["cyclegan"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: CycleGANLoss = CycleGANLoss()
    noise_channel: bool = Field(False, description="full2low gets white noise as a second input channel: one to many")
    image_pool: Annotated[int, Field(ge=0)] = Field(0, description="history of generated images for D; Zhu et al.: 50")


class TrainNoiseSwap(Train):
    """One generator, one discriminator, no pairs: the low-dose residual pasted on full-dose slices takes F's place."""

    method: Literal["noise_swap"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: AdversarialLoss = AdversarialLoss(identity=1.5, noise_swap=10.0)
    image_pool: Annotated[int, Field(ge=0)] = 0


class SupervisedLoss(Section):
    """L1, which aims at the median of what full dose may be, or at its mean where differences are small."""

    quadratic_below_hu: Weight = Field(
        0.0, description="differences below this count squared (Huber): no bias where noise is lopsided, as in lungs"
    )


class TrainSupervised(Train):
    """One generator, L1 or Huber loss on true pairs."""

    method: Literal["supervised"]
    data: PairedData
    loss: SupervisedLoss = SupervisedLoss()


class Simulate(Task):
    """Simulated low dose: of patients that do not exist (DICOM), or of real full-dose series (in their own format)."""

    task: Literal["simulate"]
    simulation: SimulationSettings = SimulationSettings()
    twins: TwinSettings | None = Field(None, description="low-dose twins of real scans, instead of simulated patients")
    workers: Count | None = Field(None, description="processes; default: all cores")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.twins is not None and self.simulation != SimulationSettings():
            raise ValueError("has both simulation and twins; name one of them")
        return self


class Scan(Task):
    """Folders of CT to a manifest.

    Where no folder names the patient, a hash of the PatientID does. Set the environment variable CTCYCLE_SALT to any
    secret text, the same for each scan, or whoever knows an ID can find it in the manifest. It is no key of the config
    because the config is written into the run folder.
    """

    task: Literal["scan"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    manifest: Path | None = Field(None, description="default: manifest.csv in `out`")
    split: SplitSettings = SplitSettings()


class Evaluate(Task):
    """Trained runs and classical filters against the full dose of held-out patients."""

    task: Literal["evaluate"]
    manifest: Path
    store: Path | None = None
    methods: dict[str, Path] = Field(default_factory=dict, description="name: run folder")
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
    def _names_are_free(cls, methods: dict[str, Path]) -> dict[str, Path]:
        taken = sorted(methods.keys() & set(BASELINES))
        if taken:
            raise ValueError(f"'{taken[0]}' is the name of a classical filter; choose another name")
        return methods


class Denoise(Task):
    """A series, or a folder of many, to denoised ones."""

    task: Literal["denoise"]
    model: Path = Field(description="a run folder or a bundle folder")
    input: Path
    checkpoint: Literal["best", "last"] = Field("best", description="of a run folder; a bundle has one alone")
    device: Device = "auto"
    strength: Annotated[float, Field(ge=0, le=2)] = Field(1.0, description="factor of the correction")
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


class ModelCard(Section):
    """What the model card of a bundle says that nothing here can know; honest where it was not told."""

    title: str = "Low-dose CT denoiser"
    description: str = "Removes noise from low-dose CT slices; what comes out resembles a routine-dose scan, in HU."
    authors: str = "not named"
    copyright: str = "not stated"
    training_data: str = Field(
        "Not described by those who made this bundle. Ask them before you rely on it.",
        description="what it was trained on: patients, scanners, dose, kernels, and whether scans or simulations",
    )
    data_license: Path | None = Field(None, description="text file: the licence of the training data")
    intended_use: str = "Research on noise in CT. Not a medical device, and not for diagnosis."
    results_note: str = Field("", description="what a reader must know of the results")
    references: tuple[str, ...] = ()


class Bundle(Task):
    """A training run to a MONAI bundle: a folder that denoises where ctcycle is not installed."""

    task: Literal["bundle"]
    run: Path = Field(description="a run folder of task train")
    bundle: Path = Field(description="the folder that is made; its name is the bundle's name")
    checkpoint: Literal["best", "last"] = "best"
    formats: tuple[Literal["onnx", "pt2"], ...] = Field(("onnx", "pt2"), description="beside the weights")
    results: dict[str, Path] = Field(
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


AnyTrain = Annotated[TrainCycleGAN | TrainSupervised | TrainNoiseSwap, Field(discriminator="method")]
Step = Annotated[Simulate | Scan | AnyTrain | Evaluate | Denoise | Bundle, Field(discriminator="task")]


class Pipeline(Task):
    """Tasks one after another; each is skipped where its output is already complete."""

    task: Literal["pipeline"]
    steps: Annotated[dict[str, Step], Field(min_length=1)]


Config = Annotated[Simulate | Scan | AnyTrain | Evaluate | Denoise | Bundle | Pipeline, Field(discriminator="task")]
TASKS = ("simulate", "scan", "train", "evaluate", "denoise", "bundle", "pipeline")
METHODS = ("cyclegan", "supervised", "noise_swap")
