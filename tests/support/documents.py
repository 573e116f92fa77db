"""The commands in the documentation: found in its fenced blocks, and run on phantom data with tiny settings.

A marker, an HTML comment before a block or at the top of a page, says what a reader need not see:

    <!-- test: needs runs/scan runs/cyclegan -->    folders that the page takes for granted
    <!-- test: check, takes ten minutes -->         only check the configs of the next block, for this reason
    <!-- test: skip, starts a server -->            do not run the next block, for this reason
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ctcycle.config.loading import load_config
from ctcycle.config.shipped import find_config
from ctcycle.run import command

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]

SHELLS = {"sh", "bash", "console"}
"""Languages of blocks that hold commands; in a console block, these are the lines that begin with ``$``."""

_MARKER = re.compile(r"<!-- test: (needs|check|skip),? (.+?) -->")
_FENCE = re.compile(r"^ *```(\w*)")

Mode = Literal["run", "check", "skip"]

_NOISE = [f"simulated_noise.{value}" for value in ("draws=1", "views=32", "filter_px=3", "calibrate=false")]
_DISCRIMINATOR = [f"discriminator.{value}" for value in ("filters=4", "layers=2", "gain=20.0")]
_GENERATOR = [
    f"generator.{value}" for value in ("filters=4", "blocks=1", "downsamplings=0", "kernel=3", "dilations=[1]")
]
_TRAINING = [f"training.{value}" for value in ("epochs=1", "iterations_per_epoch=2", "batch_size=2")]
TINY: Mapping[str, list[str]] = {
    "simulate": [f"simulation.{value}" for value in ("patients=6", "slices=1", "size=64", "pixel_mm=5.6", "views=64")],
    "train": [
        *(*_TRAINING, *_GENERATOR, "data.patch_size=32", "data.workers=0", "threads=1", "tracking.enabled=false"),
        *("training.watch.enabled=false", "validation.slices=1"),
    ],
    "cyclegan": _DISCRIMINATOR,
    "noise_swap": _DISCRIMINATOR,
    "physics_cyclegan": [*_DISCRIMINATOR, *_NOISE],
    "calibrated_pairs": _NOISE,
    "evaluate": ["filters=[input, gaussian]", "protocols=[hu2000]", "panels=0"],
    "bench": [
        "filters=[input]",
        "physics={size: 160, pixel_mm: 1.4, diameter_mm: 200.0, views: 30, kernel: soft, realisations: 10, sites: 4}",
    ],
    "bundle": ["formats=[]"],
}
"""Overrides by task and by method that make a command take seconds."""


@dataclass(frozen=True)
class Block:
    """A fenced block of commands.

    Attributes:
        line: its number in the page.
        commands: the commands, without comments.
        mode: what a test does with them.
        reason: why they are not simply run.
    """

    line: int
    commands: tuple[str, ...]
    mode: Mode = "run"
    reason: str = ""


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of commands of a page."""
    mode: Mode = "run"
    reason = language = ""
    start, lines = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if language:
            if line.strip() == "```":
                if language in SHELLS:
                    yield Block(start, tuple(_commands(lines, language)), mode, reason)
                mode, reason, language = "run", "", ""
            else:
                lines.append(line)
        elif fence := _FENCE.match(line):
            language, start, lines = fence[1] or "text", number, []
        elif marker := _MARKER.search(line):
            if marker[1] != "needs":
                mode, reason = ("check" if marker[1] == "check" else "skip"), marker[2]
        elif line.strip():
            mode, reason = "run", ""


def needs(text: str) -> list[str]:
    """Return the folders that a page takes for granted."""
    return [name for kind, names in _MARKER.findall(text) if kind == "needs" for name in names.split()]


def run_block(block: Block, folder: Path) -> None:
    """Run the commands of a block in a folder, which is the current one; one that fails raises AssertionError."""
    for line in block.commands:
        words = shlex.split(line)
        program = _of_ctcycle(words)
        if program is not None:
            check = block.mode == "check"
            assert command([*program, "--check"]) == 0, f"line {block.line}: {line}: the config is not valid"
            if not check:
                assert command([*program, *tiny(program)]) == 0, f"line {block.line}: {line}"
        elif block.mode == "check":
            assert words[0] == "make", f"line {block.line}: {line}: cannot be checked, only run or skipped"
            _shell(shlex.join(["make", "-n", "-C", str(ROOT), *words[1:]]), folder, block.line)
        else:
            _shell(line, folder, block.line)


def tiny(program: list[str]) -> list[str]:
    """Return the overrides that make a command of ctcycle take seconds."""
    if program[0] != "run":
        return []
    words = [word for word in program[1:] if not word.startswith("--")]
    name, overrides = words[0], words[1:]
    config = load_config(find_config(Path(name) if name.endswith(".yaml") else name), overrides).resolved
    found = [*TINY.get(config["task"], ()), *TINY.get(config.get("method", ""), ())]
    return [text for text in found if not (text.startswith("simulation.") and config.get("low_dose"))]


def _of_ctcycle(words: list[str]) -> list[str] | None:
    """Return the arguments of ``ctcycle``; None for another program."""
    if {"--help", "--version"} & {*words}:
        return None  # these end the process
    if words[0] == "ctcycle":
        return words[1:]
    return ["run", *words[3:]] if words[:3] == ["python", "-m", "ctcycle.run"] else None


def _shell(line: str, folder: Path, number: int) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        ["bash", "-euc", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"line {number}: {line}\n{done.stderr[-2000:]}"


def _commands(lines: list[str], language: str) -> Iterator[str]:
    text = "\n".join(lines).replace("\\\n", " ")
    for line in text.splitlines():
        if language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]  # noqa: PLW2901
        if shown := re.sub(r"(^|\s+)#.*$", "", line).strip():
            yield shown
