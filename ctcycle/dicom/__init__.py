"""CT in DICOM files: finding series, reading their stored values, writing derived series."""

from ctcycle.dicom.finding import find_series
from ctcycle.dicom.reading import read_stored
from ctcycle.dicom.writing import Derivation, write_corrected

__all__ = ["Derivation", "find_series", "read_stored", "write_corrected"]
