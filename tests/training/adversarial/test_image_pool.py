import pytest
import torch
from torch import Tensor

from ctcycle.training.adversarial.image_pool import ImagePool


def images(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3).clone()


def numbers(batch: Tensor) -> list[int]:
    assert batch.shape[1:] == (1, 2, 3)
    assert (batch == batch[:, :1, :1, :1]).all()
    return [int(image[0, 0, 0]) for image in batch]


def run(pool: ImagePool, rng: torch.Generator, start: int, stop: int) -> list[int]:
    return [numbers(pool.exchange(images(i), rng))[0] for i in range(start, stop)]


def test_no_pool_hands_through_and_draws_nothing() -> None:
    rng, batch = torch.Generator(), images(1, 2)
    before = rng.get_state()
    assert ImagePool(0).exchange(batch, rng) is batch
    assert torch.equal(rng.get_state(), before)


def test_the_first_images_fill_the_pool_and_are_handed_through() -> None:
    pool = ImagePool(3)
    assert numbers(pool.exchange(images(1, 2, 3), torch.Generator())) == [1, 2, 3]
    assert [int(image.mean()) for image in pool.state_dict()["images"]] == [1, 2, 3]


def test_half_are_old_and_each_place_is_exchanged_equally_often() -> None:
    pool, rng, size = ImagePool(4), torch.Generator().manual_seed(0), 4
    kept, new, places = list(range(size)), 0, [0] * size
    run(pool, rng, 0, size)
    for number in range(size, 2000):
        given = numbers(pool.exchange(images(number), rng))[0]
        if given == number:
            new += 1
        else:  # what comes out was in, and what went in takes its place
            place = kept.index(given)
            kept[place] = number
            places[place] += 1
        assert [int(image.mean()) for image in pool.state_dict()["images"]] == kept
    assert new / 1996 == pytest.approx(0.5, abs=0.04)  # 3.6 standard deviations
    assert [count / sum(places) for count in places] == pytest.approx([0.25] * 4, abs=0.05)


def test_a_batch_larger_than_the_pool_is_taken_image_by_image() -> None:
    one_by_one, at_once = ImagePool(2), ImagePool(2)
    single = run(one_by_one, torch.Generator().manual_seed(3), 0, 9)
    assert numbers(at_once.exchange(images(*range(9)), torch.Generator().manual_seed(3))) == single
    assert single != list(range(9))


def test_images_of_another_size_are_dropped() -> None:
    pool, rng = ImagePool(3), torch.Generator().manual_seed(0)
    pool.exchange(images(1, 2, 3), rng)
    larger = torch.ones(2, 1, 5, 5)
    assert torch.equal(pool.exchange(larger, rng), larger)
    assert [image.shape for image in pool.state_dict()["images"]] == [(1, 5, 5)] * 2


def test_images_kept_are_copies() -> None:
    pool, batch = ImagePool(1), images(1)
    pool.exchange(batch, torch.Generator())
    batch += 41
    assert int(pool.state_dict()["images"][0].mean()) == 1


def test_the_same_generator_and_state_give_the_same_images() -> None:
    pool, other = ImagePool(3), ImagePool(3)
    run(pool, torch.Generator().manual_seed(1), 0, 20)
    state = pool.state_dict()
    other.load_state_dict(state)
    going_on = run(pool, torch.Generator().manual_seed(2), 20, 60)
    assert run(other, torch.Generator().manual_seed(2), 20, 60) == going_on
    other.load_state_dict(state)  # neither run has changed what was saved
    assert run(other, torch.Generator().manual_seed(2), 20, 60) == going_on
    other.load_state_dict(state)
    assert run(other, torch.Generator().manual_seed(4), 20, 60) != going_on
