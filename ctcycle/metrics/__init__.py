"""What is measured, and under which named convention; imports nothing heavy, so that the config schema can use it."""

from typing import Literal, get_args

ProtocolName = Literal["hu2000", "report2024", "abdomen", "dugan"]
"""The conventions of `ctcycle.metrics.protocols`; a figure without its convention is meaningless."""

PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
