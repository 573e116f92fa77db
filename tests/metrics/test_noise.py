"""What is above a frequency."""

import numpy as np
import pytest

from ctcycle.metrics.noise import highpass


def test_highpass_of_a_wave_in_closed_form():
    columns = np.arange(256)
    wave = np.broadcast_to(100 * np.cos(2 * np.pi * columns / 16), (64, 256))
    passed = 1 - np.exp(-((2 * np.pi / 16 * 3) ** 2) / 2)
    found = highpass(500 + wave, 3.0)
    assert found[:, 32:-32] == pytest.approx(passed * wave[:, 32:-32], abs=0.1)
