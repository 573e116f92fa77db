"""Training sections shared by all methods: data, generator, optimiser, schedule, length, validation."""

from itertools import pairwise
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


class PatchStage(Section):
    """A stage of training with smaller patches."""

    until: Annotated[float, Field(gt=0, lt=1, description="progress at which the stage ends, from 0 to 1")]
    side: Annotated[Count, Field(description="side of the patches in px")]
    batch_size: Count | None = Field(None, description="default: training.batch_size")


class Data(Section):
    """Training slices and their preprocessing."""

    manifest: FilePath = Field(description="manifest written by scan")
    store: FilePath | None = Field(
        None, description="folder of decoded slices; default: .ctcycle_store next to the manifest"
    )
    kernel: str | None = Field(
        None, description="use only series of this reconstruction kernel, since kernels confound dose"
    )
    hu_window: HUWindow = HUWindow()
    mu_water: Positive = Field(MU_WATER, description="attenuation of water in 1/mm, for npy in attenuation")
    mu_air: Weight = Field(MU_AIR, description="attenuation of air in 1/mm, at -1000 HU; below mu_water")
    patch_size: PatchSize = Field(
        128, description="size of the random crops (MONAI's RandSpatialCrop) in px: side, or [rows, columns]"
    )
    growing_patches: tuple[PatchStage, ...] = Field(
        (),
        description="stages with smaller patches before data.patch_size, as [{until: 0.4, side: 64}, ...]; a stage "
        "changes at the start of an epoch",
    )
    augmentations: tuple[Component, ...] = Field(
        default_factory=_default_augmentations,
        description="MONAI array transforms of one patch (1, h, w) in HU, applied before HU scaling",
    )
    skip_air: Fraction = Field(0.9, description="probability of redrawing a crop that is nearly all air")
    workers: Annotated[int, Field(ge=0)] | None = Field(
        0, description="loader processes, at most one per core; null: one less than the cores, at most 4"
    )

    @model_validator(mode="after")
    def _air_is_below_water(self) -> Self:
        MuScale(self.mu_water, self.mu_air)
        return self

    @model_validator(mode="after")
    def _patches_grow(self) -> Self:
        stages = self.growing_patches
        if stages and not isinstance(self.patch_size, int):
            raise ValueError(
                f"growing_patches with patch_size={list(self.patch_size)}; patches that grow must be square"
            )
        for key, values in (
            ("until", [stage.until for stage in stages]),
            ("side", [*(stage.side for stage in stages), *([self.patch_size] if stages else [])]),
        ):
            if any(one >= other for one, other in pairwise(values)):  # type: ignore[operator]  # patch_size is a number
                last = ", the last of which is patch_size" if key == "side" else ""
                shown = ", ".join(f"{value:g}" for value in values)
                raise ValueError(f"growing_patches: {key} {shown}{last}; each must be greater than the one before")
        return self


class Lesions(Section):
    """Random lesions and vessels, added to both images of a training pair, so that the denoiser learns to keep them."""

    most: Count = Field(4, description="most lesions in a patch; their number is drawn from 0 to this")
    radius_mm: tuple[Positive, Positive] = Field((1.0, 8.0), description="range of radii")
    contrast_hu: tuple[Positive, Positive] = Field((5.0, 60.0), description="range of contrasts, of either sign")
    edge_px: tuple[Positive, Positive] = Field(
        (0.5, 1.1), description="range of the blur of edges (standard deviation), as the scans' own edges have"
    )
    vessels: Fraction = Field(0.3, description="share of tubes among the lesions")

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("radius_mm", "contrast_hu", "edge_px"):
            low, high = getattr(self, name)
            if high < low:
                raise ValueError(f"{name}: [{low:g}, {high:g}] must be [lowest, highest]")
        return self


class UnpairedData(Data):
    """Training data of two domains, drawn independently."""

    protocol: Literal["shuffled", "disjoint_slices", "disjoint_patients"] = Field(
        "disjoint_patients",
        description="unpaired scheme for patients with both doses; disjoint_patients: each in one domain; "
        "disjoint_slices: other slices in each domain; shuffled: all slices in both",
    )
    partners: Literal["redrawn", "fixed"] = Field(
        "redrawn",
        description="redrawn: combine both domains differently in every epoch; fixed: each low-dose slice "
        "keeps one full-dose partner, as in the report's code",
    )


