# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""NIfTI volumes: read as slices and written back in the file's own axis order with its header unchanged."""

from scripts.ct.nifti.headers import SUFFIXES
from scripts.ct.nifti.volumes import find_series, read_stored, write_corrected, write_map

__all__ = ["SUFFIXES", "find_series", "read_stored", "write_corrected", "write_map"]
