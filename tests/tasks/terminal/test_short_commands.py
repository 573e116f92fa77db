"""Short commands: which config they stand for."""

from pathlib import Path

import pytest

from ctcycle.run import command


def resolved(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command([*arguments, "--check"]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    text = resolved(capsys, "inspect", "a=b", "1.5", "--low", "ld", "--full", "fd", "--out", "o", "slices=3")
    for part in ("path: a=b", "path: '1.5'", "dose: low_dose", "dose: full_dose", "out: o", "slices: 3"):
        assert part in text


def test_inspect_without_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "inspect").startswith("command line: no folder given; try ctcycle inspect data")
    assert "path: x" in resolved(capsys, "inspect", "sources=[{path: x}]")


def test_view(capsys: pytest.CaptureFixture[str]) -> None:
    text = resolved(capsys, "view", "in", "some/out", "most_slices=20", "--overwrite")
    for part in ("input: in", "denoised: some/out", "out: some/out_view", "most_slices: 20", "overwrite: true"):
        assert part in text
    assert "out: pages" in resolved(capsys, "view", "in", "out", "--out", "pages")
    assert "OUT" in refused(capsys, "view", "in")


@pytest.mark.parametrize("name", ["inspect", "view"])
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        command([name, "--help"])
    assert f"usage: ctcycle {name}" in capsys.readouterr().out