class SimulatedPairsData(UnpairedData):
    """Training data of two domains, whose full dose is paired with itself and simulated noise."""

    lesions: Lesions | None = Field(
        None, description="add random lesions to full dose, before the simulated noise; default: none"
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
    guard_threshold: Fraction = Field(
        GUARD_THRESHOLD, description="minimum correlation of the anatomy of the two slices of a pair"
    )
    lesions: Lesions | None = Field(None, description="add random lesions to both images of each pair; default: none")

    @model_validator(mode="after")
    def _lesions_need_true_pairs(self) -> Self:
        if self.lesions is not None and not (self.same_crop and self.pairing == "position"):
            raise ValueError(
                "lesions: both images must show the same place; set same_crop to true, pairing to position"
            )
        return self


class Optimizer(Section):
    """Settings of the Adam optimisers, one for the generators and one for the discriminators."""

    lr: Positive = Field(2e-4, description="learning rate")
    lr_discriminator: Positive | None = Field(None, description="default: lr")
    betas: tuple[Fraction, Fraction] = Field((0.5, 0.999), description="of Adam")
    clip_norm: Positive | None = Field(None, description="clip gradients to this norm")


class Schedule(Section):
    """Learning rate and adversarial weight over training; progress runs from 0 to 1 over all epochs."""

    decay_start: Fraction = Field(1.0, description="progress at which the linear learning-rate decay starts; 1: never")
    decay_final: Fraction = Field(0.0, description="factor of the learning rate at the end of training")
    finish_start: Fraction = Field(1.0, description="progress at which the adversarial weight starts to fall; 1: never")
    finish_adversarial: Fraction = Field(0.05, description="factor of the adversarial weight at the end of its fall")
    finish_ramp: Fraction = Field(
        1.0, description="share of the finishing phase in which the adversarial weight falls geometrically; 0: at once"
    )


class Watch(Section):
    """Measures of the denoiser after epochs, without pairs; training that ends beyond a limit has failed (exit 5).

    Each limit can be switched off with null.
    """

    enabled: bool = Field(True, description="false: measure nothing")
    fail: bool = Field(True, description="true: exit 5 if training ends beyond a limit; false: only warn")
    every: Count = Field(1, description="epochs between measurements")
    slices: Count = Field(4, description="low-dose training slices to measure on")
    least_removed: Fraction | None = Field(
        0.25, description="identity: noise power removed, over that by which the domains differ"
    )
    least_noise: Fraction | None = Field(0.2, description="blur: noise left, over the noise of full dose")
    most_shift_hu: Positive | None = Field(4.0, description="shift: mean change of flat soft tissue or fat")
    most_air_shift_hu: Positive | None = Field(
        15.0, description="shift: mean change of air, of which data.hu_window may clip the noise"
    )
    most_structure: Fraction | None = Field(0.15, description="structure: share of the detail of edges removed")
    least_contrast: Fraction | None = Field(
        0.15, description="contrast: share kept of the contrast of inserted discs, 3 mm wide and 20 HU"
    )


class Training(Section):
    """Training length, batch size and checkpoint interval."""

    epochs: Count = Field(160, description="passes over the data; see iterations_per_epoch")
    batch_size: Count = Field(32, description="patches in an iteration, over all ranks")
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
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "fp32",
        description="of forward passes; bf16 needs a device with bf16 units and fp16 needs CUDA, others train in fp32; "
        "auto: bf16 if steps are measured to be faster",
    )
    emulate_bf16: bool = Field(False, description="with precision=bf16: use it without bf16 units, many times slower")
    layout: Literal["auto", "channels_first", "channels_last"] = Field(
        "auto",
        description="memory format of images and weights; auto: the faster one, measured if training is long enough",
    )
    accumulate: Count = Field(
        1, description="parts that each batch is computed in, one after the other, to save memory; same gradients"
    )
    recompute: bool = Field(
        False, description="recompute the generators' activations in the backward pass, to save memory; same gradients"
    )
    compile: bool = Field(False, description="compile the generators with torch.compile; needs a C++ compiler on a CPU")
    watch: Watch = Watch()
    keep: Literal["best", "last"] = Field(
        "best", description="checkpoint that denoise and bundle use unless they are given one; report: last"
    )

    @model_validator(mode="after")
    def _compiled_generators_keep_activations(self) -> Self:
        if self.compile and self.recompute:
            raise ValueError("compile and recompute are both set; a compiled network chooses what it recomputes itself")
        return self


class Validation(Section):
    """Validation on whole slices; with pairs, the best checkpoint has the highest PSNR; without, see Watch."""

    every: Count = Field(1, description="epochs between validations")
    protocol: ProtocolName = Field("hu2000", description="convention of PSNR and SSIM")
    slices: Count = Field(32, description="maximum number of slices, evenly spaced over the validation pairs")


class Tracking(Section):
    """MLflow tracking; the environment variable MLFLOW_TRACKING_URI is used if ``uri`` is not set."""

    enabled: bool = Field(True, description="false: do not log to MLflow")
    experiment: str | None = Field(None, description="default: MLFLOW_EXPERIMENT_NAME, else ctcycle")
    uri: str | None = Field(None, description="default: an SQLite file next to the run folder")
    every: Count = Field(20, description="iterations between logged losses")
    name: str | None = Field(None, description="name of the run in MLflow; default: names of the config and of `out`")
    description: str = Field("", description="text above the description of the run in MLflow, in Markdown")


class TrainingSettings(Section):
    """Training settings shared by all methods; each method adds its own, see `ctcycle.config.methods`."""

    seed: Seed = 0
    device: Device = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="number of torch threads on a CPU; default: all cores"
    )
    initial: FilePath | None = Field(None, description="run or bundle folder with the generator's initial weights")
    generator: Generator = GeneratorSpec()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    validation: Validation = Validation()
    tracking: Tracking = Tracking()
