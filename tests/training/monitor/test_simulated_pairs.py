import math

import numpy as np
import pytest
from watched_slices import DOMAINS, clean, stored

from ctcycle.training.monitor.simulated_pairs import error_gain_db, simulated_pairs


def test_full_dose_becomes_as_noisy_as_low_dose() -> None:
    pairs = simulated_pairs([stored(20, seed) for seed in (1, 2)], DOMAINS.full, DOMAINS.low)
    for pair in pairs:
        added, total = (image[60:130, 60:130].std() for image in (pair.low - pair.full, pair.low - clean()))
        assert added == pytest.approx(math.sqrt(40**2 - 20**2), rel=0.05)
        assert total == pytest.approx(40.0, rel=0.05)
        assert pair.body[96, 96]
        assert not pair.body[0, 0]


def test_the_same_noise_in_every_run_and_other_noise_in_every_slice() -> None:
    image = stored(20, 1)
    one, two = (simulated_pairs([image, image], DOMAINS.full, DOMAINS.low) for _ in range(2))
    assert np.array_equal(one[0].low, two[0].low)
    assert not np.array_equal(one[0].low, one[1].low)


def test_a_perfect_denoiser_and_no_pairs_have_no_gain_to_state() -> None:
    pairs = simulated_pairs([stored(20, 1)], DOMAINS.full, DOMAINS.low)
    assert math.isnan(error_gain_db(lambda _image: pairs[0].full, pairs))
    assert math.isnan(error_gain_db(lambda image: image, ()))
