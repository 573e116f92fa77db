# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Files of a series that repeat others: exact copies, or one SOPInstanceUID for several images."""

import filecmp
from dataclasses import dataclass

from scripts.ct.dicom.headers import Header

SAME_POSITION_MM = 0.01


@dataclass(frozen=True)
class Ordered:
    """Ordered slices; ``located`` is true if their positions are in mm and false if they are instance numbers."""

    headers: list[Header]
    positions: list[float]
    located: bool


def without_copies(ordered: Ordered) -> tuple[Ordered, list[Header]]:
    """Return the slices without byte-for-byte copies, and the copies; different images may share a position."""
    tolerance = SAME_POSITION_MM if ordered.located else 0.0
    headers: list[Header] = []
    positions: list[float] = []
    copies = []
    here: list[Header] = []
    for header, position in zip(ordered.headers, ordered.positions, strict=True):
        here = here if positions and position - positions[-1] <= tolerance else []
        if any(other.path != header.path and filecmp.cmp(header.path, other.path, shallow=False) for other in here):
            copies.append(header)
            continue
        positions.append(positions[-1] if here else position)
        headers.append(header)
        here.append(header)
    return Ordered(headers, positions, ordered.located), copies


def shared_uids(ordered: Ordered) -> str:
    """Return a sentence about files that share a SOPInstanceUID; empty if none do."""
    files = {header.path: header.instance_uid for header in ordered.headers}
    uids = [uid for uid in files.values() if uid]
    if len(set(uids)) == len(uids):
        return ""
    return (
        f"has {len(uids)} files, but {len(set(uids))} different SOPInstanceUIDs; each result gets its own, but its "
        "reference to the source is ambiguous"
    )
