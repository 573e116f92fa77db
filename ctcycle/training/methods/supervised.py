"""Supervised training on true pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import SupervisedSettings
from ctcycle.data.pair_check import check_pair, pair_name
from ctcycle.data.pairs import SlicePair
from ctcycle.data.slices import SliceData, StoredSlices
from ctcycle.errors import ManifestError
from ctcycle.training.method import Method, Shown
from ctcycle.training.sampling import PairedPatches
from ctcycle.training.transforms import PatchTransform
from ctcycle.training.updates import Batch, Losses, Updates, detached


@dataclass
class Supervised(Method):
    """``L1(G(low), full)`` on true pairs, or Huber's loss (1964), divided by its threshold so that it nears L1.

    Attributes:
        networks: "low2full".
        updates: how losses become updates.
        quadratic_below: differences below this count squared, in the network's unit; 0 is L1.
    """

    quadratic_below: float = 0.0

    L1_TERMS: ClassVar = ("gen_supervised",)
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"supervised": ("supervised",)}

    @staticmethod
    def make_networks(settings: SupervisedSettings, _gain: float) -> dict[str, nn.Module]:
        """Return the denoiser alone."""
        return {"low2full": build_generator(settings.generator)}

    @classmethod
    def create(cls, settings: SupervisedSettings, networks: nn.ModuleDict, updates: Updates) -> "Supervised":
        """Return the method; the loss's threshold is given in HU."""
        return cls(networks, updates, settings.loss.quadratic_below_hu / settings.data.hu_window.hu_per_unit)

    @staticmethod
    def make_patches(
        settings: SupervisedSettings, slices: SliceData, transform: PatchTransform, shown: Shown
    ) -> PairedPatches:
        """Return pairs of patches; with the guard, checked to show the same anatomy."""
        data, pairs = settings.data, slices.pairs("train")
        if data.pairing == "shuffled":
            order = np.random.default_rng([settings.seed]).permutation(len(pairs))
            pairs = [SlicePair(pair.low_dose, pairs[other].full_dose) for pair, other in zip(pairs, order, strict=True)]
        low, full = (StoredSlices(slices.series, [getattr(pair, dose) for pair in pairs]) for dose in SlicePair._fields)
        patches = PairedPatches(low, full, transform, settings.seed, data.same_crop)
        if data.guard:
            check_pairs(patches, pairs, data.guard_threshold, shown)
        return patches

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """One update on ``batch``; gives its loss terms."""
        low, full = batch["low_dose"], batch["full_dose"]
        with self.updates.forward_precision(low.device):
            term = F.smooth_l1_loss(self.networks["low2full"](low), full, beta=self.quadratic_below)
        self.updates.minimise(term, "gen")
        return detached({"gen_supervised": term})


def check_pairs(
    data: PairedPatches,
    pairs: Sequence[SlicePair],
    threshold: float,
    seen: Shown = iter,
) -> None:
    """Stops before training where the pairs that a data set delivers do not match.

    Args:
        data: what will be trained on.
        pairs: what its entries are, for the message.
        threshold: lowest correlation that passes.
        seen: wraps the numbers of the pairs: a progress bar.

    Raises:
        ManifestError: a pair does not match, or the two images of a pair are cropped or flipped differently.
    """
    for number in seen(range(len(pairs))):
        remedy = "set data.guard=false to train all the same"
        check_pair(data.low[number], data.full[number], pairs[number], threshold, remedy)
    for number in range(min(len(pairs), 8)):
        image = data.full[number]
        sample = data.patches(image, image, [data.seed, number])
        if not bool((sample["low_dose"] == sample["full_dose"]).all()):
            raise ManifestError(
                f"{pair_name(pairs[number])}: low dose and full dose are cropped or flipped differently; "
                "set data.same_crop=true, or data.guard=false to train all the same"
            )


METHOD = Supervised
