"""Training sections shared by all methods: data, generator, optimiser, schedule, length, validation."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ctcycle.config.components import Component
from ctcycle.config.sections import Count, Device, FilePath, Fraction, Positive, Section, Seed, Weight
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER, HUWindow, MuScale
from ctcycle.metrics import ProtocolName
from ctcycle.networks.specs import GeneratorSpec


def _spec_or_component(value: Any) -> str:
    return "component" if isinstance(value, Component) or (isinstance(value, dict) and "_target_" in value) else "spec"


Generator = Annotated[
    Annotated[GeneratorSpec, Tag("spec")] | Annotated[Component, Tag("component")], Discriminator(_spec_or_component)
]


def _default_augmentations() -> tuple[Component, ...]:
    flips = ({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": axis} for axis in (0, 1))
    return tuple(Component.model_validate(flip) for flip in flips)


def _number_or_list(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "number"


def _one_number_for_a_square(size: int | tuple[int, int]) -> int | tuple[int, int]:
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else size


PatchSize = Annotated[
    Annotated[Count, Tag("number")] | Annotated[tuple[Count, Count], Tag("list")],
    Discriminator(_number_or_list),
    AfterValidator(_one_number_for_a_square),
]
"""Patch size in pixels: the side of a square, or rows and columns."""


class Data(Section):
    """Training slices and their preprocessing."""

    manifest: FilePath
    store: FilePath | None = Field(
        None, description="folder of decoded slices; default: .ctcycle_store next to the manifest"
    )
    kernel: str | None = Field(
        None, description="use only series of this reconstruction kernel, since kernels confound dose"
    )
    hu_window: HUWindow = HUWindow()
    mu_water: Positive = MU_WATER
    mu_air: Weight = Field(MU_AIR, description="attenuation of air in 1/mm, at -1000 HU; below mu_water")
    patch_size: PatchSize = Field(
        128, description="size of the random crops (MONAI's RandSpatialCrop) in px: side, or [rows, columns]"
    )
    augmentations: tuple[Component, ...] = Field(
        default_factory=_default_augmentations,
        description="MONAI array transforms of one patch (1, h, w) in HU, applied before HU scaling",
    )
    skip_air: Fraction = Field(0.9, description="probability of redrawing a crop that is nearly all air")
    workers: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _air_is_below_water(self) -> Self:
        MuScale(self.mu_water, self.mu_air)
        return self


class UnpairedData(Data):
    """Training data of two domains, drawn independently."""

    protocol: Literal["shuffled", "disjoint_slices", "disjoint_patients"] = "disjoint_patients"
    partners: Literal["redrawn", "fixed"] = Field(
        "redrawn",
        description="redrawn: combine both domains differently in every epoch; fixed: each low-dose slice "
        "keeps one full-dose partner, as in the report's code",
    )


GUARD_THRESHOLD = 0.65
"""Minimum correlation of anatomy of the two slices of a pair: see `ctcycle.data.pair_check`."""


class PairedData(Data):
    """Training data of low- and full-dose slice pairs."""

    pairing: Literal["position", "shuffled"] = Field(
        "position", description="position: pair slices at the same position; shuffled: reproduce the report's error"
    )
    same_crop: bool = Field(
        True, description="crop and flip both images of a pair alike; false: reproduce the report's error"
    )
    guard: bool = Field(True, description="fail if low and full dose of a pair do not show the same anatomy")
    guard_threshold: Fraction = GUARD_THRESHOLD


class Optimizer(Section):
    """Settings of the Adam optimisers, one for the generators and one for the discriminators."""

    lr: Positive = 2e-4
    lr_discriminator: Positive | None = Field(None, description="default: lr")
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    clip_norm: Positive | None = Field(None, description="clip gradients to this norm")


class Schedule(Section):
    """Learning rate and adversarial weight over training; progress runs from 0 to 1 over all epochs."""

    decay_start: Fraction = Field(1.0, description="progress at which the linear learning-rate decay starts; 1: never")
    decay_final: Fraction = Field(0.0, description="factor of the learning rate at the end of training")
    finish_start: Fraction = Field(1.0, description="progress at which the adversarial weight is reduced; 1: never")
    finish_adversarial: Fraction = Field(0.05, description="factor of the adversarial weight after finish_start")


class Training(Section):
    """Training length, batch size and checkpoint interval."""

    epochs: Count = 160
    batch_size: Count = 32
    iterations_per_epoch: Count | None = Field(None, description="default: one pass over the low-dose slices")
    stop_after_epoch: Count | None = Field(
        None, description="stop early, with a checkpoint; run the command again to resume"
    )
    checkpoint_minutes: Positive = Field(
        10.0, description="minutes between checkpoints within an epoch; each epoch also ends with one"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="decay of the moving average of the generator's weights used for evaluation; 0: off"
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    keep: Literal["best", "last"] = Field(
        "best", description="checkpoint that denoise and bundle use unless they are given one; report: last"
    )


class Validation(Section):
    """Validation on whole slices; with paired data, the best checkpoint is the one with the highest PSNR."""

    every: Count = Field(1, description="epochs between validations")
    protocol: ProtocolName = "hu2000"
    slices: Count = Field(32, description="maximum number of slices, evenly spaced over the validation pairs")


class Tracking(Section):
    """MLflow tracking; the environment variable MLFLOW_TRACKING_URI is used if ``uri`` is not set."""

    enabled: bool = True
    experiment: str = "ctcycle"
    uri: str | None = Field(None, description="default: an SQLite file next to the run folder")
    every: Count = Field(20, description="iterations between logged losses")


class TrainingSettings(Section):
    """Training settings shared by all methods; each method adds its own, see `ctcycle.config.methods`."""

    seed: Seed = 0
    device: Device = "auto"
    threads: Count | None = Field(None, description="number of torch threads on a CPU; default: all cores")
    initial: FilePath | None = Field(None, description="run or bundle folder with the generator's initial weights")
    generator: Generator = GeneratorSpec()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    validation: Validation = Validation()
    tracking: Tracking = Tracking()
