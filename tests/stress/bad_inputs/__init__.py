"""Odd or broken inputs for ctcycle, and how each is handled: one row for each kind."""

from bad_inputs.data_sets import DATA_SETS
from bad_inputs.images import IMAGES
from bad_inputs.kind import EXIT_CODES, Kind, table

KINDS: tuple[Kind, ...] = (*IMAGES, *DATA_SETS)

__all__ = ["DATA_SETS", "EXIT_CODES", "IMAGES", "KINDS", "Kind", "table"]
