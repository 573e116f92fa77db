"""Images as small PNG files: grey scales of few levels, signed differences in two colours."""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GREYS = 64
"""Grey levels: fewer bytes than with 256, and no difference that an eye sees in noise."""

MAGNIFIED_PX = 3
TITLE_PX = 14
GAP_PX = 6


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


def side_by_side(pictures: Sequence[tuple[str, bytes]], magnified: bool = False) -> bytes:
    """Return pictures in one row, each below its title, as one PNG.

    Args:
        pictures: (title, PNG bytes) in order.
        magnified: whether each pixel is shown as a square of `MAGNIFIED_PX`.
    """
    font = ImageFont.load_default(TITLE_PX)
    shown = [(title, _enlarged(png, MAGNIFIED_PX if magnified else 1)) for title, png in pictures]
    widths = [max(image.width, math.ceil(font.getlength(title))) + GAP_PX for title, image in shown]
    height = max(image.height for _, image in shown)
    row = Image.new("RGB", (sum(widths) + GAP_PX, height + TITLE_PX + 3 * GAP_PX), "white")
    draw, left = ImageDraw.Draw(row), GAP_PX
    for (title, image), width in zip(shown, widths, strict=True):
        draw.text((left, GAP_PX), title, fill="black", font=font)
        row.paste(image, (left, TITLE_PX + 2 * GAP_PX))
        left += width
    stream = io.BytesIO()
    row.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _enlarged(png: bytes, times: int) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        size = (image.width * times, image.height * times)
        return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


def _palette_png(levels: NDArray[np.uint8], table: NDArray[np.uint8]) -> bytes:
    shown = Image.frombytes("P", (levels.shape[1], levels.shape[0]), levels.tobytes())
    shown.putpalette(table.tolist())
    stream = io.BytesIO()
    shown.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
