"""Counts the kinds of bad input that were tried, and tells the outcome in the last line."""

import pytest

TEST = "test_each_kind_gives_what_the_table_says"
_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of each kind: ``passed``, ``failed`` or ``traceback``."""
    if report.nodeid.partition("::")[2].startswith(TEST) and (report.when == "call" or report.failed):
        ended = dict(report.user_properties).get("traceback")  # missing if the program itself raised an exception
        _outcomes[report.nodeid] = "traceback" if ended is None or ended else report.outcome


def pytest_unconfigure() -> None:
    """Print the numbers after everything else."""
    if _outcomes:
        found = list(_outcomes.values())
        handled, tracebacks = found.count("passed"), found.count("traceback")
        share = 100 * handled / len(found)
        print(f"{len(found)} kinds tried, {handled} handled as documented ({share:.0f} %), {tracebacks} tracebacks")
