"""Which series of a study are fetched."""

import re

_OURS = re.compile(r"\bctcycle (denoised|residual|uncertainty)$")


def is_wanted(modality: str, description: str) -> bool:
    """Return whether a series may be denoised: CT, and not made by ctcycle."""
    return modality in {"CT", ""} and not _OURS.search(description.strip())
