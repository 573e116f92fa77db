"""Reconstruction kernels: which names may mean the same kernel, and which kernel to train on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ctcycle.data.manifest import ManifestRow

_SIEMENS = re.compile(r"([A-Z][a-z]?\d{2})[a-z]?", re.IGNORECASE)


def plain_name(kernel: str) -> str:
    """Return what different spellings of a kernel have in common: ``B30f/3``, ``B30s`` and ``b30`` give ``b30``.

    The last letter of a Siemens kernel is the speed of its scan mode; a second value is an iterative strength.
    """
    name = kernel.partition("/")[0].strip()
    match = _SIEMENS.fullmatch(name)
    return (match[1] if match else re.sub(r"[\s_-]+", "", name)).lower()


def aliases(rows: Iterable[ManifestRow]) -> Iterator[list[str]]:
    """Yield kernels whose names differ only in spelling, as lists of names."""
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.kernel:
            names[plain_name(row.kernel)].add(row.kernel)
    yield from (sorted(group) for _, group in sorted(names.items()) if len(group) > 1)


def kernel_table(rows: Sequence[ManifestRow]) -> dict[str, Counter[str]]:
    """Return the slices of each dose for each kernel; the kernel and the dose are empty if unknown."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        table[row.kernel][row.dose] += row.slices
    return dict(sorted(table.items()))


def confounded(rows: Sequence[ManifestRow]) -> bool:
    """Return whether both doses are there, but no kernel has both: a network would learn the kernel."""
    table = kernel_table(rows)
    doses = {dose for counts in table.values() for dose in counts if dose}
    return len(doses) == 2 and not any({"low_dose", "full_dose"} <= set(counts) for counts in table.values())
