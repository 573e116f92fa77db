"""The loss of methods that learn from pairs, true or simulated: the error, and the contrast that lesions lose."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.config.methods import PairLossSettings
from ctcycle.runs import ranks
from ctcycle.training.patches.lesions import CLASSES
from ctcycle.training.updates import Batch, Losses

_LEAST_MASS = 1e-6


class ContrastLost(nn.Module):
    """Penalty on the mean contrast lost, ``Σ max(0, kept_wanted - kept)²`` over the classes of lesions.

    ``kept`` of a class is ``1 + E[t·(G(low + s) - (full + s))] / E[t·s]`` with the lesions s and their templates t
    (core minus ring): the expected contrast of the output over that of the lesion. A single patch is far too
    noisy, so both expectations are running means. The gradient is that of the mean, squared: what every lesion adds to
    it, times how much is missing. The square of each lesion's own error would ask for less noise, not for less bias.
    From this project's own experiments.

    Args:
        wanted: share of the contrast to keep; what is kept beyond it is not penalised.
        batches: time constant of the running means. Noise of the means counts as contrast lost, so short means keep
            more than is wanted.
    """

    lost: Tensor
    inserted: Tensor
    updates: Tensor

    def __init__(self, wanted: float = 1.0, batches: int = 50) -> None:
        super().__init__()
        self.wanted, self.batches = wanted, batches
        self.register_buffer("lost", torch.zeros(CLASSES))
        self.register_buffer("inserted", torch.zeros(CLASSES))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def kept(self) -> Tensor:
        """Return the share of contrast kept in each class, (`CLASSES`)."""
        return 1 + self.lost / self.inserted.clamp(min=_LEAST_MASS)

    def forward(self, output: Tensor, full: Tensor, lesions: Tensor) -> Tensor:
        """Return the penalty, a scalar whose gradient reaches ``output``, and update the running means.

        Args:
            output: (N, 1, H, W) what the generator made of low dose with lesions.
            full: (N, 1, H, W) full dose with the same lesions.
            lesions: (N, 1 + `CLASSES`, H, W) lesions and templates, see `LesionDraw`, in units of the images.
        """
        signal, templates = lesions[:, :1], lesions[:, 1:]
        change = ranks.batch_sum(((output.float() - full) * templates).sum(dim=(0, 2, 3)))
        with torch.no_grad():
            weight = torch.full_like(self.lost, 1 / self.batches).masked_fill_(self.updates == 0, 1.0)  # without a wait
            self.lost.lerp_(change, weight)
            self.inserted.lerp_(ranks.summed((signal * templates).sum(dim=(0, 2, 3))), weight)
            self.updates += 1
            settled = self.updates > self.batches
            missing = (self.wanted - self.kept()).clamp(min=0) * settled
            slope = -2 * missing / self.inserted.clamp(min=_LEAST_MASS)
        # the value is the square of what is missing, the gradient that of the running mean's square
        return missing.square().sum() + (slope * (change - change.detach())).sum()


def contrast_penalty(settings: PairLossSettings) -> dict[str, nn.Module]:
    """Return the penalty as "contrast", a network that has running means and no weights; nothing if it is not used."""
    return {"contrast": ContrastLost(settings.contrast_kept, settings.contrast_batches)} if settings.contrast else {}


@dataclass(frozen=True)
class PairLoss:
    """L1, or the Huber loss (1964) divided by its threshold (smooth L1); with a weight, also `ContrastLost`.

    Attributes:
        quadratic_below: threshold below which the loss is quadratic, in the network's units; 0 is L1.
        contrast_weight: weight of the penalty on lost contrast.
    """

    quadratic_below: float = 0.0
    contrast_weight: float = 0.0

    @classmethod
    def of(cls, settings: PairLossSettings, hu_per_unit: float) -> "PairLoss":
        """Return the loss of a config, with its threshold converted from HU to the network's units."""
        return cls(settings.quadratic_below_hu / hu_per_unit, settings.contrast)

    def error(self, output: Tensor, full: Tensor) -> Tensor:
        """Return the mean error, a scalar."""
        return F.smooth_l1_loss(output, full, beta=self.quadratic_below)

    def with_contrast(self, terms: Losses, output: Tensor, batch: Batch, networks: nn.ModuleDict) -> Tensor:
        """Return the sum of ``terms`` and, if it is used, the penalty on lost contrast, whose value joins ``terms``."""
        total = sum(terms.values(), output.new_zeros(()))
        if not self.contrast_weight:
            return total
        terms["contrast_lost"] = networks["contrast"](output, batch["full_dose"], batch["lesions"])
        return total + self.contrast_weight * terms["contrast_lost"]
