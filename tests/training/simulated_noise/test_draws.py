from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctcycle.config.methods import SimulatedNoise
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.pairs import SliceRef
from ctcycle.data.slices import StoredSlices
from ctcycle.data.store import StoredSeries
from ctcycle.training.patches.sampling import UnpairedPatches
from ctcycle.training.patches.transforms import PatchTransform
from ctcycle.training.simulated_noise import draws
from ctcycle.training.simulated_noise.draws import simulate_noise

SETTINGS = SimulatedNoise(draws=3, views=40)


def series(folder: Path, name: str = "one", tissue_hu: float = 40.0) -> StoredSeries:
    """Two slices of a noisy disc of soft tissue, as the store keeps them."""
    y, x = np.mgrid[:64, :64] - 32
    noise = np.random.default_rng(0).normal(0, 12, (2, 64, 64))
    hu = np.where(np.hypot(y, x) < 26, tissue_hu + noise, -1000.0)
    path = folder / "volumes" / f"{name}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.rint(hu).astype(np.int16))
    return StoredSeries(path, (2, 64, 64), (5.0, 5.0, 5.0), (0.0, 5.0))


def slices(folder: Path) -> StoredSlices:
    return StoredSlices({"a": series(folder)}, [SliceRef("a", 1), SliceRef("a", 0)])


def arrays(found: draws.NoiseDraws) -> NDArray[np.int16]:
    return np.stack([[noise[index] for index in range(2)] for noise in found.draws])


def test_draws_repeat_by_seed_differ_by_draw_and_have_the_level_of_a_lower_dose(tmp_path: Path) -> None:
    full = slices(tmp_path)
    found = arrays(simulate_noise(full, SETTINGS, 0, 0))
    assert found.shape == (3, 2, 64, 64)
    for file in (tmp_path / "noise").iterdir():
        file.unlink()
    assert np.array_equal(found, arrays(simulate_noise(full, SETTINGS, 0, 0)))
    assert not np.array_equal(found, arrays(simulate_noise(full, SETTINGS, 1, 0)))
    inside = np.hypot(*(np.mgrid[:64, :64] - 32)) < 18
    values = found[:, :, inside].astype(float).reshape(6, -1)
    assert np.abs(np.corrcoef(values) - np.eye(6)).max() < 0.2
    highpass = np.median(np.abs(values[:, 1:] - values[:, :-1]))
    assert 8 < highpass < 60  # of the order of sqrt(3) times 12 HU, whatever the kernel


def test_noise_is_simulated_once_and_resumed_by_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = StoredSlices(
        {"a": series(tmp_path), "b": series(tmp_path, "two", 50.0)}, [SliceRef("a", 0), SliceRef("b", 0)]
    )
    first = arrays(simulate_noise(two, SETTINGS, 0, 0))
    files = sorted((tmp_path / "noise").iterdir())
    times = [file.stat().st_mtime_ns for file in files]
    files[0].write_bytes(files[0].read_bytes()[:100])  # as after a crash of the file system
    made = []
    monkeypatch.setattr(draws, "line_integrals", lambda *args: made.append(args) or line_integrals(*args))
    line_integrals = __import__("ctcycle.simulation.low_dose_noise", fromlist=["x"]).line_integrals
    assert np.array_equal(first, arrays(simulate_noise(two, SETTINGS, 0, 0)))
    assert len(made) == 1
    assert files[1].stat().st_mtime_ns == times[1]
    with_filter = SETTINGS.model_copy(update={"calibrate": False, "level": 0.5, "filter_px": 3})
    simulate_noise(two, with_filter, 0, 0)
    assert len(made) == 1  # the filter's settings do not change the draws


def test_a_series_without_soft_tissue_keeps_the_level_of_the_photons(tmp_path: Path) -> None:
    deviations = []
    for photons in (1e5, 4e5):
        lung = StoredSlices({"a": series(tmp_path, tissue_hu=-900.0)}, [SliceRef("a", 0)] * 2)
        deviations.append(arrays(simulate_noise(lung, SETTINGS.model_copy(update={"photons": photons}), 0, 0)).std())
    assert deviations[0] == pytest.approx(2 * deviations[1], rel=0.15)


def test_noise_patches_are_cropped_and_flipped_as_their_full_dose(tmp_path: Path) -> None:
    place = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    path = tmp_path / "place.npy"
    np.save(path, np.stack([place] * 2))
    same = StoredSlices({"a": StoredSeries(path, (2, 64, 64), (1.0, 1.0, 1.0), ())}, [SliceRef("a", 0)] * 2)
    window = HUWindow(-20_000, 20_000)
    data = UnpairedPatches(same, same, PatchTransform(8, (), window), 0, noise=draws.NoiseDraws((same,)))
    signs = set()
    for index in range(12):
        sample = data[0, index]
        full = window.denormalise(sample["full_dose"]).numpy()
        noise = sample["noise"].numpy() * window.hu_per_unit
        sign = np.sign(noise).max() or -1.0
        signs.add(float(sign) if noise.min() >= 0 else -1.0)
        assert np.abs(noise) == pytest.approx(full, abs=0.01)
    assert signs == {-1.0, 1.0}
