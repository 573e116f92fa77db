from pathlib import Path

from ctcycle.runs.mlflow_store.event_file import EventFile


def test_events_survive_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = EventFile(path)
    assert not path.exists()
    for number in range(4):
        events.add({"number": number})
    assert [event["number"] for event in EventFile(path).all()] == [0, 1, 2, 3]
    events.drop(2)
    events.forget(lambda event: event["number"] == 3)
    assert EventFile(path).all() == events.all() == [{"number": 2}]
    events.drop(1)
    assert len(events) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"number": 1}\n{"numb')
    events = EventFile(path)
    events.add({"number": 2})
    assert path.read_text() == '{"number": 1}\n{"number": 2}\n'
    assert EventFile(path).all() == events.all()


def test_what_no_disk_takes_is_kept_in_memory_and_a_removed_folder_is_not_made_again(tmp_path: Path) -> None:
    events = EventFile(tmp_path / "gone" / "events.jsonl")
    for number in range(3):
        events.add({"number": number})
    events.drop(1)
    assert events.all() == [{"number": 1}, {"number": 2}]
    assert not (tmp_path / "gone").exists()
