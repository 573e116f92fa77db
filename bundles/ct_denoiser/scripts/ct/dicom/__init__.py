# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""CT in DICOM files: find series, read their stored values, write derived series."""

from scripts.ct.dicom.derivation import Derivation
from scripts.ct.dicom.finding import find_series, uneven_spacing
from scripts.ct.dicom.reading import read_stored
from scripts.ct.dicom.writing import write_corrected, write_map

__all__ = ["Derivation", "find_series", "read_stored", "uneven_spacing", "write_corrected", "write_map"]
