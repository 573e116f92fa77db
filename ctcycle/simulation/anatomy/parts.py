"""The organs in painting order."""

from ctcycle.simulation.anatomy.body import lungs, muscles, outline, table, vessels
from ctcycle.simulation.anatomy.bowel import colon, small_bowel, stomach
from ctcycle.simulation.anatomy.organs import kidneys, liver, pancreas, spleen
from ctcycle.simulation.anatomy.skeleton import ribs, spine

PARTS = (
    *(table, outline, small_bowel, colon, lungs, liver, spleen, pancreas, stomach),
    *(kidneys, muscles, vessels, spine, ribs),
)
"""Functions that return blobs for a build and a random generator, in painting order."""
