"""The settings of each training method: one class a method, with its losses and what else it alone has."""

from typing import Annotated, Literal

from pydantic import Field

from ctcycle.config.sections import Section, Weight
from ctcycle.config.training import PairedData, TrainingSettings, UnpairedData
from ctcycle.networks.specs import DiscriminatorSpec


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


class CycleGANSettings(TrainingSettings):
    """Two generators, two discriminators, no pairs."""

    method: Literal["cyclegan"]
    data: UnpairedData
    discriminator: DiscriminatorSpec = DiscriminatorSpec()
    loss: CycleGANLoss = CycleGANLoss()
    noise_channel: bool = Field(False, description="full2low gets white noise as a second input channel: one to many")
    image_pool: Annotated[int, Field(ge=0)] = Field(0, description="history of generated images for D; Zhu et al.: 50")


class NoiseSwapSettings(TrainingSettings):
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


class SupervisedSettings(TrainingSettings):
    """One generator, L1 or Huber loss on true pairs."""

    method: Literal["supervised"]
    data: PairedData
    loss: SupervisedLoss = SupervisedLoss()


AnySettings = CycleGANSettings | NoiseSwapSettings | SupervisedSettings
