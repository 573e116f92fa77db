import pytest
import torch
from monai.inferers.inferer import SimpleInferer

from ctcycle.errors import ConfigError
from ctcycle.inference.inferers import described, make_inferer


@pytest.mark.parametrize("tile", [-64, 1, 32, 100, 8224, 10**12])
def test_tiles_off_the_grid_are_refused(tile: int) -> None:
    allowed = r"must be 0 \(whole slices\) or a multiple of 32, from 64 to 8192"
    with pytest.raises(ConfigError, match=rf"^tile={tile}: {allowed}$"):
        make_inferer(tile)


def test_a_tile_larger_than_the_slice_costs_no_more_than_the_slice() -> None:
    seen: list[tuple[int, ...]] = []
    image = torch.randn(1, 1, 64, 96)
    found = make_inferer(8192)(image, lambda part: seen.append(tuple(part.shape)) or part)
    assert torch.equal(found, image)
    assert seen == [(1, 1, 64, 96)]


def turned(image: torch.Tensor) -> torch.Tensor:
    """A network whose output depends on the orientation: each pixel plus its right neighbour."""
    return image + image.roll(-1, -1)


def test_the_average_over_flips_turns_each_output_back() -> None:
    image = torch.randn(1, 1, 6, 5)
    mean = make_inferer(average_flips=True)(image, turned)
    torch.testing.assert_close(mean, image + (image.roll(-1, -1) + image.roll(1, -1)) / 2)
    assert torch.equal(make_inferer()(image, turned), turned(image))


def test_what_an_inferer_was_made_of_is_known() -> None:
    for tile in (0, 96):
        for average_flips in (False, True):
            made = make_inferer(tile, average_flips=average_flips)
            assert described(made) == {"tile": tile, "average_flips": average_flips}
    assert described(SimpleInferer()) == {"tile": 0, "average_flips": False, "inferer": "SimpleInferer"}
