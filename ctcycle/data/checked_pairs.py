"""Remembers which pairs have passed `PairGuard`, whose comparison of every slice takes long for large data sets."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ctcycle import __version__
from ctcycle.atomic import write_json
from ctcycle.data.pair_check import PairGuard, Progress
from ctcycle.data.pairs import SlicePair
from ctcycle.data.slices import StoredSlices
from ctcycle.errors import OutputError


def check_once(  # noqa: PLR0917 (those of `PairGuard.check`, and where to remember them)
    guard: PairGuard,
    low: StoredSlices,
    full: StoredSlices,
    pairs: Sequence[SlicePair],
    folder: Path,
    progress: Progress = iter,
) -> None:
    """Check pairs of slices with ``guard``, unless the same pixels have passed before without a warning.

    Args:
        guard: the check.
        low: low-dose slices.
        full: full-dose slices of the same pairs.
        pairs: the references of the slices.
        folder: the folder of the store; what has passed is recorded in its folder ``pairs``.
        progress: wraps the indices of the pairs in a progress bar.

    Raises:
        ManifestError: as `PairGuard.check`.
    """
    key = _key(guard, low, full, pairs)
    record = folder / "pairs" / f"{key}.json"
    if key and record.exists():
        return
    if guard.check(low, full, pairs, progress) and key:
        with suppress(OutputError):  # another user's store may be read-only
            write_json(record, {"pairs": len(pairs)})


def _key(guard: PairGuard, low: StoredSlices, full: StoredSlices, pairs: Sequence[SlicePair]) -> str:
    """Return a hash of everything that the check depends on; empty if the pixels of a series have no digests."""
    series = {key: one.digests for slices in (low, full) for key, one in slices.series.items()}
    if not all(series.values()):
        return ""
    digest = hashlib.blake2b(
        json.dumps([__version__, guard.threshold, sorted(series.items())]).encode(), digest_size=20
    )
    for pair in pairs:
        digest.update(repr(pair).encode())
    return digest.hexdigest()
