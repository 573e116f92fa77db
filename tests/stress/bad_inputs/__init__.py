"""What is handed to ctcycle that is odd or broken, and what it does about it: one row for each kind."""

from bad_inputs.data_sets import DATA_SETS
from bad_inputs.images import IMAGES
from bad_inputs.kind import EXIT_CODES, Kind, table

KINDS: tuple[Kind, ...] = (*IMAGES, *DATA_SETS)

__all__ = ["DATA_SETS", "EXIT_CODES", "IMAGES", "KINDS", "Kind", "table"]
