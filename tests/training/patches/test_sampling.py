import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from random_states import random_states

from ctcycle.config.components import Component
from ctcycle.config.training import Lesions
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.patches.lesions import CLASSES, LesionDraw
from ctcycle.training.patches.sampling import (
    EpochSampler,
    PairedPatches,
    PatchPair,
    UnpairedPatches,
    lost_worker,
    make_loader,
    shuffled_index,
)
from ctcycle.training.patches.transforms import PatchTransform
from ctcycle.training.simulated_noise.draws import NoiseDraws

WINDOW = HUWindow(-20_000, 20_000)
FLIP = Component.model_validate({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 0})
TRANSFORM = PatchTransform(8, (FLIP,), WINDOW)


def slices(count: int, first: int = 0) -> list[NDArray[np.int16]]:
    """Slices whose values tell the slice (thousands) and the place in it."""
    place = np.arange(12 * 12, dtype=np.int16).reshape(12, 12)
    return [place + np.int16(1000 * (first + number)) for number in range(count)]


def values(sample: PatchPair, name: str) -> NDArray[np.int64]:
    return np.rint(WINDOW.denormalise(sample[name]).numpy()).astype(np.int64)


def number(sample: PatchPair, name: str) -> int:
    return int(values(sample, name).min() // 1000)


def place(sample: PatchPair, name: str) -> bytes:
    return (values(sample, name) % 1000).tobytes()


def unpaired(seed: int = 0, low: int = 5, full: int = 7) -> UnpairedPatches:
    return UnpairedPatches(slices(low), slices(full, first=low), TRANSFORM, seed)


def paired(seed: int = 0, count: int = 5, **options: Any) -> PairedPatches:
    return PairedPatches(slices(count), slices(count), TRANSFORM, seed, **options)


both_kinds = pytest.mark.parametrize("kind", [unpaired, paired])


def equal(one: PatchPair, other: PatchPair) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@both_kinds
def test_a_sample_depends_on_seed_epoch_and_index_alone(kind: Callable[..., Any]) -> None:
    data, again = kind(seed=3), pickle.loads(pickle.dumps(kind(seed=3)))  # noqa: S301 (what a spawned worker gets)
    keys = [(epoch, index) for epoch in range(3) for index in range(6)]
    samples = [data[key] for key in keys]
    assert all(equal(data[key], sample) for key, sample in reversed(list(zip(keys, samples, strict=True))))
    assert all(equal(again[key], sample) for key, sample in zip(keys, samples, strict=True))
    assert all(not equal(kind(seed=4)[key], sample) for key, sample in list(zip(keys, samples, strict=True))[:3])
    assert len({place(sample, "low_dose") for sample in samples}) > 12
    assert {sample["full_dose"].shape for sample in samples} == {(1, 8, 8)}


@both_kinds
def test_workers_change_nothing_and_global_generators_are_left_alone(kind: Callable[..., Any]) -> None:
    before = random_states()
    batches = []
    for workers in (0, 2):
        sampler = EpochSampler(3, lambda epoch: 4 - epoch)
        loader = make_loader(kind(), sampler, workers=workers)
        found = []
        for epoch in (0, 1):
            sampler.epoch = epoch
            found += list(loader)
        batches.append(found)
    assert random_states() == before
    assert [len(batch["low_dose"]) for batch in batches[0]] == [4, 4, 4, 3, 3, 3]
    assert len(batches[1]) == 6
    assert all(equal(*pair) for pair in zip(*batches, strict=True))
    assert equal(batches[0][0], torch.utils.data.default_collate([kind()[0, index] for index in range(4)]))
    assert not equal(batches[0][0], batches[0][3])  # another epoch


def test_every_slice_is_used_equally_often() -> None:
    data = unpaired(low=5, full=7)
    used: dict[str, Counter[int]] = {"low_dose": Counter(), "full_dose": Counter()}
    for index in range(70):
        sample = data[2, index]
        for name, counter in used.items():
            counter[number(sample, name)] += 1
    assert used["low_dose"] == dict.fromkeys(range(5), 14)
    assert used["full_dose"] == dict.fromkeys(range(5, 12), 10)


def test_partners_are_others_in_every_epoch_and_independent() -> None:
    data = unpaired(low=5, full=5)
    pairs = Counter(
        (number(sample, "low_dose"), number(sample, "full_dose"))
        for sample in (data[epoch, index] for epoch in range(40) for index in range(5))
    )
    assert len(pairs) == 25  # every slice of one domain meets every slice of the other
    assert max(pairs.values()) < 20  # 8 expected


def test_unpaired_patches_are_cut_at_places_of_their_own() -> None:
    data = UnpairedPatches(slices(1), slices(1), TRANSFORM, 0)
    same = sum(place(data[0, index], "low_dose") == place(data[0, index], "full_dose") for index in range(200))
    assert same < 20  # 4 expected: 25 places, two flips


def test_pairs_share_slice_crop_and_flip() -> None:
    data = paired()
    for index in range(20):
        sample = data[1, index]
        assert torch.equal(sample["low_dose"], sample["full_dose"])
    assert Counter(number(data[1, index], "low_dose") for index in range(20)) == dict.fromkeys(range(5), 4)


def test_the_reports_fault_cuts_pairs_at_different_places_of_the_same_slice() -> None:
    samples = [paired(same_crop=False)[0, index] for index in range(50)]
    assert all(number(sample, "low_dose") == number(sample, "full_dose") for sample in samples)
    assert sum(place(sample, "low_dose") == place(sample, "full_dose") for sample in samples) < 8


def test_pairs_share_the_decision_about_air() -> None:
    air = [np.full((12, 12), -1000, np.int16) for _ in range(2)]
    half = np.where(np.arange(12) < 8, -1000, 500).astype(np.int16) * np.ones((12, 1), np.int16)
    data = PairedPatches([half, half], [half + 1, half + 1], PatchTransform(8, (), WINDOW, 1.0), 0)
    for index in range(20):
        sample = data[0, index]
        assert torch.allclose(sample["full_dose"] - sample["low_dose"], torch.tensor(1 / 20_000))
        assert values(sample, "full_dose").max() > 0
    assert number(PairedPatches(air, air, data.transform, 0)[0, 0], "low_dose") == -1  # air alone is taken all the same


def test_a_permutation_follows_another() -> None:
    for length in (1, 2, 9):
        turns = [[shuffled_index([1, 2], turn * length + i, length) for i in range(length)] for turn in range(20)]
        assert all(sorted(turn) == list(range(length)) for turn in turns)
        assert len({tuple(turn) for turn in turns}) > min(length - 1, 15)


def test_a_pass_that_is_taken_up_again_leaves_out_what_was_done() -> None:
    sampler = EpochSampler(5, lambda epoch: epoch - 6)
    sampler.epoch, sampler.skip = 7, 3
    first = iter(sampler)
    sampler.epoch = 8  # a pass that has begun keeps its epoch
    assert list(first) == [[(7, 3)], [(7, 4)]]
    assert list(sampler) == [[(8, 2 * batch), (8, 2 * batch + 1)] for batch in range(5)]
    assert len(sampler) == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_an_engine_that_resumes_in_the_middle_sees_what_it_would_have_seen(workers: int) -> None:
    def run(done: int) -> list[PatchPair]:
        sampler, seen = EpochSampler(3, lambda _: 2), []
        loader = make_loader(unpaired(), sampler, workers=workers)
        engine = Engine(lambda _, batch: seen.append(batch))

        @engine.on(Events.EPOCH_STARTED)
        def place(engine: Engine) -> None:
            sampler.epoch, sampler.skip = engine.state.epoch - 1, engine.state.iteration % 3

        if done:
            engine.load_state_dict({"iteration": done, "epoch_length": 3, "max_epochs": 3})
        engine.run(loader, max_epochs=3, epoch_length=3)
        return seen

    whole = run(0)
    assert len(whole) == 9
    for done in (3, 4):
        assert all(equal(*pair) for pair in zip(run(done), whole[done:], strict=True))


def partners(data: UnpairedPatches, epochs: range) -> set[tuple[int, int]]:
    samples = (data[epoch, index] for epoch in epochs for index in range(len(data.low)))
    return {(number(sample, "low_dose"), number(sample, "full_dose")) for sample in samples}


@pytest.mark.parametrize(("low", "full"), [(5, 7), (7, 5), (6, 6)])
def test_fixed_partners_stay_for_the_whole_training(low: int, full: int) -> None:
    redrawn, fixed = (
        UnpairedPatches(slices(low), slices(full, first=low), TRANSFORM, 0, kind) for kind in (False, True)
    )
    found = partners(fixed, range(12))
    assert len(found) == low == len(partners(fixed, range(1)))
    uses = Counter(partner for _, partner in found)
    assert max(uses.values()) - min(uses.values()) <= 1
    assert len(uses) == min(low, full)
    assert len(partners(redrawn, range(12))) > 2 * low


def test_fixed_partners_depend_on_the_seed_and_are_cropped_anew_in_every_epoch() -> None:
    one, other = (UnpairedPatches(slices(9), slices(9), TRANSFORM, seed, fixed_partners=True) for seed in (0, 1))
    assert partners(one, range(1)) != partners(other, range(1))
    crops = {
        (place(one[epoch, index], "low_dose"), place(one[epoch, index], "full_dose"))
        for epoch in range(3)
        for index in range(9)
    }
    assert len(crops) > 20


def test_both_images_of_a_pair_get_the_same_lesions() -> None:
    window, tissue = HUWindow(-1024, 3071), [np.full((64, 64), 40, np.int16)]
    noisy = [np.random.default_rng(0).normal(40, 20, (64, 64)).astype(np.int16)]
    drawn, size = LesionDraw(Lesions(vessels=0.0)), PatchTransform(48, (FLIP,), window)
    data = PairedPatches(noisy, tissue, size, 0, lesions=drawn, pixel_mm=[0.7])
    plain = PairedPatches(noisy, tissue, size, 0)
    for index in range(10):
        sample, without = data[0, index], plain[0, index]
        assert sample["lesions"].shape == (1 + CLASSES, 48, 48)
        for name in ("low_dose", "full_dose"):
            assert torch.allclose(sample[name] - without[name], sample["lesions"][:1], atol=1e-6)
    assert equal(data[0, 3], data[0, 3])
    assert any(data[0, index]["lesions"].any() for index in range(10))


def test_full_dose_of_simulated_pairs_gets_lesions_and_its_noise_stays() -> None:
    window, tissue = HUWindow(-1024, 3071), [np.full((64, 64), 40, np.int16)] * 2
    noise = NoiseDraws(([np.random.default_rng(n).normal(0, 20, (64, 64)).astype(np.int16) for n in range(2)],))  # type: ignore[arg-type]  # a sequence will do
    size = PatchTransform(48, (FLIP,), window)
    plain = UnpairedPatches(tissue, tissue, size, 0, noise=noise)
    data = replace(plain, lesions=LesionDraw(Lesions(vessels=0.0)), pixel_mm=[0.7, 0.7])
    for index in range(10):
        sample, without = data[3, index], plain[3, index]
        assert sample["lesions"].shape == (1 + CLASSES, 48, 48)
        assert torch.allclose(sample["full_dose"] - without["full_dose"], sample["lesions"][:1], atol=1e-6)
        assert all(torch.equal(sample[name], without[name]) for name in ("low_dose", "noise"))
    assert equal(data[3, 4], data[3, 4])
    assert any(data[3, index]["lesions"].any() for index in range(10))


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("DataLoader worker (pid 77) is killed by signal: Killed. ", True),
        ("DataLoader worker (pid(s) 77) exited unexpectedly", True),
        ("Caught RuntimeError in DataLoader worker process 0.", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_a_lost_worker_is_told_from_other_errors(text: str, lost: bool) -> None:
    assert (lost_worker(RuntimeError(text)) is not None) == lost
