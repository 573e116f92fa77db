"""Detectability d' in closed form, by a non-prewhitening observer with an eye filter (NPWE).

Sources: Burgess, JOSA A 11 (1994) 1237 (eye filter); AAPM TG-233, Samei et al. 2019, doi 10.1002/mp.13763.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, special

Array = NDArray[np.float64]

VIEWING_DISTANCE_MM = 500.0
EYE_EXPONENT = 1.3
EYE_DECAY = 0.04
"""Of frequencies in cycles per degree: the eye is most sensitive at 4."""


def disc_spectrum(radius_mm: float, contrast_hu: float, frequency_per_mm: Array) -> Array:
    """Return the Fourier transform W of a disc, C R J1(2 pi R f) / f, in HU mm^2."""
    reach = 2 * np.pi * radius_mm * frequency_per_mm
    shape = np.divide(2 * special.j1(reach), reach, out=np.ones_like(reach), where=reach > 0)
    spectrum: Array = np.pi * radius_mm**2 * contrast_hu * shape
    return spectrum


def eye_filter(frequency_per_mm: Array, zoom: float = 1.0, distance_mm: float = VIEWING_DISTANCE_MM) -> Array:
    """Return the eye's sensitivity E = v^1.3 exp(-0.04 v^2), v in cycles per degree.

    Args:
        frequency_per_mm: in the patient.
        zoom: millimetres on the screen for one in the patient.
        distance_mm: from the eye to the screen.
    """
    angular = frequency_per_mm / zoom * distance_mm * np.tan(np.deg2rad(1.0))
    sensitivity: Array = angular**EYE_EXPONENT * np.exp(-EYE_DECAY * angular**2)
    return sensitivity


def npwe_d_prime(frequency_per_mm: Array, task: Array, transfer: Array, nps_hu2_mm2: Array, eye: Array) -> float:
    """Return d' of the observer with template W TTF E^2, all functions of radial frequency.

    d'^2 = [int |W|^2 TTF^2 E^2]^2 / int |W|^2 TTF^2 E^4 NPS, integrals over the plane (2 pi f df).

    Args:
        frequency_per_mm: (F) increasing, in cycles/mm, up to where the task is spent.
        task: (F) W, such as `disc_spectrum`, in HU mm^2.
        transfer: (F) task transfer function.
        nps_hu2_mm2: (F) noise power spectrum.
        eye: (F) such as `eye_filter`.

    Raises:
        ValueError: shapes differ, or the observer sees no noise.
    """
    if len({values.shape for values in (frequency_per_mm, task, transfer, nps_hu2_mm2, eye)}) > 1:
        raise ValueError("NPWE observer: the functions have different lengths; sample all at the same frequencies")
    signal = _plane((task * transfer * eye) ** 2, frequency_per_mm)
    noise = _plane((task * transfer * eye**2) ** 2 * nps_hu2_mm2, frequency_per_mm)
    if not noise > 0:
        raise ValueError(f"NPWE observer: noise={noise:g} in its template; a positive noise power is needed")
    return float(signal / np.sqrt(noise))


def _plane(values: Array, frequency_per_mm: Array) -> float:
    return float(integrate.trapezoid(2 * np.pi * frequency_per_mm * values, frequency_per_mm))
