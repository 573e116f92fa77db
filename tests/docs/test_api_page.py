"""The Python in the documentation runs."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from documents import ROOT

if TYPE_CHECKING:
    from tiny_data import TinyData

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
LISTINGS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_listings_run_in_order(
    tiny: "TinyData",
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(tiny_run, tmp_path / "runs" / "cyclegan")
    for name, dose in (("incoming", "low_dose"), ("routine", "full_dose")):
        shutil.copytree(tiny.series / "sim000" / dose, tmp_path / name / "scan")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    for listing in LISTINGS:
        exec(listing, found)  # noqa: S102
    assert found["clean"].shape == found["scan"].hu.shape == found["removed"].shape
    assert found["summary"]["denoised"] == 1
    assert {row.protocol for row in found["result"].rows} == {"hu2000", "abdomen"}
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == re.findall(r"print\(error\)  # (.*)", PAGE)[0]


def test_there_are_listings() -> None:
    assert len(LISTINGS) >= 5
