"""Names of kernels that may mean the same."""

from dataclasses import replace

import pytest

from ctcycle.data.manifest import ManifestRow
from ctcycle.inspection.kernels import aliases, confounded, kernel_table, plain_name

ROW = ManifestRow("s", "p", "low_dose", None, "B30f", 3.0, 0.7, 64, 64, 5, "", "dicom", "p", "")


@pytest.mark.parametrize(
    ("kernel", "plain"),
    [("B30f", "b30"), ("B30s", "b30"), ("B30", "b30"), ("B30f/3", "b30"), ("Br38f", "br38"), ("STANDARD", "standard")],
)
def test_plain_name(kernel: str, plain: str) -> None:
    assert plain_name(kernel) == plain


def test_different_kernels_are_no_aliases() -> None:
    names = ("B30f", "B31f", "D45f", "Br38", "STANDARD", "SOFT", "")
    assert list(aliases(replace(ROW, kernel=name) for name in names)) == []
    assert list(aliases(replace(ROW, kernel=name) for name in ("B30", "B30f", "D45f"))) == [["B30", "B30f"]]


def test_table_and_confounding() -> None:
    low, full = ROW, replace(ROW, dose="full_dose", kernel="D45f", slices=7)
    assert kernel_table([low, full]) == {"B30f": {"low_dose": 5}, "D45f": {"full_dose": 7}}
    assert confounded([low, full])
    assert not confounded([low, full, replace(full, kernel="B30f")])
    assert not confounded([low])
