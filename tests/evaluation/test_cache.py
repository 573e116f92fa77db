"""The folder of cached results: what a killed process had begun to write does not stay."""

from pathlib import Path

from ctcycle.evaluation.cache import ResultCache

BEGUN = ".0123.json.partial-abcd_123"


def test_what_a_killed_process_had_begun_to_write_is_removed_and_results_stay(tmp_path: Path) -> None:
    ResultCache(tmp_path).write_json("0123", {"psnr": 40.0})
    (tmp_path / BEGUN).write_text('{"key"')
    (tmp_path / ".note").touch()
    cache = ResultCache(tmp_path)
    assert cache.read_json("0123") == {"psnr": 40.0}
    assert {path.name for path in tmp_path.iterdir()} == {"0123.json", ".note"}


def test_no_folder_is_made_before_there_is_a_result(tmp_path: Path) -> None:
    assert ResultCache(tmp_path / "cache").read_json("0123") is None
    assert not (tmp_path / "cache").exists()
