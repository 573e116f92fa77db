"""Every command in the documentation is run, on phantom data with tiny settings."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from documents import PAGES, Block, blocks, needs, run_block

if TYPE_CHECKING:
    from tiny_data import TinyData

HIDDEN = re.compile(r" {4,}(?:python -m|ctcycle (?:run|denoise)|make ) ?")
LOW = ("sim000", "sim001", "sim002", "sim003", "sim006", "sim007")
FULL = ("sim003", "sim004", "sim005", "sim006", "sim007")


@pytest.fixture(scope="module")
def shelf(tiny: "TinyData", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that pages take for granted: scans, their index, and trained runs."""
    folder = tmp_path_factory.mktemp("shelf")
    for dose, patients in (("low_dose", LOW), ("full_dose", FULL)):
        for patient in patients:
            shutil.copytree(tiny.series / patient / dose, folder / "data" / dose / patient)
    shutil.copytree(tiny.series / "sim000" / "low_dose", folder / "incoming" / "scan")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_block(Block(0, ("ctcycle run scan", "ctcycle run cyclegan")), folder)
    shutil.copytree(folder / "runs" / "cyclegan", folder / "runs" / "supervised")  # any model will do
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_commands_of_a_page(
    page: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    text = page.read_text(encoding="utf-8")
    found = [block for block in blocks(text) if block.mode != "skip"]
    if not found:
        pytest.skip("no commands to run")
    for name in ("data", "incoming", *needs(text)):
        shutil.copytree(shelf / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for block in found:
        run_block(block, tmp_path)


def test_every_marker_gives_its_reason() -> None:
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            assert block.mode == "run" or len(block.reason.split()) >= 2, f"{page.name}:{block.line}: say why"


def test_blocks_markers_and_comments_are_understood() -> None:
    text = (
        "<!-- test: needs runs/scan -->\n# Title\n\n```bash\nctcycle run scan   # a comment\nls \\\n  data\n```\n\n"
        "<!-- test: skip, starts a server -->\n```console\n$ mlflow ui\nlistening\n```\n\n"
        "<!-- test: check, long -->\n\nText between.\n\n```sh\nctcycle run demo\n```\n```python\nprint()\n```\n"
    )
    assert needs(text) == ["runs/scan"]
    assert list(blocks(text)) == [
        Block(4, ("ctcycle run scan", "ls    data")),
        Block(11, ("mlflow ui",), "skip", "starts a server"),
        Block(20, ("ctcycle run demo",)),
    ]


@pytest.mark.parametrize("line", ["ctcycle run nothing", "false", "ctcycle run scan sorces=[]"])
def test_a_command_that_fails_is_noticed(line: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="line 7"):
        run_block(Block(7, (line,)), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    assert not [line for line in page.read_text(encoding="utf-8").splitlines() if HIDDEN.match(line)]
