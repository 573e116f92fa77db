"""Warnings of pydicom are suppressed for as long as any thread asks for it, and no longer."""

import logging
import warnings
from threading import Event, Thread

import pytest
from pydicom import Dataset

from ctcycle.ct.dicom.silence import quiet


def warn() -> None:
    """Let pydicom warn of a value, as it does for a patient's name that is too long."""
    warnings.warn("Doe^Jane", stacklevel=1)
    logging.getLogger("pydicom").warning("Doe^Jane")


def test_pydicom_says_nothing_inside(caplog: pytest.LogCaptureFixture) -> None:
    with quiet(), quiet():
        warn()
        Dataset().StudyDate = "Doe^Jane"
    assert not caplog.records
    with pytest.warns(UserWarning, match="Doe"):
        warn()
    with pytest.warns(UserWarning, match="Invalid value"):
        Dataset().StudyDate = "Doe^Jane"
    assert len(caplog.records) == 2


def test_threads_that_overlap_stay_silent_and_leave_everything_as_it_was(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    before, level = list(warnings.filters), logging.getLogger("pydicom").level
    first_is_in, second_is_in, first_is_out = Event(), Event(), Event()

    def second() -> None:
        first_is_in.wait()
        with quiet():
            second_is_in.set()
            first_is_out.wait()
            warn()

    thread = Thread(target=second)
    thread.start()
    with quiet():
        first_is_in.set()
        second_is_in.wait()
    first_is_out.set()
    thread.join()
    assert not caplog.records
    assert not recwarn.list
    assert (list(warnings.filters), logging.getLogger("pydicom").level) == (before, level)


def test_an_error_ends_the_silence() -> None:
    level = logging.getLogger("pydicom").level
    with pytest.raises(ValueError, match="slice"), quiet():
        raise ValueError("slice")
    assert logging.getLogger("pydicom").level == level
