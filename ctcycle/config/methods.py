"""Settings of the training methods: one class per method, with its losses and its own keys."""

from typing import Annotated, Literal

from pydantic import Field

from ctcycle.config.sections import Section, Weight
from ctcycle.config.training import PairedData, TrainingSettings, UnpairedData
from ctcycle.networks.specs import DiscriminatorSpec


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


AnySettings = CycleGANSettings | NoiseSwapSettings | SupervisedSettings
