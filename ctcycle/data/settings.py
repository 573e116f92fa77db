"""Settings of the folders to scan and of the split; free of heavy imports, for use in the config schema."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dose = Literal["low_dose", "full_dose", ""]
"""The domain of a series; empty if unknown."""

DOSES: tuple[Dose, Dose] = ("low_dose", "full_dose")

Split = Literal["train", "val", "test", ""]
"""The split of a series; empty if it has none yet."""


_LONGEST_NAME, _LONGEST_PATH = 255, 4095
"""Bytes of a file name and of a path on Linux and macOS."""


def path_problem(path: Path) -> str:
    """Return why no file can have this path; empty if one can."""
    if any(len(os.fsencode(name)) > _LONGEST_NAME for name in path.parts):
        return f"a name in the path is longer than {_LONGEST_NAME} bytes; shorten it"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return f"the path is longer than {_LONGEST_PATH} bytes; shorten it"
    try:
        path.stat()
    except ValueError:
        return "the path contains a null character; remove it"
    except OSError as error:
        return "is a link to itself; replace the link" if error.errno == errno.ELOOP else ""
    return ""


@dataclass(frozen=True)
class Source:
    """A folder or file to scan, with properties of all its series. The scan derives properties that are not set.

    Attributes:
        path: a folder, searched recursively, or one file.
        dose: the dose of all its series.
        dose_fraction: dose of its low-dose series as a fraction of the full dose, in (0, 1].
        patient: a regular expression searched in each path below ``path``; the patient is its first group, or the
            whole match if it has no groups.
        split: the split of all its patients.
        slice_axis: axis along which its NIfTI and npy volumes are cut into slices; None to choose it for each.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic expects a plain dict; the class itself does not depend on pydantic)

    path: Path
    dose: Dose = ""
    dose_fraction: float | None = None
    patient: str = ""
    split: Split = ""
    slice_axis: Literal[0, 1, 2] | None = None

    def __post_init__(self) -> None:
        if problem := path_problem(self.path):
            raise ValueError(f"source {self.path}: {problem}")
        if self.dose_fraction is not None and not 0 < self.dose_fraction <= 1:
            raise ValueError(f"source {self.path}: dose_fraction {self.dose_fraction} is not above 0 and at most 1")
        if self.dose == "full_dose" and self.dose_fraction not in {None, 1}:
            raise ValueError(
                f"source {self.path}: dose_fraction {self.dose_fraction} contradicts full_dose, which means 1"
            )
        try:
            re.compile(self.patient)
        except re.error as error:
            raise ValueError(
                f"source {self.path}: patient '{self.patient}' is not a regular expression ({error})"
            ) from error


@dataclass(frozen=True)
class SplitSettings:
    """The patients for training, validation and testing.

    Named patients are assigned as named. Of the patients that are neither named nor assigned by a source or a folder
    name, the fractions go to validation and testing and the rest to training. If ``train`` names patients, only these
    are used for training, and unassigned patients are left out.

    Attributes:
        train: patients for training.
        val: patients for validation.
        test: patients for testing, for example ``[L506]``.
        val_fraction: fraction of the unassigned patients used for validation. Only patients with matching series of
            both doses are eligible, since only these can be evaluated. At least one patient if not 0, but none if
            training would lose a dose.
        test_fraction: the same for testing; takes precedence over validation if there are too few patients.
        seed: selects the patients for the fractions.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (as above)

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    val_fraction: float = 0.0
    test_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fraction in (("val_fraction", self.val_fraction), ("test_fraction", self.test_fraction)):
            if not 0 <= fraction < 1:
                raise ValueError(f"split: {name} {fraction} is not at least 0 and below 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"split: val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave no training data"
            )
        twice = sorted({name for name in self.named if self.named.count(name) > 1})
        if twice:
            raise ValueError(f"split: {', '.join(twice)} named twice; assign a patient to only one split")

    @property
    def named(self) -> list[str]:
        """Return all patients named in the settings."""
        return [*self.train, *self.val, *self.test]
