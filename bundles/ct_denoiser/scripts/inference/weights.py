# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Checks of a network's weights."""

from collections.abc import Mapping

import torch

from scripts.errors import BundleError


def check_finite(weights: Mapping[str, object]) -> None:
    """Check that all weights are numbers.

    Raises:
        BundleError: a tensor contains NaN or infinity; the message names the tensor, but no file.
    """
    for name, value in weights.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.isfinite().all()):
            raise BundleError(
                f"weights contain NaN or infinity (in {name}), so the network cannot denoise anything; use another "
                "checkpoint, or train again with a lower learning rate"
            )
