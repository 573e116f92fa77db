"""Planted defects in images, each named by a sentence of the report and by no sentence of the others."""

import re

import numpy as np
import pytest
from noisy_slices import ADDED_HU, FULL_HU, body, noise, pairs
from scipy import ndimage

from ctcycle.evaluation.inserted.bench import InsertionStudy
from ctcycle.evaluation.inserted.sites import InsertionSettings
from ctcycle.evaluation.paired.bench import PairStudy
from ctcycle.evaluation.pairs import HUPair
from ctcycle.evaluation.verdict.merit import verdicts

PAIRS = pairs()
SOFT = (body() > 0) & (body() < 200)
ORDER = [0, 6, 2, 9, 4, 11, 1, 7, 3, 10, 5, 8]


def told_by(result):
    (verdict,) = verdicts(["method"], result.findings, result.curves)
    return " ".join(verdict.sentences)


def of_pairs(change, given=PAIRS):
    study = PairStudy("method")
    for pair in given:
        study.add(pair, np.asarray(change(pair), dtype=np.float32))
    return told_by(study.result())


def of_lesions(denoise, low):
    study = InsertionStudy("method", denoise, InsertionSettings(slices=1, sites=3))
    pair = HUPair("P", "1.2", 0, low, low, spacing_mm=(0.7, 0.7))
    study.add(pair, denoise(low))
    return told_by(study.result())


def fine_noise_left(pair):
    white = np.random.default_rng(5 + pair.slice_index).normal(0, 15, pair.low_hu.shape)
    return pair.full_hu + white - ndimage.gaussian_filter(white, 0.8)


def other_texture(pair):
    return body() + noise(np.random.default_rng(9 + pair.slice_index), FULL_HU, blur_px=1.3)[0]


DEFECTS = {
    "offset": (lambda pair: pair.full_hu + 3 * SOFT, r"HU in soft tissue are 3\.\d HU too high"),
    "gain": (lambda pair: pair.low_hu * 1.02, r"HU are scaled by 1\.020"),
    "texture": (other_texture, r"Its texture is coarser than full dose"),
    "fine noise": (fine_noise_left, r"Leaves fine noise: \d\.\d times the power of full dose"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_by_its_sentence_and_by_no_other_defects(defect):
    change, sentence = DEFECTS[defect]
    told = of_pairs(change)
    assert re.search(sentence, told)
    others = {"offset", "gain", "texture", "fine noise"} - {defect}
    if defect == "gain":  # it also changes HU, and the input's fine noise is left
        others -= {"offset", "fine noise"}
    if defect == "fine noise":  # which makes the texture finer, not coarser
        assert "finer" in told
    assert not [name for name in others if re.search(DEFECTS[name][1], told)]


def test_full_dose_has_none_of_them():
    told = of_pairs(lambda pair: pair.full_hu)
    assert not [name for name, (_, sentence) in DEFECTS.items() if re.search(sentence, told)]
    assert "Its texture is that of full dose" in told
    assert "HU are right within 0." in told


def test_slices_in_the_wrong_order_flicker():
    rng = np.random.default_rng(3)
    along = ndimage.gaussian_filter1d(noise(rng, 1.0, slices=12), 1.2, axis=0, mode="wrap")
    full = (body() + along / along.std() * FULL_HU).astype(np.float32)
    low = full + noise(rng, ADDED_HU, slices=12).astype(np.float32)
    given = [HUPair("P", "1.2", index, low[index], full[index], spacing_mm=(0.7, 0.7)) for index in range(12)]
    assert "Flickers" in of_pairs(lambda pair: full[ORDER[pair.slice_index]], given)
    assert "Flickers" not in of_pairs(lambda pair: pair.full_hu, given)


def test_lost_and_kept_lesions_are_told():
    low = (body() + noise(np.random.default_rng(0), 2.0)[0]).astype(np.float32)
    disc = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4
    assert "Loses small or faint lesions" in of_lesions(lambda hu: ndimage.median_filter(hu, footprint=disc), low)
    assert "Loses small or faint lesions" in of_lesions(lambda hu: ndimage.gaussian_filter(hu, 1.0), low)
    assert "Loses" not in of_lesions(lambda hu: hu, low)
