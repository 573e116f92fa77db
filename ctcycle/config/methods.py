"""Settings of the training methods: one class per method, with its losses and its own keys."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ctcycle.config.sections import Count, Fraction, Positive, Section, Weight
from ctcycle.config.training import PairedData, SimulatedPairsData, TrainingSettings, UnpairedData
from ctcycle.networks.specs import DiscriminatorSpec
from ctcycle.simulation.settings import Kernel


class SimulatedNoise(Section):
    """Noise of a lower dose, simulated in the projections of each full-dose slice, and the filter that is fitted to it.

    The filter is a small kernel. It starts as measured in the flattest patches of the two domains, without pairs.
    """

    kernel: Kernel = Field("ramp", description="reconstruction kernel of the simulated noise; the filter adapts it")
    draws: Count = Field(4, description="independent draws per slice; each is also used with the opposite sign")
    views: Annotated[int, Field(ge=8, le=10_000)] = Field(720, description="projections over 180 degrees")
    dose_fraction: Annotated[float, Field(ge=0.01, le=0.99)] = Field(
        0.25, description="sets the noise level before calibration, relative to the noise of the full-dose slice"
    )
    photons: Annotated[float, Field(ge=100.0, le=1e9)] = Field(
        1e5, description="photons per detector element and view at full dose in an unattenuated ray"
    )
    electronic_noise: Weight = Field(2.0, description="standard deviation of the read-out noise, in photons")
    calibrate: bool = Field(True, description="start the filter as measured; false: start with the noise as simulated")
    level: Positive = Field(1.0, description="factor of the noise at the start, also of calibrated noise")
    level_jitter: Fraction = Field(0.0, description="vary the level of each patch by up to this share, up and down")
    filter_px: Count = Field(11, description="side of the filter's kernel, odd")

    @field_validator("filter_px")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError("must be odd, so that the kernel has a centre")
        return side


class LearntNoise(SimulatedNoise):
    """Simulated noise whose filter the low-dose discriminator continues to adapt."""

    lr: Positive = Field(3e-3, description="learning rate of the filter: its gain, and its kernel relative to its peak")
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="decay of the moving average of the filter, which makes the noise that the denoiser removes"
    )
    anchor: Weight = Field(0.0, description="weight of a penalty on the distance from the filter's start")


Penalty = Literal["none", "r1", "wgan_gp"]


class DiscriminatorLoss(Section):
    """Form of the adversarial loss, and the gradient penalty of the discriminators."""

    form: Literal["least_squares", "bce", "hinge", "wgan_gp"] = Field(
        "least_squares", description="how the discriminators judge: least squares, cross-entropy, hinge or Wasserstein"
    )
    gradient_penalty: Penalty | None = Field(
        None,
        description="r1: squared gradient at real patches (Mescheder et al. 2018); wgan_gp: distance of its norm from "
        "1 between real and fake patches (Gulrajani et al. 2017); default: wgan_gp with form=wgan_gp, otherwise none",
    )
    penalty_weight: Weight = Field(10.0, description="weight of the gradient penalty; both papers use 10")

    @property
    def penalty(self) -> Penalty:
        """The gradient penalty, with the default filled in."""
        default: Penalty = "wgan_gp" if self.form == "wgan_gp" else "none"
        return self.gradient_penalty or default

    @model_validator(mode="after")
    def _critics_are_bounded(self) -> Self:
        if self.form == "wgan_gp" and self.penalty != "wgan_gp":
            raise ValueError(
                f"gradient_penalty={self.penalty} with form=wgan_gp; leave gradient_penalty out, or choose another form"
            )
        if self.form == "wgan_gp" and self.penalty_weight == 0:
            raise ValueError("penalty_weight=0 with form=wgan_gp; it must be greater than 0, for example 10")
        return self


class AdversarialLoss(DiscriminatorLoss):
    """Loss weights shared by the unpaired methods."""

    adversarial: Weight = Field(1.0, description="weight of the adversarial term")
    identity: Weight = Field(5.0, description="weight of the identity term: L1(G(f), f) of full-dose f")
    noise_swap: Weight = Field(0.0, description="L1(G(f + k·r), f) with the residual r of another patient's low dose")


class CycleGANLoss(AdversarialLoss):
    """Loss terms of CycleGAN (Zhu et al. 2017), and switches that adapt them to denoising."""

    cycle: Weight = Field(10.0, description="weight of the cycle terms")
    low_cycle: bool = Field(
        True, description="cycle low → full → low; false: the denoiser need not keep the noise recoverable"
    )
    identity_domain: Literal["target", "source", "none"] = Field(
        "target", description="domain whose slices a generator should leave unchanged: its target or its source"
    )
    low_identity: bool = Field(True, description="also apply the identity term to full2low")


class AdversarialSettings(TrainingSettings):
    """Settings shared by the methods with discriminators."""

    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: DiscriminatorLoss = DiscriminatorLoss()

    @model_validator(mode="after")
    def _patches_are_judged_singly(self) -> Self:
        if self.loss.penalty != "none" and self.discriminator.norm == "batch":
            raise ValueError(
                f"discriminator.norm=batch with a gradient penalty ({self.loss.penalty}), which needs the gradient of "
                "each patch, but batch norm mixes the patches; choose instance, group or none"
            )
        return self


class CycleGANSettings(AdversarialSettings):
    """CycleGAN: two generators, two discriminators, no pairs."""

    method: Literal["cyclegan"]
    loss: CycleGANLoss = CycleGANLoss()
    noise_channel: bool = Field(
        False, description="feed full2low white noise as a second input channel, so that its output can vary"
    )
    image_pool: Annotated[int, Field(ge=0)] = Field(
        0, description="size of the history of generated images shown to the discriminators; Zhu et al.: 50"
    )


class PhysicsCycleGANLoss(DiscriminatorLoss):
    """Loss terms of the denoiser in the CycleGAN with physics."""

    adversarial: Weight = Field(0.05, description="weight of the adversarial term")
    cycle: Weight = Field(10.0, description="weight of the cycle term: L1 of full dose, made noisy and denoised")
    identity: Weight = Field(1.5, description="weight of the identity term: L1(G(f), f) of full-dose f")


class PhysicsCycleGANSettings(AdversarialSettings):
    """CycleGAN with physics: full2low adds simulated projection noise through a filter that only disc_low trains."""

    method: Literal["physics_cyclegan"]
    loss: PhysicsCycleGANLoss = PhysicsCycleGANLoss()
    simulated_noise: LearntNoise = LearntNoise()
    adversary_every: Count = Field(
        4, description="evaluate all terms but the cycle every so many iterations, with as many times their weight"
    )
    image_pool: Annotated[int, Field(ge=0)] = Field(
        0, description="size of the history of generated images shown to the discriminators"
    )


class PairLossSettings(Section):
    """L1 or Huber loss: L1 estimates the median full dose; Huber, for small differences, its mean."""

    quadratic_below_hu: Weight = Field(
        0.0, description="square differences below this (Huber loss); avoids bias where noise is skewed, as in lungs"
    )
    contrast: Weight = Field(
        0.0, description="weight of the penalty on the mean contrast that lesions lose; needs data.lesions"
    )
    contrast_kept: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the contrast of lesions to keep; less is penalised"
    )
    contrast_batches: Count = Field(
        200, description="batches over which the mean contrast is taken; with few, noise keeps more than asked for"
    )


class OnPairs(TrainingSettings):
    """Training on pairs, true or simulated: one generator, L1 or Huber loss."""

    data: PairedData | SimulatedPairsData
    loss: PairLossSettings = PairLossSettings()

    @model_validator(mode="after")
    def _contrast_needs_lesions(self) -> Self:
        if self.loss.contrast and self.data.lesions is None:
            raise ValueError("loss.contrast needs lesions to measure; set data.lesions, for example to {}")
        return self

    @model_validator(mode="after")
    def _contrast_is_of_whole_batches(self) -> Self:
        if self.loss.contrast and self.training.accumulate > 1:
            raise ValueError(
                f"loss.contrast with training.accumulate={self.training.accumulate}; the contrast kept is measured on "
                "whole batches, so set accumulate to 1 and, to save memory, recompute to true"
            )
        return self


class CalibratedPairsSettings(OnPairs):
    """Calibrated simulated pairs: one generator, no discriminator, no pairs of scans.

    Simulated noise, calibrated to the low-dose domain, is added to full-dose slices; the generator learns to remove it.
    """

    method: Literal["calibrated_pairs"]
    data: SimulatedPairsData
    simulated_noise: SimulatedNoise = SimulatedNoise()


class NoiseSwapSettings(AdversarialSettings):
    """Noise swap: one generator, one discriminator, no pairs.

    In place of a second generator, low-dose residuals are added to full-dose slices.
    """

    method: Literal["noise_swap"]
    loss: AdversarialLoss = AdversarialLoss(identity=1.5, noise_swap=10.0)
    image_pool: Annotated[int, Field(ge=0)] = Field(
        0, description="size of the history of generated images shown to the discriminators"
    )


class SupervisedSettings(OnPairs):
    """Supervised training: one generator, L1 or Huber loss on true pairs."""

    method: Literal["supervised"]
    data: PairedData


AnySettings = (
    CycleGANSettings | PhysicsCycleGANSettings | CalibratedPairsSettings | NoiseSwapSettings | SupervisedSettings
)
