"""The denoiser: identity changes nothing through any format, values outside the window stay, any size is taken."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.inferers.inferer import Inferer
from numpy.typing import NDArray
from phantom_series import body_hu, stored_body, write_series

from ctcycle.components import build_generator
from ctcycle.config.components import Component
from ctcycle.ct.hounsfield import HUWindow, hu_to_mu
from ctcycle.ct.series_io import Derivation, find_series, read_series, write_corrected
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.inference.denoiser import Denoiser, resolve_device
from ctcycle.inference.inferers import make_inferer
from ctcycle.networks.specs import GeneratorSpec

CT = HUWindow()
CPU = torch.device("cpu")
WINDOWS = [HUWindow(), HUWindow(-160, 240), HUWindow(-1000, 1000, clip_upper=False, scale=4000)]


def identity(window: HUWindow = CT) -> Denoiser:
    """A network that starts as the identity, as training starts."""
    return Denoiser(build_generator(GeneratorSpec(filters=4, blocks=1, downsamplings=1)), window, CPU)


def random(window: HUWindow = CT, *, inferer: Inferer | None = None, strength: float = 1.0, **changes: Any) -> Denoiser:
    """A network that changes everything it sees."""
    spec = GeneratorSpec(**{"filters": 4, "blocks": 1, "init": "kaiming", "zero_last": False, **changes})
    torch.manual_seed(3)
    return Denoiser(build_generator(spec), window, CPU, inferer=inferer, strength=strength)


def through(source: Path, out: Path, denoiser: Denoiser) -> list[Path]:
    """Reads the series in ``source``, denoises it, writes it to ``out``; gives the files in slice order."""
    (info,), _ = find_series(source)
    series = read_series(info)
    return write_corrected(info, denoiser.correction(series.hu), out, Derivation("1", "model", "digest"))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"), [("uint16", 1.0, -1024.0), ("int16", 1.0, 0.0), ("int16", 0.5, -1000.0)]
)
def test_identity_keeps_stored_values_of_dicom(
    dtype: str, slope: float, intercept: float, window: HUWindow, tmp_path: Path
) -> None:
    stored = stored_body(3, dtype, slope, intercept)
    stored[0, :2] = -2000 - intercept if dtype == "int16" and slope == 1 else stored[0, :2]
    changes = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    write_series(tmp_path / "in", stored, changes=changes)
    written = through(tmp_path / "in", tmp_path / "out", identity(window))
    found = np.stack([pydicom.dcmread(file).pixel_array for file in written])
    assert found.dtype == stored.dtype
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_identity_keeps_npy_in_hu_and_nifti(dtype: str, tmp_path: Path) -> None:
    hu = (body_hu(3) + (0.1 if dtype != "int16" else 0)).astype(dtype)
    np.save(tmp_path / "volume.npy", hu)
    (written,) = through(tmp_path / "volume.npy", tmp_path / "out.npy", identity())
    assert_same_bits(np.load(written), hu)
    nib.Nifti1Image(hu.T, np.diag([0.7, 0.7, 3.0, 1.0])).to_filename(tmp_path / "volume.nii.gz")
    (written,) = through(tmp_path / "volume.nii.gz", tmp_path / "out.nii.gz", identity())
    assert_same_bits(np.asarray(nib.load(written).dataobj), hu.T)


def test_identity_keeps_npy_in_attenuation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mu = hu_to_mu(body_hu(3).astype(np.float64)).astype(np.float32)
    for number, image in enumerate(mu):
        np.save(tmp_path / "in" / f"{number}.npy", image)
    written = through(tmp_path / "in", tmp_path / "out", identity())
    assert_same_bits(np.stack([np.load(file) for file in written]), mu)


def assert_same_bits(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("window", WINDOWS)
def test_values_outside_the_window_stay(window: HUWindow) -> None:
    rng = np.random.default_rng(0)
    hu = rng.uniform(-2000, 3000, (2, 40, 50)).astype(np.float32)
    found = random(window)(hu)
    inside = (hu >= window.low) & ((hu <= window.high) | (not window.clip_upper))
    np.testing.assert_array_equal(found[~inside], hu[~inside])
    assert np.mean(found[inside] != hu[inside]) > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (31, 65), (33, 1), (64, 64), (3, 45, 70)])
@pytest.mark.parametrize("downsamplings", [0, 2])
def test_any_size(shape: tuple[int, ...], downsamplings: int) -> None:
    hu = np.random.default_rng(1).normal(0, 200, shape)
    denoiser = random(downsamplings=downsamplings)
    found = denoiser.correction(hu)
    assert (found.shape, found.dtype) == (shape, np.float32)
    assert np.isfinite(found).all()
    assert found.any()
    assert not identity().correction(hu).any()


def test_slices_do_not_influence_each_other() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (3, 40, 40)).astype(np.float32)
    denoiser = random()
    np.testing.assert_array_equal(denoiser(hu)[1], denoiser(hu[1]))


def test_the_correction_is_the_network_in_hu() -> None:
    window, hu = HUWindow(-200, 300), np.random.default_rng(1).uniform(-200, 300, (32, 64)).astype(np.float32)
    denoiser = random(window, downsamplings=0)
    values = torch.from_numpy((hu - 50) / 250)[None, None]
    with torch.no_grad():
        expected = denoiser.generator(values)[0, 0].numpy() * 250 + 50
    np.testing.assert_allclose(denoiser(hu), expected, atol=2e-3)


def test_padding_reaches_no_further_than_the_network_sees() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (64, 64)).astype(np.float32)
    denoiser = random(downsamplings=0, kernel=3)
    np.testing.assert_allclose(denoiser(hu[:50, :45])[:40, :35], denoiser(hu)[:40, :35], atol=1e-3)


def test_a_network_of_monai_takes_any_size_too() -> None:
    unet = Component.model_validate(
        {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}
    )
    found = Denoiser(build_generator(unet), HUWindow(), CPU).correction(np.zeros((31, 33)))
    assert found.shape == (31, 33)


def test_evaluation_mode_even_after_training() -> None:
    net = build_generator(GeneratorSpec(filters=4, blocks=1, dropout=0.5, zero_last=False)).train()
    denoiser = Denoiser(net, HUWindow(), CPU)
    hu = np.random.default_rng(1).normal(0, 200, (32, 32))
    np.testing.assert_array_equal(denoiser.correction(hu), denoiser.correction(hu))


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match=r"^device=cuda:97: not available on this machine; use auto or cpu$"):
        resolve_device("cuda:97")


NEAR: dict[str, Any] = {"downsamplings": 0, "kernel": 3}  # each pixel depends on those up to 4 px away
REACH = 4


@pytest.mark.parametrize(("tile", "bound_hu"), [(64, 1.0), (96, 0.2), (128, 0.005)])
def test_tiles_give_what_the_whole_slice_gives(tile: int, bound_hu: float) -> None:
    hu = np.random.default_rng(1).normal(0, 200, (224, 320)).astype(np.float32)
    whole, tiled = (random(inferer=inferer, **NEAR).correction(hu) for inferer in (None, make_inferer(tile)))
    assert np.abs(whole).max() > 1000
    assert 0 < np.abs(tiled - whole).max() < bound_hu


def test_tiles_of_a_network_with_downsampling_stand_on_its_grid() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (224, 320)).astype(np.float32)
    for downsamplings in (1, 2, 3):
        how = {"downsamplings": downsamplings, "kernel": 3, "blocks": 0}
        whole, tiled = (random(inferer=inferer, **how).correction(hu) for inferer in (None, make_inferer(160)))
        np.testing.assert_allclose(tiled, whole, atol=1e-3 * np.abs(whole).max())


def test_tiles_of_a_network_that_changes_nothing_change_nothing() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (100, 150)).astype(np.float32)
    for network in (identity().generator, torch.nn.Identity()):
        assert not Denoiser(network, CT, CPU, inferer=make_inferer(64)).correction(hu).any()


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (64, 65)])
def test_slices_smaller_than_a_tile(shape: tuple[int, int]) -> None:
    hu = np.random.default_rng(1).normal(0, 200, shape).astype(np.float32)
    found = random(inferer=make_inferer(64), **NEAR).correction(hu)
    assert found.shape == shape
    inner = (slice(REACH, -REACH), slice(REACH, -REACH))
    np.testing.assert_allclose(found[inner], random(**NEAR).correction(hu)[inner], atol=1)


def test_another_strength_shares_the_network_and_leaves_the_first_alone() -> None:
    hu = np.random.default_rng(0).normal(0, 100, (32, 32)).astype(np.float32)
    denoiser = random(strength=0.5)
    other = denoiser.with_strength(1.0)
    assert other.generator is denoiser.generator
    np.testing.assert_allclose(other.correction(hu), 2 * denoiser.correction(hu), rtol=1e-6)
    assert (denoiser.strength, other.strength) == (0.5, 1.0)
    with pytest.raises(ConfigError, match=r"^strength=3: must be between 0"):
        denoiser.with_strength(3)


def test_strength_scales_the_correction() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (40, 50)).astype(np.float32)
    full = random().correction(hu)
    assert not random(strength=0).correction(hu).any()
    for strength in (0.5, 2):
        np.testing.assert_allclose(random(strength=strength).correction(hu), strength * full, rtol=1e-6)
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(ConfigError, match=r"^strength=.*: must be between 0 \(no change\) and 2$"):
            random(strength=wrong)


@pytest.mark.parametrize("shape", [(32, 64), (45, 33)])
def test_uncertainty_is_the_spread_over_flips(shape: tuple[int, int]) -> None:
    hu = np.random.default_rng(1).normal(0, 200, shape).astype(np.float32)
    denoiser = random(strength=1.5)
    results = [
        denoiser(hu),
        denoiser(hu[::-1])[::-1],
        denoiser(hu[:, ::-1])[:, ::-1],
        denoiser(hu[::-1, ::-1])[::-1, ::-1],
    ]
    found = denoiser.uncertainty(hu)
    np.testing.assert_allclose(found, np.std(np.array(results, dtype=np.float64), axis=0), atol=1e-3)
    assert found.dtype == np.float32
    assert found.mean() > 1


def test_a_symmetric_network_is_certain() -> None:
    hu = np.random.default_rng(1).normal(0, 200, (64, 64)).astype(np.float32)
    smooth = Denoiser(torch.nn.AvgPool2d(3, 1, 1), CT, CPU)
    assert np.abs(smooth.correction(hu)).max() > 100
    assert smooth.uncertainty(hu).max() < 1e-3


class Greedy(torch.nn.Module):
    """Needs more memory than there is."""

    def forward(self, _image: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB")


def test_too_little_memory_is_told_in_a_sentence() -> None:
    with pytest.raises(
        SeriesError, match=r"^slices of 40 x 50 px: too large for the memory of cpu; use \(smaller\) tiles"
    ):
        Denoiser(Greedy(), CT, CPU).correction(np.zeros((40, 50)))


def test_the_average_over_flips_is_that_of_four_corrections() -> None:
    hu = body_hu(1, 64)[0, :, :64]  # needs no padding, which would be flipped, too
    single, averaged = random(), random(inferer=make_inferer(average_flips=True))
    ways = ((), (0,), (1,), (0, 1))
    expected = np.mean([np.flip(single.correction(np.flip(hu, axes)), axes) for axes in ways], axis=0)
    assert np.allclose(averaged.correction(hu), expected, atol=1e-3)
    assert np.abs(averaged.correction(hu) - single.correction(hu)).max() > 0.1
    assert np.array_equal(averaged.uncertainty(hu), single.uncertainty(hu))
    assert single.uncertainty(hu).max() > 0.1
