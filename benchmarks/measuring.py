"""Times several ways to do the same work, in turn, and shows medians, spread and ratios."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Table:
    """Seconds of each way, one entry a round.

    Attributes:
        title: what was timed.
        seconds: by the name of the way; the first is the reference of the ratios.
        pieces: pieces of work in a round, for figures per second; 0 shows none.
        notes: remarks by the name of the way.
    """

    title: str
    seconds: Mapping[str, list[float]]
    pieces: float = 0
    notes: Mapping[str, str] | None = None

    def ratio(self, name: str) -> float:
        """Return the median over the rounds of the time of a way over that of the reference in the same round."""
        reference = next(iter(self.seconds.values()))
        return median(own / other for own, other in zip(self.seconds[name], reference, strict=True))

    def text(self) -> str:
        """Return the table in Markdown."""
        per_second = " pieces a second |" if self.pieces else ""
        lines = [f"{self.title}\n", f"| way | median | lowest to highest | ratio |{per_second}", "|---|---|---|---|"]
        lines[-1] += "---|" if self.pieces else ""
        for name, found in self.seconds.items():
            shown = f"{name}{(self.notes or {}).get(name, '')}"
            speed = f" {self.pieces / median(found):,.0f} |" if self.pieces else ""
            lines.append(
                f"| {shown} | {_seconds(median(found))} | {_seconds(min(found))} to {_seconds(max(found))} "
                f"| {self.ratio(name):.2f} |{speed}"
            )
        return "\n".join(lines) + "\n"


def in_turn(ways: Mapping[str, Work], rounds: int, clock: Clock = time.process_time) -> dict[str, list[float]]:
    """Return the seconds of each way in each round, after one round that is not counted.

    The ways take turns, so that a machine that slows down slows all of them. CPU time, the default, leaves out most of
    what other programs do; real time shows what runs beside one another.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            begun = clock()
            work()
            if number:
                found[name].append(clock() - begun)
    return found


def machine() -> str:
    """Return the processor, its vector units and the threads that torch uses, in one line."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):  # noqa: PTH110 (one call)
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
        model = names[0] if names else model
    units = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {os.cpu_count()} cores, {units}, torch {torch.__version__}, threads: {torch.get_num_threads()}"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
