"""Supervised training on paired slices, optionally with lesions drawn into both images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from ignite.engine import Engine
from torch import Tensor, nn

from ctcycle.components import build_generator
from ctcycle.config.methods import SupervisedSettings
from ctcycle.data.checked_pairs import check_once
from ctcycle.data.pair_check import PairGuard, pair_name
from ctcycle.data.pairs import SlicePair
from ctcycle.data.slices import SliceData, StoredSlices, store_folder
from ctcycle.errors import ManifestError
from ctcycle.training.method import Method, ProgressBar, Transform
from ctcycle.training.pair_loss import PairLoss, contrast_penalty
from ctcycle.training.patches.lesions import LesionDraw
from ctcycle.training.patches.sampling import PairedPatches
from ctcycle.training.speed.accumulation import minimise_parts
from ctcycle.training.updates import Batch, Losses, Updates


@dataclass
class Supervised(Method):
    """``L1(G(low), full)`` on pairs, or another `PairLoss`.

    Attributes:
        networks: "low2full", and "contrast" where lost contrast is penalised.
        updates: optimisers, and the values set by the schedule.
        loss: L1 or Huber, and the weight of the penalty on lost contrast.
    """

    loss: PairLoss = field(default_factory=PairLoss)

    L1_TERMS: ClassVar = ("gen_supervised",)
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"supervised": ("supervised",), "contrast": ("contrast",)}

    @staticmethod
    def make_networks(settings: SupervisedSettings, _gain: float) -> dict[str, nn.Module]:
        """Return the denoiser, and the penalty on lost contrast if there is one."""
        return {"low2full": build_generator(settings.generator), **contrast_penalty(settings.loss)}

    @classmethod
    def create(cls, settings: SupervisedSettings, networks: nn.ModuleDict, updates: Updates) -> "Supervised":
        """Return the method."""
        return cls(networks, updates, PairLoss.of(settings.loss, settings.data.hu_window.hu_per_unit))

    @staticmethod
    def make_patches(
        settings: SupervisedSettings, slices: SliceData, transform: Transform, progress: ProgressBar
    ) -> PairedPatches:
        """Return pairs of patches; if ``data.guard`` is set, check that each pair shows the same anatomy."""
        data, pairs = settings.data, slices.pairs("train")
        if data.pairing == "shuffled":
            order = np.random.default_rng([settings.seed]).permutation(len(pairs))
            pairs = [SlicePair(pair.low_dose, pairs[other].full_dose) for pair, other in zip(pairs, order, strict=True)]
        low, full = (StoredSlices(slices.series, [getattr(pair, dose) for pair in pairs]) for dose in SlicePair._fields)
        lesions = LesionDraw(data.lesions) if data.lesions else None
        pixel_mm = [low.series[ref.series].pixel_mm for ref in low.refs]
        patches = PairedPatches(low, full, transform, settings.seed, data.same_crop, lesions, pixel_mm)
        if data.guard:
            guard = PairGuard(data.guard_threshold, "set data.guard=false to train anyway")
            check_once(guard, low, full, pairs, store_folder(data.manifest, data.store), progress)
            check_same_crop(patches, pairs)
        return patches

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the network on ``batch`` and return the detached loss term."""
        return minimise_parts(self, self._loss, batch, "gen")[0]

    def _loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        low, full = batch["low_dose"], batch["full_dose"]
        with self.updates.forward_precision(low.device):
            output = self.networks["low2full"](low)
            terms = {"gen_supervised": self.loss.error(output, full)}
        return self.loss.with_contrast(terms, output, batch, self.networks), terms, {}


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
