"""NIfTI volumes: read as slices and written back in the file's own axis order with its header unchanged."""

from ctcycle.ct.nifti.headers import SUFFIXES
from ctcycle.ct.nifti.volumes import find_series, read_stored, write_corrected, write_map

__all__ = ["SUFFIXES", "find_series", "read_stored", "write_corrected", "write_map"]
