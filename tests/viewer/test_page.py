"""The page of a series, also in a headless browser with a script that moves the slider."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import dump_dom
from noisy_series import write_npy
from phantom_series import PATIENT_ID, PATIENT_NAME, write_series

from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import find_series
from ctcycle.errors import SeriesError
from ctcycle.viewer.matching import Match
from ctcycle.viewer.page import PageLimits, body_rectangle, series_page

WAIT = """
<script>
const pause = () => new Promise((done) => setTimeout(done, 20));
const until = async (ready) => { for (let n = 0; n < 20000 && !ready(); n++) await pause(); };
const data = document.body.dataset;
</script>
"""
SCRIPT = """
<script>
const seen = [], note = () => seen.push({ ...data });
(async () => {
  await until(() => data.slice);
  const slider = document.getElementById("slice");
  for (let place = 0; place <= Number(slider.max); place++) {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    await until(() => data.slice === String(place + 1));
    note();
  }
  for (const [name, width] of [["lung", "1500"], ["bone", "1800"]]) {
    document.querySelector(`input[name=preset][value=${name}]`).click();
    await until(() => data.width === width);
    note();
  }
  document.querySelector("input[name=view][value=residual]").click();
  await until(() => data.view === "residual");
  note();
  document.body.textContent = JSON.stringify(seen);
})();
</script>
"""
PATIENCE = "<script>until(() => data.slice);</script>"


def one_series(folder: Path) -> SeriesInfo:
    (info,), _skipped = find_series(folder)
    return info


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> Match:
    """Three slices of different brightness before and after."""
    root = tmp_path_factory.mktemp("scan")
    for number, name in enumerate(("before", "after")):
        write_npy(root / name, (30.0, 8.0)[number], seed=number)
        for place in (1, 2, 3):
            path = root / name / f"slice_{place}.npy"
            np.save(path, np.load(path) + np.int16(30 * place))
    return Match(one_series(root / "before"), one_series(root / "after"))


@pytest.fixture(scope="module")
def html(match: Match) -> str:
    return series_page(match, 1, PageLimits())


def test_the_page_is_one_file_that_loads_nothing(html: str) -> None:
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", html.replace('image.src = "data:', ""))
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert "default-src 'none'" in html


def test_slices_and_size_are_limited(match: Match) -> None:
    page = series_page(match, 1, PageLimits(slices=2, megabytes=1.0))
    assert len(page) < 1e6
    facts = json.loads(re.search(r"const FACTS = (.*);", page)[1])  # type: ignore[index]
    assert (facts["slices"], facts["total"]) == ([1, 3], 3)


def test_series_of_different_size_are_refused(match: Match, tmp_path: Path) -> None:
    write_npy(tmp_path / "other", 10.0, slices=2)
    with pytest.raises(SeriesError, match="its source"):
        series_page(Match(match.before, one_series(tmp_path / "other")), 1, PageLimits())


def test_no_identity_is_in_the_page(tmp_path: Path) -> None:
    for name in ("Smith_before", "Smith_after"):
        write_series(tmp_path / name)
    page = series_page(
        Match(one_series(tmp_path / "Smith_before"), one_series(tmp_path / "Smith_after")), 7, PageLimits()
    )
    for secret in (PATIENT_NAME, PATIENT_ID, "19330303", "Smith", "1.2.826", str(tmp_path)):
        assert secret not in page
    assert "Series 7" in page


def test_the_rectangle_holds_the_body_of_every_slice() -> None:
    hu = np.full((2, 200, 220), -1000.0, dtype=np.float32)
    hu[0, 60:120, 50:150] = 0
    hu[1, 80:140, 70:170] = 0
    region = body_rectangle(hu)
    assert (region.top, region.left, region.rows, region.columns) == (44, 34, 112, 152)
    assert body_rectangle(hu * 0 - 1000).rows == 200


def test_a_script_moves_the_slider(html: str, match: Match, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", WAIT + SCRIPT + "</body>"), encoding="utf-8")
    text = dump_dom(page, tmp_path / "profile")
    seen = json.loads(re.search(r"\[\{.*\}\]", text)[0])  # type: ignore[index]
    assert [one["slice"] for one in seen[:3]] == ["1", "2", "3"]
    befores, afters = ([float(one[name]) for one in seen[:3]] for name in ("before", "after"))
    for means in (befores, afters):
        assert np.diff(means) == pytest.approx([30.0, 30.0], abs=12.0)  # brighter by 30 HU each, on a curved scale
    assert [(one["width"], one["level"]) for one in seen[2:5]] == [("400", "40"), ("1500", "-600"), ("1800", "400")]
    assert seen[5]["view"] == "residual"
    assert float(seen[5]["after"]) == pytest.approx(0.0, abs=1.0)  # mean of the noise


def test_the_address_sets_slice_and_window(html: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", WAIT + PATIENCE + "</body>"), encoding="utf-8")
    text = dump_dom(page, tmp_path / "profile", "#slice=3&window=bone&view=after&wipe=20")
    body = re.search(r"<body[^>]*>", text)[0]  # type: ignore[index]
    for part in ('data-slice="3"', 'data-width="1800"', 'data-view="after"', 'data-wipe="20"'):
        assert part in body
