"""What a user says about the folders to be scanned and about the split; light, so that the config schema can use it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dose = Literal["low_dose", "full_dose", ""]
"""The domain of a series; empty where it is not known."""

DOSES: tuple[Dose, Dose] = ("low_dose", "full_dose")

Split = Literal["train", "val", "test", ""]
"""What a series is for; empty where it is for nothing yet."""


@dataclass(frozen=True)
class Source:
    """A folder (or file) to scan, and what is known of everything in it. What is left empty, the scan finds out.

    Attributes:
        path: a folder, searched with its subfolders, or one file.
        dose: the dose of all of its series.
        dose_fraction: dose of its low-dose series over the full dose, in (0, 1].
        patient: a regular expression searched in each path below ``path``; the patient is its first group, or all that
            it matches.
        split: the split of all of its patients.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    path: Path
    dose: Dose = ""
    dose_fraction: float | None = None
    patient: str = ""
    split: Split = ""

    def __post_init__(self) -> None:
        if self.dose_fraction is not None and not 0 < self.dose_fraction <= 1:
            raise ValueError(f"source {self.path}: dose_fraction {self.dose_fraction} is not above 0 and at most 1")
        if self.dose == "full_dose" and self.dose_fraction not in {None, 1}:
            raise ValueError(
                f"source {self.path}: dose_fraction {self.dose_fraction} contradicts full_dose, which is 1"
            )
        try:
            re.compile(self.patient)
        except re.error as error:
            raise ValueError(
                f"source {self.path}: patient '{self.patient}' is not a regular expression ({error})"
            ) from error


@dataclass(frozen=True)
class SplitSettings:
    """Which patients are for training, validation and testing.

    Named patients go where they are named. Of the patients that neither this names nor a source or a folder decides,
    the fractions go to validation and testing and the others to training; but where ``train`` names patients, it names
    all of them, and the others are left out.

    Attributes:
        train: patients for training.
        val: patients for validation.
        test: patients for testing, for example ``[L506]``.
        val_fraction: share for validation of the undecided patients with matching series of both doses, the only ones
            that can be measured; at least one patient if it is not 0, but none where training would lose a dose.
        test_fraction: the same for testing; where there are too few patients, it goes before validation.
        seed: chooses the patients that the fractions take.
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
            raise ValueError(f"split: {', '.join(twice)} named twice; a patient belongs to one of train, val and test")

    @property
    def named(self) -> list[str]:
        """All patients that the settings name."""
        return [*self.train, *self.val, *self.test]
