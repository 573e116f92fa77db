"""What the README says is what the project does: its commands, its files, its figures."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ctcycle.config.loading import load_config
from ctcycle.evaluation.results import Row
from ctcycle.evaluation.tables import markdown_table
from ctcycle.run import command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m ctcycle\.run (--config .*?)(?: +#.*)?$", README, re.MULTILINE)
SHORT_COMMANDS = re.findall(r"^ctcycle ((?:run|denoise) .*?)(?: +#.*)?$", README, re.MULTILINE)
DEMO = json.loads((ROOT / "docs" / "demo" / "results.json").read_text())


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_has_a_valid_config(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, config, *rest = shlex.split(line)
    load_config(Path(config), [word for word in rest if not word.startswith("--")])


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5
    assert len(SHORT_COMMANDS) >= 3


@pytest.mark.parametrize("line", SHORT_COMMANDS)
def test_every_short_command_is_valid(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command([*shlex.split(line), "--check"]) == 0


def test_the_table_is_that_of_the_demo() -> None:
    assert markdown_table([Row(**row) for row in DEMO["rows"]], "hu2000") in README


def test_the_demo_kept_its_promise() -> None:
    rows = {row["method"]: row for row in DEMO["rows"] if row["protocol"] == "hu2000"}
    gain = {name: row["psnr"] - rows["input"]["psnr"] for name, row in rows.items()}
    assert gain["cyclegan"] >= 2
    assert gain["supervised"] >= 3
    assert min(rows["cyclegan"]["ssim"], rows["supervised"]["ssim"]) > rows["input"]["ssim"]
    assert min(rows[name]["psnr"] for name in ("cyclegan", "supervised")) > rows["gaussian"]["psnr"]
    assert rows["nlm"]["psnr"] > 0


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("config", re.findall(r"`(configs/[\w/.]+)`", README))
def test_every_config_named_exists(config: str) -> None:
    assert (ROOT / config).exists()
