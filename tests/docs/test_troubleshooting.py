"""The messages that the documentation quotes are those of the program."""

import re
from pathlib import Path

import pytest
from messages import share_found

from ctcycle.config.loading import load_config
from ctcycle.config.training import Watch
from ctcycle.errors import ConfigError
from ctcycle.training.monitor.verdict import faults

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [" ".join(text.split()) for text in re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("message", [text for text in QUOTED if not text.startswith("configs/")], ids=lambda t: t[:40])
def test_a_quoted_message_is_one_of_the_program(message: str) -> None:
    assert share_found(message) >= 0.6, f"only {share_found(message):.0%} is text of the program: {message}"


def test_there_are_messages_for_each_symptom() -> None:
    assert len(QUOTED) >= 15
    for symptom in ("does nothing", "diverges", "PSNR is 13 dB", "HU are shifted", "too smooth"):
        assert re.search(rf"^## My .*{symptom}$", PAGE, re.MULTILINE), symptom


@pytest.mark.parametrize(
    "message", ["epoch 12: the network does not denoise well; please use more epochs and better data", "a, b or c"]
)
def test_an_invented_message_is_noticed(message: str) -> None:
    assert share_found(message) < 0.4


@pytest.mark.parametrize(
    ("found", "kind"),
    [({"removed": 0.03}, "identity"), ({"shift_fat_hu": -6.2}, "shift"), ({"noise_over_full": 0.11}, "blur")],
)
def test_the_watch_says_exactly_what_is_quoted(found: dict[str, float], kind: str) -> None:
    assert any(text.endswith(faults(found, Watch())[kind]) for text in QUOTED)


def test_the_config_is_refused_as_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    lines = "task: train\nmethod: cyclegan\ndata: {manifest: m.csv}\nloss: {cycl: 1}\n"
    (tmp_path / "configs" / "mine.yaml").write_text(lines)
    with pytest.raises(ConfigError) as error:
        load_config(Path("configs/mine.yaml"))
    assert str(error.value) in QUOTED
