import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from ctcycle.errors import DivergedError
from ctcycle.training.handlers import (
    CollapseWatch,
    LossLog,
    attach_average,
    attach_finite_check,
    averaged,
    progress_bar,
)


def engine_of(terms: list[dict[str, float]], dtype: torch.dtype = torch.float32) -> Engine:
    """An engine whose iterations give these loss terms."""
    outputs = [{name: torch.tensor(value, dtype=dtype) for name, value in row.items()} for row in terms]
    return Engine(lambda engine, _: outputs[engine.state.iteration - 1])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_term_that_is_not_finite_ends_the_run(bad: float) -> None:
    rows = [{"gen_cycle_full": 1.0, "disc_full": 0.5}, {"gen_cycle_full": 1.0, "disc_full": bad}, {}]
    engine = engine_of(rows)
    attach_finite_check(engine)
    engine.logger.disabled = True
    with pytest.raises(DivergedError, match=r"^iteration 2: disc_full is not finite; .*optimizer\.lr"):
        engine.run([0] * 3)
    assert engine.state.iteration == 2


def test_all_terms_that_are_not_finite_are_named() -> None:
    engine = engine_of([{"a": math.nan, "b": 1.0, "c": math.inf}])
    attach_finite_check(engine)
    engine.logger.disabled = True
    with pytest.raises(DivergedError, match="a, c is not finite"):
        engine.run([0])


ROWS = [{"gen": float(i), "disc": float(i * i)} for i in range(7)]


def test_means_of_every_few_iterations_are_written() -> None:
    written: list[tuple[int, dict[str, float]]] = []
    engine = engine_of(ROWS)
    LossLog(3, lambda iteration, means: written.append((iteration, means))).attach(engine)
    engine.run([0] * 7)
    assert written == [
        (3, {"gen": 1.0, "disc": pytest.approx(5 / 3)}),
        (6, {"gen": 4.0, "disc": pytest.approx(50 / 3)}),
    ]


def test_a_mean_that_was_begun_survives_a_restart() -> None:
    written: list[tuple[int, dict[str, float]]] = []
    state: dict[str, object] = {}
    for start, stop in ((0, 4), (4, 7)):
        log = LossLog(5, lambda iteration, means: written.append((iteration, means)))
        if state:
            log.load_state_dict(state)
        for i in range(start, stop):
            terms = {name: torch.tensor(value) for name, value in ROWS[i].items()}
            log(SimpleNamespace(state=SimpleNamespace(output=terms, iteration=i + 1)))  # type: ignore[arg-type]
        state = log.state_dict()
    assert written == [(5, {"gen": 2.0, "disc": 6.0})]
    assert state == {"sums": {"gen": 11.0, "disc": 61.0}, "count": 2}


def test_what_is_left_at_the_end_is_written_once() -> None:
    written: list[tuple[int, dict[str, float]]] = []
    log = LossLog(3, lambda iteration, means: written.append((iteration, means)))
    engine = Engine(lambda engine, _: {"a": torch.tensor(float(engine.state.iteration))})
    log.attach(engine)
    engine.run([0] * 5)
    log.flush(5)
    log.flush(5)
    assert written == [(3, {"a": 2.0}), (5, {"a": 4.5})]


def test_sums_of_half_precision_terms_do_not_stall() -> None:
    written = []
    engine = engine_of([{"gen": 1.0}] * 600, torch.bfloat16)
    LossLog(600, lambda _, means: written.append(means)).attach(engine)
    engine.run([0] * 600)
    assert written == [{"gen": 1.0}]


