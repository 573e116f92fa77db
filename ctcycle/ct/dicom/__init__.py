"""CT in DICOM files: find series, read their stored values, write derived series."""

from ctcycle.ct.dicom.derivation import Derivation
from ctcycle.ct.dicom.finding import find_series, uneven_spacing
from ctcycle.ct.dicom.reading import read_stored
from ctcycle.ct.dicom.writing import write_corrected, write_map

__all__ = ["Derivation", "find_series", "read_stored", "uneven_spacing", "write_corrected", "write_map"]
