"""Ranks as torchrun would start them, but forked: importing torch and MLflow in each would take seconds."""

import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

CRASHED = 99


@dataclass(frozen=True)
class Ended:
    """A rank that has ended: its exit code, minus the number of the signal that killed it, and what it printed."""

    code: int
    printed: str


def on_ranks(folder: Path, work: Callable[[int], int | None], world: int = 2) -> list[Ended]:
    """Call ``work`` with the rank in each of ``world`` processes, whose exit codes it returns; None is 0."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    logs = [folder / f"rank{rank}.txt" for rank in range(world)]
    processes = [_start(rank, world, port, work, log) for rank, log in enumerate(logs)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    return [Ended(code, log.read_text()) for code, log in zip(codes, logs, strict=True)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(rank: int, world: int, port: int, work: Callable[[int], int | None], log: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads: the ranks use none of before
        process = os.fork()
    if process:
        return process
    code: int | None = CRASHED
    try:
        _become(rank, world, port, log)
        code = work(rank)
    except BaseException:  # noqa: BLE001 (nothing may get into the code of the tests)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def _become(rank: int, world: int, port: int, log: Path) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(stream, number)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)  # type: ignore[misc]
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