def weights(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def test_the_running_mean_is_the_one_worked_out_by_hand() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average, decay = averaged(net, 0.5), 0.5
    rng = torch.Generator().manual_seed(0)

    def step(_engine: Engine, _batch: object) -> None:
        with torch.no_grad():
            for tensor in [*net.parameters(), net[1].running_mean]:
                tensor.copy_(torch.randn(tensor.shape, generator=rng))
        history.append(weights(net))

    history: list[Tensor] = []
    engine = Engine(step)
    attach_average(engine, average, net)
    engine.run([0] * 12)
    expected = history[0]
    for count, now in enumerate(history[1:], start=1):
        share = min(decay, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * now
    assert torch.allclose(weights(average.module), expected, atol=1e-6)
    assert min(decay, 2 / 11) == pytest.approx(0.18, abs=0.002)
    assert torch.equal(average.module[1].running_mean, net[1].running_mean)  # statistics are not averaged
    assert torch.equal(weights(net), history[-1])


def test_the_running_mean_goes_on_after_a_restart() -> None:
    nets = [nn.Linear(1, 1) for _ in range(4)]
    whole, first, second = (averaged(nets[0], 0.9) for _ in range(3))
    for net in nets:
        whole.update_parameters(net)
    for net in nets[:2]:
        first.update_parameters(net)
    second.load_state_dict(first.state_dict())
    for net in nets[2:]:
        second.update_parameters(net)
    assert torch.equal(weights(whole.module), weights(second.module))


@pytest.mark.parametrize(("done", "shown"), [(0, "6/6"), (3, "6/6")])
def test_the_bar_counts_all_iterations_and_starts_where_the_run_does(
    done: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(lambda *_: None)
    if done:
        engine.load_state_dict({"iteration": done, "epoch_length": 3, "max_epochs": 2})
    with progress_bar(engine, "fast"):
        engine.run([0] * 3, max_epochs=2, epoch_length=3)
    text = capsys.readouterr().err
    assert text.rsplit("\r", 1)[-1].startswith("fast: 100%")
    assert shown in text


HEALTHY = {
    "gen_cycle_full": 0.1,
    "gen_adversarial_full": 0.3,
    "gen_adversarial_low": 0.4,
    "disc_full": 0.2,
    "disc_low": 0.25,
}


def watch(rows: list[dict[str, float]], stop_after: int = 0) -> list[str]:
    """What is told of these means of 20 iterations each; optionally with a restart after some of them."""
    told: list[str] = []
    watching = CollapseWatch(100, told.append)
    for number, row in enumerate(rows, 1):
        watching(20 * number, row)
        if number == stop_after:
            state = watching.state_dict()
            watching = CollapseWatch(100, told.append)
            watching.load_state_dict(state)
    return told


def moving(number: int, **changes: float) -> dict[str, float]:
    """Healthy means that move by a percent, with changes."""
    return {name: value * (1 + 0.01 * (-1) ** number) for name, value in HEALTHY.items()} | changes


WON = {"disc_full": 0.004, "disc_low": 0.009}


@pytest.mark.parametrize("stop_after", [0, 5, 9])
def test_discriminators_that_always_win_are_told_once_with_what_to_try(stop_after: int) -> None:
    rows = [moving(number, **(WON if number > 3 else {})) for number in range(1, 20)]
    (told,) = watch(rows, stop_after)
    assert told.startswith("iteration 160: every discriminator's loss has been below 0.01 for 100 iterations")
    assert "try a smaller optimizer.lr_discriminator, image_pool=50 or discriminator.spectral_norm=true" in told


def test_losses_that_do_not_move_are_told() -> None:
    (told,) = watch([moving(0), *[HEALTHY] * 10])
    assert told.startswith("iteration 140: the adversarial losses have not moved for 100 iterations")


@pytest.mark.parametrize(
    "rows",
    [
        [moving(number) for number in range(30)],
        [moving(number, **(WON if number % 5 else {})) for number in range(30)],  # it recovers in time
        [moving(number, disc_full=0.001) for number in range(30)],  # one of two
        [{"gen_supervised": 0.1}] * 30,
    ],
)
def test_training_that_goes_on_is_not_disturbed(rows: list[dict[str, float]]) -> None:
    assert watch(rows) == []
