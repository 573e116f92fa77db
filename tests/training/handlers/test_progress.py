import pytest
from ignite.engine import Engine

from ctcycle.training.handlers.progress import Progress


@pytest.mark.parametrize(("done", "shown"), [(0, "6/6"), (3, "6/6")])
def test_the_bar_counts_all_iterations_and_starts_where_the_run_does(
    done: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(lambda *_: None)
    if done:
        engine.load_state_dict({"iteration": done, "epoch_length": 3, "max_epochs": 2})
    progress = Progress("fast")
    progress.attach(engine)
    with progress.shown():
        engine.run([0] * 3, max_epochs=2, epoch_length=3)
    text = capsys.readouterr().err
    assert text.rsplit("\r", 1)[-1].startswith("fast: 100%")
    assert shown in text


def test_outside_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(lambda *_: None)
    Progress("fast").attach(engine)
    engine.run([0] * 3)
    assert capsys.readouterr().err == ""
