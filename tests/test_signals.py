"""Signals that ask to stop: noted, echoed, repeated, raised, and ignored by workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctcycle.signals import SIGNALS, StopNow, StopRequest, stopping_at_once

ROOT = Path(__file__).parent.parent
each_signal = pytest.mark.parametrize("number", SIGNALS)


def program(code: str) -> subprocess.Popen[str]:
    """Starts a program and waits until it has said something."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@each_signal
def test_the_first_signal_is_noted_with_the_shells_exit_code(number: signal.Signals) -> None:
    with StopRequest().listening() as request:
        assert request.code == 0
        signal.raise_signal(number)
        assert request.code == 128 + number
        signal.raise_signal(signal.SIGTERM)  # at once: an echo
        assert request.code == 128 + number


LISTEN = """
import time
from ctcycle.signals import StopRequest
with StopRequest().listening() as request:
    print("ready", flush=True)
    while not request.code:
        time.sleep(0.01)
    print("noted", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_the_process_at_once() -> None:
    process = program(LISTEN)
    assert process.stdout is not None
    for _ in range(2):  # what timeout(1) sends
        process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "noted\n"
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 130
    assert errors.splitlines() == [
        "",
        "stopping after this iteration; send the signal (Ctrl-C) again to stop now",
        "",
        "killed by a second signal; the last checkpoint is intact, run it again to resume",
    ]


@each_signal
def test_long_work_is_given_up(number: signal.Signals) -> None:
    with StopRequest().listening() as request:
        with pytest.raises(StopNow) as stop, request.giving_up():
            signal.raise_signal(number)
        assert stop.value.number == number
        assert request.code == 128 + number
        with pytest.raises(StopNow), request.giving_up():
            pytest.fail("must not begin")


def test_work_that_no_signal_disturbed_is_done_and_later_signals_are_only_noted() -> None:
    with StopRequest().listening() as request:
        with request.giving_up():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert request.code == 143


def test_a_fork_notes_nothing() -> None:
    with StopRequest().listening() as request:
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(request.code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_outside_of_training_a_signal_is_raised(number: signal.Signals) -> None:
    with pytest.raises(StopNow) as stop, stopping_at_once():
        signal.raise_signal(number)
    assert stop.value.number == number


def test_a_fork_outside_of_training_ends_without_a_word() -> None:
    with stopping_at_once():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143


def test_what_handled_the_signals_before_does_so_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stopping_at_once(), StopRequest().listening():
        assert not set(before) & {signal.getsignal(number) for number in SIGNALS}
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(StopNow), stopping_at_once():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


WORKER = """
import os, signal, time
from ctcycle.signals import SIGNALS, follow_parent
child = os.fork()
if child == 0:
    follow_parent(0)
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's workers look for their parent themselves")
def test_a_worker_outlives_signals_but_not_its_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.kill(worker, 0)
    process.kill()
    assert process.communicate(timeout=5)[0] == ""  # the pipe is closed: nobody holds it any more
