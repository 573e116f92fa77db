"""Elements of DICOM headers that matter only for showing a series: its display window, and burnt-in text."""

import math
from dataclasses import dataclass

import pydicom

from ctcycle.ct.dicom.headers import texts
from ctcycle.ct.dicom.silence import quiet
from ctcycle.ct.series import SeriesInfo

_TAGS = ["WindowCenter", "WindowWidth", "BurnedInAnnotation"]


@dataclass(frozen=True)
class Display:
    """How a header wants a series to be shown.

    Attributes:
        window: width and level as text; empty if unknown.
        burnt_in: whether text may be burnt into the pixels.
    """

    window: str = ""
    burnt_in: bool = False


def display_of(info: SeriesInfo) -> Display:
    """Return how the first file of a series wants to be shown; nothing is known of NIfTI and npy."""
    if info.format != "dicom":
        return Display()
    try:
        with quiet():
            dataset = pydicom.dcmread(info.files[0], stop_before_pixels=True, specific_tags=list(_TAGS))
            width, level = (_number(texts(dataset, keyword)) for keyword in ("WindowWidth", "WindowCenter"))
            burnt_in = "YES" in {text.upper() for text in texts(dataset, "BurnedInAnnotation")}
    except Exception:  # noqa: BLE001 (pydicom can raise anything on a broken file; the pixels are read with care)
        return Display(burnt_in=True)
    known = math.isfinite(width) and math.isfinite(level)
    return Display(f"W {width:g} L {level:g}" if known else "", burnt_in)


def _number(values: tuple[str, ...]) -> float:
    """Return the first value as a number; NaN if there is none."""
    try:
        return float(values[0])
    except (IndexError, ValueError):
        return math.nan
