import pytest
import torch
from torch import Tensor

from ctcycle.training.pair_loss import ContrastLost
from ctcycle.training.patches.lesions import CLASSES

SIZE = 12


def scene(share: float, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Output, full dose and lesions of a batch; the output has ``share`` of the contrast in class 1."""
    rng = torch.Generator().manual_seed(seed)
    signal = torch.zeros(4, 1, SIZE, SIZE)
    signal[:, :, 5:7, 5:7] = 0.02
    templates = torch.zeros(4, CLASSES, SIZE, SIZE)
    templates[:, 1] = torch.where(signal[:, 0] > 0, 1 / 4, -1 / (SIZE**2 - 4))
    anatomy = torch.randn(4, 1, SIZE, SIZE, generator=rng)
    output = anatomy + share * signal + noise * torch.randn(4, 1, SIZE, SIZE, generator=rng)
    return output, anatomy + signal, torch.cat([signal, templates], dim=1)


def settled(penalty: ContrastLost, share: float, noise: float = 0.0) -> Tensor:
    for number in range(350):
        output, full, lesions = scene(share, noise, seed=number)
        value = penalty(output.requires_grad_(), full, lesions)
    result: Tensor = value
    return result


@pytest.mark.parametrize(("share", "wanted"), [(0.4, 1.0), (0.7, 0.8)])
def test_the_penalty_is_the_square_of_the_contrast_that_is_missing(share: float, wanted: float) -> None:
    penalty = ContrastLost(wanted)
    assert settled(penalty, share).item() == pytest.approx((wanted - share) ** 2, rel=1e-3)
    assert penalty.kept().tolist() == pytest.approx([1.0, share, *[1.0] * (CLASSES - 2)], abs=1e-3)


def test_contrast_beyond_what_is_wanted_is_not_penalised() -> None:
    penalty = ContrastLost(0.8)
    assert settled(penalty, 0.9).item() == 0


def test_noise_that_keeps_the_mean_costs_little() -> None:
    # each lesion's own error would be (0.02 / 4 px)² of noise; the mean over many lesions is what counts
    assert settled(ContrastLost(), 1.0, noise=0.005).item() < 1e-3


def test_the_gradient_is_that_of_the_square_of_the_mean() -> None:
    penalty, share = ContrastLost(), 0.4
    settled(penalty, share)
    output, full, lesions = scene(share)
    output.requires_grad_()
    penalty(output, full, lesions).backward()
    # d/d(output) of ((1 - kept))² with kept = 1 + t·(output - full) / t·s over the batch
    again = output.detach().clone().requires_grad_()
    templates = lesions[:, 1:]
    kept = 1 + ((again - full) * templates).sum((0, 2, 3))[1] / (lesions[:, :1] * templates).sum((0, 2, 3))[1]
    (1 - kept).square().backward()
    assert output.grad is not None
    assert again.grad is not None
    assert torch.allclose(output.grad, again.grad, rtol=1e-3, atol=1e-7)


def test_there_is_no_penalty_before_the_means_have_settled() -> None:
    output, full, lesions = scene(0.2)
    output.requires_grad_()
    value = ContrastLost()(output, full, lesions)
    value.backward()
    assert value.item() == 0
    assert output.grad is not None
    assert not output.grad.any()


def test_batches_without_lesions_change_nothing() -> None:
    penalty = ContrastLost()
    output, full, lesions = scene(1.0)
    assert penalty(output, full, torch.zeros_like(lesions)).item() == 0
    assert penalty.kept().tolist() == [1.0] * CLASSES
