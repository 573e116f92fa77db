"""Plots of the report: legends hide no labels and stay inside the figure, whatever the length of the names."""

import pytest

from ctcycle.report import plots


@pytest.mark.parametrize("height", [2.0, 4.3])
@pytest.mark.parametrize("name", ["input", "a name that is too long for two columns"])
def test_the_legend_is_below_the_label_of_the_axis(height: float, name: str) -> None:
    figure, axes = plots._figure(height)
    for number in range(6):
        axes.plot([0, 1], [0, number], label=f"{name} {number}")
    axes.set_xlabel("spatial frequency (cycles/px)")
    plots._legend(axes)
    figure.draw_without_rendering()
    legend, label = axes.get_legend().get_window_extent(), axes.xaxis.label.get_window_extent()
    assert legend.y1 <= label.y0
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
    assert legend.y0 >= 0
