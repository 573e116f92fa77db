import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from ctcycle.training.handlers.average import WeightAverage


def weights(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def test_the_running_mean_is_the_one_worked_out_by_hand() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average, decay = WeightAverage(net, 0.5), 0.5
    rng = torch.Generator().manual_seed(0)

    def step(_engine: Engine, _batch: object) -> None:
        with torch.no_grad():
            for tensor in [*net.parameters(), net[1].running_mean]:
                tensor.copy_(torch.randn(tensor.shape, generator=rng))
        history.append(weights(net))

    history: list[Tensor] = []
    engine = Engine(step)
    average.attach(engine)
    engine.run([0] * 12)
    expected = history[0]
    for count, now in enumerate(history[1:], start=1):
        share = min(decay, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * now
    assert torch.allclose(weights(average.result), expected, atol=1e-6)
    assert min(decay, 2 / 11) == pytest.approx(0.18, abs=0.002)
    assert torch.equal(average.result[1].running_mean, net[1].running_mean)  # statistics are not averaged
    assert torch.equal(weights(net), history[-1])


def test_the_running_mean_survives_a_restart() -> None:
    net = nn.Linear(1, 1)
    whole, first, second = (WeightAverage(net, 0.9) for _ in range(3))
    second_half: list[WeightAverage] = [whole, second]
    for number in range(4):
        nn.init.constant_(net.weight, float(number))
        if number == 2:
            second.load_state_dict(first.state_dict())
        for average in [whole, first] if number < 2 else second_half:
            average()
    assert torch.equal(weights(whole.result), weights(second.result))
    assert not torch.equal(weights(first.result), weights(second.result))


def test_without_a_decay_the_network_itself_is_the_result() -> None:
    net = nn.Linear(1, 1)
    average, engine = WeightAverage(net, 0.0), Engine(lambda *_: None)
    average.attach(engine)
    engine.run([0])
    assert average.result is net
    assert average.state_dict() == {}
    average.load_state_dict({})


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none(decay: float) -> None:
    with pytest.raises(ValueError, match="it must be at least 0 and less than 1"):
        WeightAverage(nn.Linear(1, 1), decay)
