"""Settings of the training methods: one class per method, with its losses and its own keys."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ctcycle.config.sections import Count, Fraction, Positive, Section, Weight
from ctcycle.config.training import PairedData, TrainingSettings, UnpairedData
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
    photons: Annotated[float, Field(ge=100.0, le=1e9)] = 1e5
    electronic_noise: Weight = 2.0
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


class AdversarialLoss(Section):
    """Loss weights shared by the unpaired methods."""

    form: Literal["least_squares", "bce", "hinge"] = "least_squares"
    adversarial: Weight = 1.0
    identity: Weight = 5.0
    noise_swap: Weight = Field(0.0, description="L1(G(f + k·r), f) with the residual r of another patient's low dose")


class CycleGANLoss(AdversarialLoss):
    """Loss terms of CycleGAN (Zhu et al. 2017), and switches that adapt them to denoising."""

    cycle: Weight = 10.0
    low_cycle: bool = Field(
        True, description="cycle low → full → low; false: the denoiser need not keep the noise recoverable"
    )
    identity_domain: Literal["target", "source"] = "target"
    low_identity: bool = Field(True, description="also apply the identity term to full2low")


class CycleGANSettings(TrainingSettings):
    """CycleGAN: two generators, two discriminators, no pairs."""

    method: Literal["cyclegan"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: CycleGANLoss = CycleGANLoss()
    noise_channel: bool = Field(
        False, description="feed full2low white noise as a second input channel, so that its output can vary"
    )
    image_pool: Annotated[int, Field(ge=0)] = Field(
        0, description="size of the history of generated images shown to the discriminators; Zhu et al.: 50"
    )


class PhysicsCycleGANLoss(Section):
    """Loss terms of the denoiser in the CycleGAN with physics."""

    form: Literal["least_squares", "bce", "hinge"] = "least_squares"
    adversarial: Weight = 0.05
    cycle: Weight = 10.0
    identity: Weight = 1.5


class PhysicsCycleGANSettings(TrainingSettings):
    """CycleGAN with physics: full2low adds simulated projection noise through a filter that only disc_low trains."""

    method: Literal["physics_cyclegan"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: PhysicsCycleGANLoss = PhysicsCycleGANLoss()
    simulated_noise: LearntNoise = LearntNoise()
    adversary_every: Count = Field(
        4, description="evaluate all terms but the cycle every so many iterations, with as many times their weight"
    )


class CalibratedPairsSettings(TrainingSettings):
    """Calibrated simulated pairs: one generator, no discriminator, no pairs of scans.

    Simulated noise, calibrated to the low-dose domain, is added to full-dose slices; the generator learns to remove it.
    """

    method: Literal["calibrated_pairs"]
    data: UnpairedData
    simulated_noise: SimulatedNoise = SimulatedNoise()


class NoiseSwapSettings(TrainingSettings):
    """Noise swap: one generator, one discriminator, no pairs.

    In place of a second generator, low-dose residuals are added to full-dose slices.
    """

    method: Literal["noise_swap"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: AdversarialLoss = AdversarialLoss(identity=1.5, noise_swap=10.0)
    image_pool: Annotated[int, Field(ge=0)] = 0


class SupervisedLoss(Section):
    """L1 or Huber loss: L1 estimates the median full dose; Huber, for small differences, its mean."""

    quadratic_below_hu: Weight = Field(
        0.0, description="square differences below this (Huber loss); avoids bias where noise is skewed, as in lungs"
    )


class SupervisedSettings(TrainingSettings):
    """Supervised training: one generator, L1 or Huber loss on true pairs."""

    method: Literal["supervised"]
    data: PairedData
    loss: SupervisedLoss = SupervisedLoss()


AnySettings = (
    CycleGANSettings | PhysicsCycleGANSettings | CalibratedPairsSettings | NoiseSwapSettings | SupervisedSettings
)
