"""Image metrics under named protocols; importing it is cheap, so that the config schema can use the names."""

from typing import Literal, get_args

ProtocolName = Literal["hu2000", "report2024", "abdomen", "dugan", "ldctbench", "kwon"]
"""Names of the protocols in `ctcycle.metrics.protocols`; a score is meaningless without its protocol."""

PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
