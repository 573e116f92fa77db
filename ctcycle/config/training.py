"""The sections of a training config that every method has: data, generator, optimiser, schedule, length, validation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from ctcycle.config.components import Component
from ctcycle.config.sections import Count, Device, FilePath, Fraction, Positive, Section, Seed
from ctcycle.ct.hounsfield import MU_WATER, HUWindow
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
"""Pixels: the side of a square, or rows and columns."""


class Data(Section):
    """Which slices are trained on, and how they reach the networks."""

    manifest: FilePath
    store: FilePath | None = Field(
        None, description="folder of decoded slices; default: .ctcycle_store beside the manifest"
    )
    kernel: str | None = Field(None, description="only series of this reconstruction kernel: kernels confound dose")
    hu_window: HUWindow = HUWindow()
    mu_water: Positive = MU_WATER
    patch_size: PatchSize = Field(
        128, description="px, cut at random by MONAI's RandSpatialCrop: side, or [rows, columns]"
    )
    augmentations: tuple[Component, ...] = Field(
        default_factory=_default_augmentations,
        description="MONAI array transforms of one patch (1, h, w) in HU; MONAI's HU scaling follows them",
    )
    skip_air: Fraction = Field(0.9, description="probability of drawing a crop anew that is nearly all air")
    workers: Annotated[int, Field(ge=0)] = 0


class UnpairedData(Data):
    """Two domains, drawn independently."""

    protocol: Literal["shuffled", "disjoint_slices", "disjoint_patients"] = "disjoint_patients"


GUARD_THRESHOLD = 0.65
"""Correlation of anatomy below which two slices are no pair: see `ctcycle.data.pair_check`."""


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


class TrainingSettings(Section):
    """What every training method is told; each method adds its own, see `ctcycle.config.methods`."""

    seed: Seed = 0
    device: Device = "auto"
    threads: Count | None = Field(None, description="of torch on a CPU; default: all cores")
    initial: FilePath | None = Field(None, description="run or bundle whose weights the generator starts from")
    generator: Generator = GeneratorSpec()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    validation: Validation = Validation()
    tracking: Tracking = Tracking()
