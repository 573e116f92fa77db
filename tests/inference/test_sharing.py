"""Series shared by several processes: the results and the summary of one process, whoever denoised which."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from phantom_series import write_series
from rank_processes import Ended, on_ranks

from ctcycle.inference.records import OutputRecords
from ctcycle.inference.sharing import Alone
from ctcycle.run import main
from ctcycle.runs import ranks


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five series, of which the second and the fourth are refused."""
    for number in range(5):
        broken = {"PixelData": b"\0" * 10} if number in {1, 3} else {}
        write_series(tmp_path / "in" / str(number), series=f"1.2.826.0.1.{number + 1}", changes=broken)
    return tmp_path / "in"


def arguments(model: Path, source: Path, out: Path, *more: str) -> list[str]:
    return ["denoise", f"model={model}", f"input={source}", f"out={out}", "device=cpu", *more]


def denoise_on_ranks(arguments: Sequence[str], folder: Path, world: int = 2) -> list[Ended]:
    return on_ranks(folder, lambda _rank: main(arguments), world)


def comparable(out: Path) -> dict[str, Any]:
    """The pixels of all outputs, and the summary."""
    pixels = {path.relative_to(out): pydicom.dcmread(path).PixelData for path in out.rglob("*.dcm")}
    return {"pixels": pixels, "summary": json.loads((out / "summary.json").read_text())}


def test_alone_does_everything() -> None:
    alone = Alone()
    assert alone.is_first()
    assert all(alone.is_mine(number) for number in range(3))
    assert alone.from_all(5) == [5]
    assert alone.from_first(lambda: 6) == 6


def test_two_ranks_give_the_results_and_the_summary_of_one(tiny_run: Path, source: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(arguments(tiny_run, source, one)) == 3
    ended = denoise_on_ranks(arguments(tiny_run, source, two), tmp_path / "ranks")
    assert [each.code for each in ended] == [3, 3]
    assert not ended[1].printed
    last = ended[0].printed.splitlines()[-1]
    assert last.startswith("3 denoised, 0 already done, 2 refused, 0 skipped")
    assert comparable(two) == comparable(one)
    for folder in ("1", "3"):  # one by each rank
        assert f"{source / folder}" in (two / "log.txt").read_text()
    assert main(arguments(tiny_run, source, two)) == 3
    assert json.loads((two / "summary.json").read_text())["already_there"] == 3


def test_each_rank_denoises_its_share(tiny_run: Path, source: Path, tmp_path: Path) -> None:
    written = OutputRecords.writing
    shares = tmp_path / "shares"
    shares.mkdir()

    def noted(records: OutputRecords, path: Path, making: Any, remarks: Any) -> Any:
        (shares / f"{ranks.rank()}_{path.name}").touch()
        return written(records, path, making, remarks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputRecords, "writing", noted)
        denoise_on_ranks(arguments(tiny_run, source, tmp_path / "out"), tmp_path / "ranks", world=3)
    assert {path.name for path in shares.iterdir()} == {"0_0", "2_2", "1_4"}


def test_a_killed_rank_leaves_whole_results_and_a_rerun_completes_them(
    tiny_run: Path, source: Path, tmp_path: Path
) -> None:
    out, written = tmp_path / "out", OutputRecords.writing

    def killed(records: OutputRecords, path: Path, making: Any, remarks: Any) -> Any:
        if ranks.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return written(records, path, making, remarks)

    write_series(source / "6", series="1.2.826.0.1.9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputRecords, "writing", killed)
        ended = denoise_on_ranks(arguments(tiny_run, source, out), tmp_path / "ranks")
    assert [each.code for each in ended] == [1, -signal.SIGKILL]
    assert "connection to another rank is lost" in ended[0].printed
    denoise_on_ranks(arguments(tiny_run, source, out), tmp_path / "ranks")
    assert main(arguments(tiny_run, source, tmp_path / "one")) == 3
    assert comparable(out)["pixels"] == comparable(tmp_path / "one")["pixels"]


def test_other_tasks_are_refused_in_one_sentence(tmp_path: Path) -> None:
    task = tmp_path / "simulate.yaml"
    task.write_text(f"task: simulate\nout: {tmp_path / 'out'}\n")
    ended = denoise_on_ranks(["--config", str(task)], tmp_path / "ranks")
    assert [each.code for each in ended] == [2, 2]
    assert ended[0].printed == (
        "task=simulate: runs in one process, and 2 were started; start it without torchrun or srun "
        "(only train, denoise, scan, evaluate and simulate with low_dose run on several ranks)\n"
    )
    assert not ended[1].printed
    assert not (tmp_path / "out").exists()
