import numpy as np
import pytest
import torch
from scipy import ndimage

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.simulated_noise.noise_filter import AveragedFilter, NoiseFilter, jittered

WINDOW = HUWindow(-1000, 1000)


def patches(seed: int, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(seed))


def test_without_calibration_the_noise_is_added_as_simulated() -> None:
    net, full, noise = NoiseFilter(5, WINDOW), patches(0), patches(1)
    net.start_from(None, level=0.5)
    assert torch.allclose(net(full, noise), full + 0.5 * noise, atol=1e-6)


def test_the_kernel_filters_the_noise_and_the_sum_is_clipped() -> None:
    kernel = np.random.default_rng(0).normal(0, 0.2, (5, 5)).astype(np.float32)
    kernel = kernel + kernel[::-1, ::-1]  # symmetric, so that convolution and correlation agree
    net, full, noise = NoiseFilter(5, WINDOW), patches(0, 1.0), patches(1)
    net.start_from(kernel)
    filtered = ndimage.convolve(noise[0, 0].numpy(), kernel, mode="mirror")
    expected = (full[0, 0].numpy() + filtered).clip(-1, 1)
    assert net(full, noise)[0, 0].detach().numpy() == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        net.log_gain.fill_(np.log(2.0))
    assert torch.allclose(net.kernel(), 2 * torch.from_numpy(kernel)[None, None], atol=1e-6)


def test_the_distance_is_zero_at_the_start_and_counts_gain_and_shape() -> None:
    net = NoiseFilter(3, WINDOW)
    net.start_from(np.full((3, 3), 0.25, np.float32))
    assert net.distance().item() == 0
    with torch.no_grad():
        net.log_gain.fill_(0.3)
        net.change.fill_(0.2)
    assert net.distance().item() == pytest.approx(0.3**2 + 9 * 0.2**2 / 9)


def test_the_average_follows_without_gradient() -> None:
    net = NoiseFilter(3, WINDOW)
    average = AveragedFilter(net, decay=0.5)
    with torch.no_grad():
        net.log_gain.fill_(1.0)
    expected = 0.0
    for count in range(6):
        average.update(net)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * 1.0
        assert average.mean.log_gain.item() == pytest.approx(expected)
    assert not average(patches(0), patches(1)).requires_grad
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_jitter_scales_whole_patches_within_its_limits_and_repeats() -> None:
    noise = torch.ones(400, 1, 2, 2)
    levels = jittered(noise, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(levels, jittered(noise, 0.2, torch.Generator().manual_seed(0)))
    assert bool((levels == levels[..., :1, :1]).all())
    assert 0.8 <= levels.min() < 0.82
    assert 1.18 < levels.max() <= 1.2
    assert jittered(noise, 0.0, torch.Generator()) is noise
