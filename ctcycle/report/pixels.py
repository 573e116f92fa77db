"""Images as small PNG files: grey scales of few levels, signed differences in two colours."""

import io

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

GREYS = 64
"""Grey levels: fewer bytes than with 256, and no difference that an eye sees in noise."""


def grey_png(image: NDArray[np.floating], limits: tuple[float, float]) -> bytes:
    """Return an image (H, W) as grey PNG.

    Args:
        image: values in any unit; NaN is shown as the lower limit.
        limits: values shown black and white.
    """
    low, high = limits
    share = np.nan_to_num(np.clip((image - low) / (high - low), 0.0, 1.0))
    levels = np.round(share * (GREYS - 1)).astype(np.uint8)
    table = np.repeat(np.round(np.linspace(0, 255, GREYS)).astype(np.uint8), 3)
    return _palette_png(levels, table)


def signed_png(difference: NDArray[np.floating], limit: float) -> bytes:
    """Return signed differences (H, W) as PNG: blue below 0, white at 0, red above.

    Args:
        difference: values in any unit; NaN is shown as 0.
        limit: absolute value at which the colour is full.
    """
    share = np.nan_to_num(np.clip(difference / limit, -1.0, 1.0)) / 2 + 0.5
    levels = np.round(share * (GREYS - 2)).astype(np.uint8)  # an even number of steps: 0 has a level of its own
    table = np.round(255 * colormaps["RdBu_r"](np.linspace(0, 1, GREYS - 1))[:, :3]).astype(np.uint8).ravel()
    return _palette_png(levels, table)


def _palette_png(levels: NDArray[np.uint8], table: NDArray[np.uint8]) -> bytes:
    shown = Image.frombytes("P", (levels.shape[1], levels.shape[0]), levels.tobytes())
    shown.putpalette(table.tolist())
    stream = io.BytesIO()
    shown.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
