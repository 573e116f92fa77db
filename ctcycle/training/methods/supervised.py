"""Supervised training on paired slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import SupervisedSettings
from ctcycle.data.pair_check import PairGuard, pair_name
from ctcycle.data.pairs import SlicePair
from ctcycle.data.slices import SliceData, StoredSlices
from ctcycle.errors import ManifestError
from ctcycle.training.method import Method, ProgressBar
from ctcycle.training.sampling import PairedPatches
from ctcycle.training.transforms import PatchTransform
from ctcycle.training.updates import Batch, Losses, Updates, detached


@dataclass
class Supervised(Method):
    """``L1(G(low), full)`` on pairs, or the Huber loss (1964) divided by its threshold (smooth L1).

    Attributes:
        networks: "low2full".
        updates: optimisers, and the values set by the schedule.
        quadratic_below: threshold below which the loss is quadratic, in the network's units; 0 is L1.
    """

    quadratic_below: float = 0.0

    L1_TERMS: ClassVar = ("gen_supervised",)
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"supervised": ("supervised",)}

    @staticmethod
    def make_networks(settings: SupervisedSettings, _gain: float) -> dict[str, nn.Module]:
        """Return the denoiser, the only network."""
        return {"low2full": build_generator(settings.generator)}

    @classmethod
    def create(cls, settings: SupervisedSettings, networks: nn.ModuleDict, updates: Updates) -> "Supervised":
        """Return the method, with the loss threshold converted from HU to the network's units."""
        return cls(networks, updates, settings.loss.quadratic_below_hu / settings.data.hu_window.hu_per_unit)

    @staticmethod
    def make_patches(
        settings: SupervisedSettings, slices: SliceData, transform: PatchTransform, progress: ProgressBar
    ) -> PairedPatches:
        """Return pairs of patches; if ``data.guard`` is set, check that each pair shows the same anatomy."""
        data, pairs = settings.data, slices.pairs("train")
        if data.pairing == "shuffled":
            order = np.random.default_rng([settings.seed]).permutation(len(pairs))
            pairs = [SlicePair(pair.low_dose, pairs[other].full_dose) for pair, other in zip(pairs, order, strict=True)]
        low, full = (StoredSlices(slices.series, [getattr(pair, dose) for pair in pairs]) for dose in SlicePair._fields)
        patches = PairedPatches(low, full, transform, settings.seed, data.same_crop)
        if data.guard:
            guard = PairGuard(data.guard_threshold, "set data.guard=false to train anyway")
            guard.check(low, full, pairs, progress)
            check_same_crop(patches, pairs)
        return patches

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the network on ``batch`` and return the detached loss term."""
        low, full = batch["low_dose"], batch["full_dose"]
        with self.updates.forward_precision(low.device):
            term = F.smooth_l1_loss(self.networks["low2full"](low), full, beta=self.quadratic_below)
        self.updates.minimise(term, "gen")
        return detached({"gen_supervised": term})


def check_same_crop(data: PairedPatches, pairs: Sequence[SlicePair]) -> None:
    """Check that a training set crops and flips both images of a pair alike.

    Args:
        data: the training set.
        pairs: the slices of each entry, for the message.

    Raises:
        ManifestError: the two images of a pair are cropped or flipped differently.
    """
    for number in range(min(len(pairs), 8)):
        image = data.full[number]
        sample = data.patches(image, image, [data.seed, number])
        if not bool((sample["low_dose"] == sample["full_dose"]).all()):
            raise ManifestError(
                f"{pair_name(pairs[number])}: low dose and full dose are cropped or flipped differently; "
                "set data.same_crop=true, or data.guard=false to train anyway"
            )


METHOD = Supervised
