"""What users read is plain English: phrases that read like a translation are refused."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BANNED = {
    r"\bgo(?:es)? on\b": "resume, continue",
    r"the same command": "run it again to resume",
    r"\banew\b": "restart, again",
    r"does it again": "set overwrite=true to rerun",
    r"\b(?:is|are|were|was) (?:there )?already (?:there|done)\b|is there already": "already exists",
    r"\b(?:has|have|had) (?:gone|come)\b": "is missing, was removed",
    r"\b(?:is|are|was|were|be|been) told\b|\btells?\b": "reports, warns, prints, records",
    r"whole or not at all": "atomically",
    r"\bin words\b": "as text",
    r"for people\b": "",
    r", too\b": "also, before the verb",
    r"\btwins?\b": "supervised baseline, simulated low dose",
    r"as a whole\b": "whole",
    r"\bby \w+ alone\b": "only",
    r"What there is\b|what there is to say": "name the thing",
    r"Puts? back\b": "restores",
    r"\ball the same\b": "anyway",
}
"""Pattern to what to write instead."""

PYTHON = sorted((ROOT / "ctcycle").rglob("*.py"))
OLD_NAMES = {"twins", "twins.yaml"}
"""Renamed keys and files, which one release still accepts."""
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "Makefile", "setup.cfg")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "configs").rglob("*.yaml")),
]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def advice(text: str) -> str:
    """What to write instead of the first banned phrase in a text; empty if there is none."""
    for pattern, better in BANNED.items():
        if found := re.search(pattern, text, re.IGNORECASE):
            return f"'{found[0]}' (better: {better})"
    return ""


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_strings_and_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    strings = [node for node in strings if node.value not in OLD_NAMES]
    found = [f"line {node.lineno}: {advice(str(node.value))}" for node in strings if advice(str(node.value))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", TEXTS, ids=shown)
def test_documents_and_configs(path: Path) -> None:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    plain = ((number, re.sub(r"`[^`]*twins[^`]*`", "", line)) for number, line in lines)  # old names, as code
    found = [f"line {number}: {advice(line)}" for number, line in plain if advice(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "runs/x: goes on after iteration 300",
        "already finished; overwrite=true does it again",
        "stopped by SIGTERM; the same command starts again or continues",
        "is there already",
        "identity term of full2low, too",
        "written whole or not at all",
        "how many patients and slices, in words",
    ],
)
def test_the_phrases_are_found(sentence: str) -> None:
    assert advice(sentence)


@pytest.mark.parametrize("sentence", ["runs/x: resuming from iteration 300", "already exists, skipping", "too large"])
def test_plain_english_passes(sentence: str) -> None:
    assert not advice(sentence)
