"""Describes the splits of a manifest as MLflow data sets: digest and counts, no identities."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from ctcycle.data.manifest import Manifest, ManifestRow

_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
_DOSES = ("low_dose", "full_dose")


def data_sets(manifest: Manifest, kernel: str | None = None) -> list[dict[str, Any]]:
    """Return one data set for each split that has series.

    Args:
        manifest: the manifest of a run.
        kernel: count only series of this reconstruction kernel; None counts all.

    Returns:
        ``name``, ``digest`` (of the rows), ``source``, ``context`` and ``profile`` of each; the profile holds numbers
        of patients, series and slices by dose. ``source`` and ``profile`` are JSON.
    """
    source = json.dumps({"uri": manifest.path.name})
    found = []
    for split, context in _CONTEXTS.items():
        rows = [row for row in manifest.rows if row.split == split and kernel in {None, row.kernel}]
        if rows:
            profile = {"patients": len({row.patient for row in rows})} | {dose: _size(rows, dose) for dose in _DOSES}
            found.append(
                {
                    "name": f"{split} split",
                    "digest": _digest(rows),
                    "source": source,
                    "context": context,
                    "profile": json.dumps(profile),
                }
            )
    return found


def described(sets: Sequence[dict[str, Any]]) -> str:
    """Return the sizes of data sets as a list in Markdown."""
    return "\n".join(f"- {one['context']}: {_sentence(json.loads(one['profile']))}" for one in sets)


def _size(rows: Sequence[ManifestRow], dose: str) -> dict[str, int]:
    chosen = [row for row in rows if row.dose == dose]
    return {
        "patients": len({row.patient for row in chosen}),
        "series": len(chosen),
        "slices": sum(row.slices for row in chosen),
    }


def _sentence(profile: dict[str, Any]) -> str:
    parts = (
        f"{profile[dose]['slices']} {dose.replace('_', '-')} slices of {profile[dose]['patients']} patients"
        for dose in _DOSES
    )
    return ", ".join(parts)


def _digest(rows: Sequence[ManifestRow]) -> str:
    """Return 12 hexadecimal digits that change with any row."""
    return hashlib.sha256(repr([astuple(row) for row in rows]).encode()).hexdigest()[:12]
