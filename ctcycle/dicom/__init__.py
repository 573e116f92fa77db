"""CT in DICOM files: finding series, reading their stored values, writing derived series."""

from ctcycle.dicom.derivation import Derivation
from ctcycle.dicom.finding import find_series, uneven_spacing
from ctcycle.dicom.reading import read_stored
from ctcycle.dicom.writing import write_corrected, write_map

__all__ = ["Derivation", "find_series", "read_stored", "uneven_spacing", "write_corrected", "write_map"]
