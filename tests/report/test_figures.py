"""Figures: whole PNG files, what is drawn in them, and no trace in matplotlib's global state."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ctcycle.report import figures
from ctcycle.report.figures import PanelRow, loss_curves, psnr_by_slice, slice_panels


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, for a look at what is in them."""
    saved: list[Figure] = []
    original = figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, path: (saved.append(figure), original(figure, path)))
    return saved


def samples(count=2):
    rng = np.random.default_rng(0)
    for number in range(count):
        full = rng.normal(40, 20, (32, 32)).astype(np.float32)
        yield PanelRow(f"slice {number}", {"low dose": full + 30, "CycleGAN": full - 7, "full dose": full})


GROUPS = {
    "adversarial": ("adversarial", "disc"),
    "cycle, identity and noise swap": ("cycle", "identity", "swap"),
    "supervised": ("supervised",),
}


def data_axes(figure):
    return [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]


def test_losses_are_drawn_in_their_groups(drawn, tmp_path):
    names = ["train/disc_full", "train/gen_cycle_low", "train/gen_identity_full", "train/gen_supervised", "train/odd"]
    loss_curves(tmp_path / "loss.png", {name: [(1, 0.5), (2, float("inf")), (3, 0.25)] for name in names}, GROUPS)
    found = {p.get_title(): [line.get_label() for line in p.lines] for p in drawn[0].axes}
    assert found == {
        "adversarial": ["train/disc_full"],
        "cycle, identity and noise swap": ["train/gen_cycle_low", "train/gen_identity_full"],
        "supervised": ["train/gen_supervised"],
        "other losses": ["train/odd"],
    }
    steps, values = drawn[0].axes[0].lines[0].get_data()
    assert steps.tolist() == [1, 2, 3]
    assert np.array_equal(values, [0.5, np.nan, 0.25], equal_nan=True)


def test_panels_show_images_and_signed_differences(drawn, tmp_path):
    slice_panels(tmp_path / "panels.png", list(samples()), hu_window=(-100.0, 200.0), difference_hu=50.0)
    grid = np.array(data_axes(drawn[0])).reshape(4, 3)
    shown, difference = grid[0, 1].images[0], grid[1, 1].images[0]
    full = next(iter(samples())).images["full dose"]
    assert np.allclose(shown.get_array(), full - 7)
    assert shown.get_clim() == (-100.0, 200.0)
    assert np.allclose(difference.get_array(), -7, atol=1e-4)
    assert difference.get_clim() == (-50.0, 50.0)
    assert all(panel.get_aspect() == 1 for panel in grid[:2, :2].ravel())
    assert "window 300 HU, level 50 HU" in drawn[0].get_supxlabel()
    assert not grid[1, 2].get_visible()


def test_slices_are_grouped_by_patient(drawn, tmp_path):
    psnr = {"input": [30.0, 40.0, 31.0, 41.0], "nlm": [32.0, 42.0, float("inf"), 43.0]}
    psnr_by_slice(tmp_path / "psnr.png", ["B", "A", "B", "A"], psnr, "hu2000")
    panel = drawn[0].axes[0]
    lines = [line.get_data() for line in panel.lines[:4]]
    assert [list(x) for x, _ in lines] == [[0, 1], [2, 3]] * 2
    assert [list(y) for _, y in lines[:3]] == [[40, 41], [30, 31], [42, 43]]
    assert np.isnan(lines[3][1][1])
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["input", "nlm"]
    assert [t.get_text() for t in panel.child_axes[0].get_xticklabels()] == ["A", "B"]
    assert "hu2000" in panel.get_title()


def test_whole_readable_files_without_pyplot(tmp_path):
    loss_curves(tmp_path / "a" / "loss.png", {"train/disc_full": [(1, 0.5)]}, GROUPS)
    slice_panels(tmp_path / "a" / "panels.png", list(samples(1)))
    psnr_by_slice(tmp_path / "a" / "psnr.png", [f"P{n // 20:02}" for n in range(400)], {"input": [30.0] * 400}, "dugan")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["loss.png", "panels.png", "psnr.png"]
    for path in (tmp_path / "a").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_nothing_to_draw_is_an_error(tmp_path):
    one, other = next(samples()), PanelRow("other", {"full dose": np.zeros((8, 8))})
    with pytest.raises(ValueError, match="no losses; give at least one"):
        loss_curves(tmp_path / "x.png", {}, GROUPS)
    with pytest.raises(ValueError, match="no samples, or different images"):
        slice_panels(tmp_path / "x.png", [])
    with pytest.raises(ValueError, match="same images"):
        slice_panels(tmp_path / "x.png", [one, other])
    with pytest.raises(ValueError, match="method nlm has 1 values for 2 slices"):
        psnr_by_slice(tmp_path / "x.png", ["A", "B"], {"nlm": [30.0]}, "hu2000")
    assert not list(tmp_path.iterdir())
