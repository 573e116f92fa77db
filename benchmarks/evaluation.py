"""Scoring a slice under all protocols, against scikit-image's PSNR and SSIM for the same."""

from typing import get_args

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.measuring import Table, Work, in_turn
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.protocols import PROTOCOLS, score


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return one table."""
    side = 64 if tiny else 512
    low, full = phantom(2, side)
    protocols = [PROTOCOLS[name] for name in get_args(ProtocolName)]

    def plain() -> None:
        for _ in protocols:
            one, other = (np.clip(image, -1000, 1000).astype(np.float64) for image in (full, low))
            peak_signal_noise_ratio(one, other, data_range=2000.0)
            structural_similarity(
                one, other, data_range=2000.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )

    ways: dict[str, Work] = {
        "scikit-image, PSNR and SSIM": plain,
        "ctcycle, all scores": lambda: [score(protocol, low, full) for protocol in protocols],
    }
    return [Table(f"Scores of a slice of {side} px under {len(protocols)} protocols", in_turn(ways, rounds))]
