import io

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ctcycle.training.adversarial.pasted_noise import PastedNoise


def noise(seed: int, std: float, count: int = 4, size: int = 96) -> Tensor:
    values = np.random.default_rng(seed).normal(0, std, (count, 1, size, size))
    return torch.from_numpy(values.astype(np.float32))


def energy(images: Tensor, sigma: float = 3.0) -> float:
    """Mean square of the high-pass by another implementation."""
    smooth = [gaussian_filter(image.numpy(), sigma, mode="mirror", radius=round(3 * sigma)) for image in images[:, 0]]
    return float(((images[:, 0].numpy() - np.stack(smooth)) ** 2).mean())


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_pasted_noise_has_the_energy_that_the_domains_differ_by(kept: float) -> None:
    anatomy = torch.linspace(-0.3, 0.3, 96).expand(4, 1, 96, 96)
    low, full = anatomy + noise(0, 0.05), anatomy.flip(-2) + noise(1, 0.02)
    denoised = low - kept * noise(0, 0.05)  # takes off a share of the noise only: k must make up for it
    swap = PastedNoise()
    pasted = swap(low, full, denoised)
    assert energy(pasted - full) == pytest.approx(energy(low) - energy(full), rel=1e-3)
    assert energy(pasted) == pytest.approx(energy(low), rel=0.02)
    assert swap.factor().item() == pytest.approx(np.sqrt(1 - (0.02 / 0.05) ** 2) / kept, rel=0.01)


def test_energies_are_running_means_that_start_with_the_first_batch() -> None:
    swap = PastedNoise(sigma_px=1.0, momentum=0.75)
    first, second = ([noise(seed, std) for std in (0.3, 0.1, 0.2)] for seed in (0, 1))
    for low, full, residual in (first, second):
        swap(low, full, low - residual)
    expected = [0.75 * energy(a, 1.0) + 0.25 * energy(b, 1.0) for a, b in zip(first, second, strict=True)]
    assert swap.energies.tolist() == pytest.approx(expected, rel=1e-3)
    assert swap.factor().item() == pytest.approx(np.sqrt((expected[0] - expected[1]) / expected[2]), rel=1e-3)


def test_the_residual_loses_its_mean_in_each_patch() -> None:
    low, full = noise(0, 0.05, count=2), torch.zeros(2, 1, 96, 96)
    offset = torch.tensor([0.1, -0.4]).reshape(2, 1, 1, 1)
    pasted = PastedNoise()(low, full, torch.zeros_like(low) - offset)
    assert pasted.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-7)
    assert torch.allclose(pasted, low - low.mean(dim=(-2, -1), keepdim=True), atol=1e-3)


@pytest.mark.parametrize(
    ("low_std", "full_std", "residual_std", "lowest", "highest"),
    [(1.0, 0.1, 0.01, 3.0, 3.0), (0.1, 1.0, 0.5, 0.0, 1e-3), (0.1, 0.05, 0.0, 0.0, 3.0)],
)
def test_the_factor_stays_in_its_range(
    low_std: float, full_std: float, residual_std: float, lowest: float, highest: float
) -> None:
    swap, low = PastedNoise(), noise(0, low_std)
    pasted = swap(low, noise(1, full_std), low - noise(2, residual_std))
    assert pasted.isfinite().all()
    assert lowest <= swap.factor().item() <= highest


def test_at_the_identity_the_result_is_the_image() -> None:
    low, full = noise(0, 0.05), noise(1, 0.02)
    assert torch.equal(PastedNoise()(low, full, low), full)


def test_no_gradient_flows_through_the_pasted_noise() -> None:
    low, full, denoised = (noise(seed, 0.1).requires_grad_() for seed in range(3))
    assert not PastedNoise()(low, full, denoised).requires_grad


def test_state_survives_and_means_go_on() -> None:
    swap, other = PastedNoise(), PastedNoise()
    swap(noise(0, 0.3), noise(1, 0.1), noise(2, 0.1))
    stream = io.BytesIO()
    torch.save(swap.state_dict(), stream)
    stream.seek(0)
    other.load_state_dict(torch.load(stream, weights_only=True))
    batch = [noise(seed, 0.2) for seed in (3, 4, 5)]
    assert torch.equal(swap(*batch), other(*batch))
    assert torch.equal(swap.energies, other.energies)
    assert other.updates == 2
