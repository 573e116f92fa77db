"""Start `ctcycle` again and again without its imports: a process that has everything imported forks on request."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

_CODE = """
import json, os, sys
from ctcycle.run import command
import monai.networks.blocks, ctcycle.tasks.serve, ctcycle.tasks.running
import ctcycle.node.service, ctcycle.node.proving

ended = {}
for line in sys.stdin:
    kind, *rest = json.loads(line)
    if kind == "start":
        arguments, folder, log = rest
        pid = os.fork()
        if not pid:
            os.setsid()
            os.chdir(folder)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nowhere = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nowhere, 0), (out, 1), (out, 2)):
                os.dup2(source, target)
            os._exit(command(arguments))
        answer = pid
    else:
        (pid,) = rest
        if pid not in ended:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended[pid] = os.waitstatus_to_exitcode(status)
        answer = ended.get(pid)
    print(json.dumps(answer), flush=True)
"""


class Forked:
    """A process that the nursery started, with the methods of `subprocess.Popen` that are needed."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float = 120.0) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} did not end within {timeout} s")
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Nursery:
    """The process that forks."""

    def __init__(self, root: Path) -> None:
        self._lock = threading.Lock()
        env = {**os.environ, "PYTHONPATH": str(root), "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        atexit.register(self._process.kill)

    def ask(self, *request: Any) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def start(self, arguments: list[str], folder: Path, log: Path) -> Forked:
        return Forked(self, self.ask("start", arguments, str(folder), str(log)))


@cache
def nursery(root: Path) -> Nursery:
    """The nursery of this process."""
    return Nursery(root)
