from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from ctcycle.tasks.terminal.crashes import describe_crash


def cause() -> None:
    raise KeyError("the cause")


def consequence() -> None:
    try:
        cause()
    except KeyError as error:
        raise RuntimeError("the consequence") from error


def suppressing() -> None:
    try:
        cause()
    except KeyError:
        raise RuntimeError("shown") from None


def test_cause_and_consequence_are_told_in_order() -> None:
    with pytest.raises(RuntimeError) as crash:
        consequence()
    before, after = describe_crash(crash.value).split("\nwhich led to:\n")
    assert before.startswith("Traceback (most recent call last):\n")
    assert before.endswith("KeyError: 'the cause'\n")
    assert Path(__file__).name in before
    assert after.endswith("RuntimeError: the consequence\n")


def test_what_was_suppressed_is_not_told() -> None:
    with pytest.raises(RuntimeError) as crash:
        suppressing()
    assert "the cause" not in describe_crash(crash.value)


def test_messages_of_pydicom_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    header = Dataset()
    with pytest.raises(ValueError, match="CANARY") as crash:
        header.add_new("PatientBirthDate", "DA", pydicom.valuerep.DA("CANARY1970"))
    text = describe_crash(crash.value)
    assert "ValueError: (message omitted, it may quote a DICOM header)" in text
    assert "CANARY" not in text.replace('valuerep.DA("CANARY1970")', "")  # the line of this test is in the traceback
