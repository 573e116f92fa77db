"""The walkthrough is what happens: each command is the one that the tool before it printed."""

import re
import shlex
from pathlib import Path

import pytest
from tiny_data import SETTINGS

from ctcycle.run import command

ROOT = Path(__file__).parent.parent
WALKTHROUGH = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
FIRST = "ctcycle run simulate simulation.patients=8 out=phantoms"

SMALL = {
    "simulate": [
        *(f"simulation.{key}={getattr(SETTINGS, key)}" for key in ("slices", "size", "pixel_mm", "views", "photons")),
        "workers=1",
    ],
    "train": [
        *("training.epochs=1", "training.iterations_per_epoch=2", "training.batch_size=2", "generator.filters=4"),
        *("training.watch.enabled=false", "tracking.enabled=false", "data.patch_size=32", "generator.blocks=1"),
    ],
    "evaluate": ["filters=[input]", "benches=[pairs]", "panels=0"],
    "bundle": ["formats=[]"],
}
"""Overrides that make each command quick; they change no path."""


def kind(words: list[str]) -> str:
    """The task that a command runs."""
    if words[0] != "run":
        return words[0]
    return Path(words[1]).stem if "/" in words[1] else words[1]


@pytest.mark.slow
def test_the_tools_lead_from_raw_folders_to_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line, done = FIRST, []
    while line:
        assert line in WALKTHROUGH.splitlines(), f"docs/walkthrough.md does not show: {line}"
        _program, *words = shlex.split(line)
        done.append(kind(words))
        assert command([*words, *SMALL.get(done[-1], [])]) == 0, line
        last = capsys.readouterr().out.splitlines()[-1]
        line = last.removeprefix("next: ") if last.startswith("next: ") else ""
    assert done == ["simulate", "inspect", "scan", "train", "evaluate", "bundle", "denoise", "view"]
    assert (tmp_path / "phantoms_inspect" / "bundles" / "supervised" / "models" / "model.pt").is_file()
    assert list((tmp_path / "phantoms_inspect" / "bundles" / "supervised_denoised_view").glob("*.html"))


def test_the_walkthrough_shows_the_output_it_speaks_of() -> None:
    assert FIRST in WALKTHROUGH
    shown = re.findall(r"^next: (.*)$", WALKTHROUGH, re.MULTILINE)
    assert len(shown) >= 7
    assert all(line in WALKTHROUGH.splitlines() for line in shown)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", WALKTHROUGH))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
