"""The report: one file that loads nothing, escapes what it is given, and holds what was found."""

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluated import content
from PIL import Image

from ctcycle.evaluation.findings import Measure
from ctcycle.evaluation.page import figures
from ctcycle.evaluation.page.content import MethodInfo, ReportContent
from ctcycle.evaluation.page.report import write_report
from ctcycle.evaluation.page.tables import _meanings

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags with attributes, texts, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def headings(self) -> list[str]:
        return [str(a["id"]) for tag, a in self.tags if tag == "section"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("evaluation")
    write_report(made, content())
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_it_loads_nothing(folder: Path, page: Page) -> None:
    text = (folder / "report.html").read_text()
    assert "http" not in text.lower()
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    assert all(str(source).startswith("data:image/png;base64,") for source in sources)
    assert len(text) < 5_000_000


def test_verdicts_come_first_and_the_best_is_on_top(page: Page) -> None:
    assert page.headings()[:2] == ["verdicts", "main-measures-by-merit"]
    titles = [text for text in page.texts if text in {"CycleGAN", "Non-local means", "Low dose as it is"}]
    assert titles[0] == "CycleGAN"
    assert "Keeps 51 % of the contrast of a 3 mm, 20 HU lesion." in page.texts
    assert any("Texture distance: good: at most 0.1; bad: more than 0.1" in text for text in page.texts)


def test_every_part_with_data_is_there(page: Page) -> None:
    assert {"slices", "worst-places", "patients", "training", "all-measures", "provenance"} < set(page.headings())
    assert any("patient P06 is an outlier" in text for text in page.texts)
    assert "Simulated patients only." in page.texts


def test_words_instead_of_code_names(page: Page) -> None:
    (alt,) = [str(a["alt"]) for tag, a in page.tags if tag == "img" and str(a["alt"]).startswith("Training")]
    assert "Training of CycleGAN" in alt
    assert figures._readable("gen_adversarial_low") == "adversarial, low dose"
    assert figures._readable("disc_full") == "discriminator, full dose"
    assert figures._readable("filter_gain") == "filter gain"


def test_measures_with_the_same_meaning_share_a_line() -> None:
    about = [
        ("Contrast kept, 3 mm, 20 HU", "Response over lesion."),
        ("Contrast kept, dot of 1 mm", "Response over lesion."),
        ("Noise removed", "In flat windows."),
        ("Slope", "Same."),
        ("Bias", "Same."),
        ("Unexplained", ""),
    ]
    measures = [Measure(f"m{n}", title, "", "higher", description) for n, (title, description) in enumerate(about)]
    assert _meanings(measures) == [
        "Contrast kept: Response over lesion.",
        "Noise removed: In flat windows.",
        "Slope; Bias: Same.",
    ]


def test_pictures_of_input_and_constants_are_left_out() -> None:
    known = content()
    (picture,) = known.pictures
    methods = (*known.methods, MethodInfo("flat", "Constant", "constant"))
    pictures = [replace(picture, method=name) for name in ("input", "nlm", "flat")]
    (grid,) = figures.worst(replace(known, methods=methods, pictures=pictures))
    assert grid.title.startswith("Non-local means")
    assert grid.small


def test_small_grids_stand_side_by_side(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    assert text.count('<div class="gallery">') == 1
    assert text.count('<div class="plots">') == 5  # one for each part with plots


def test_readers_who_see_nothing_or_no_colour(page: Page) -> None:
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    assert all(a.get("scope") in {"row", "col"} for tag, a in page.tags if tag == "th")
    assert {"+", "−"} <= set(page.texts)


def test_parts_without_data_are_absent(tmp_path: Path) -> None:
    write_report(tmp_path, ReportContent("Nothing yet", (MethodInfo("input", "Input", "input"),)))
    assert Page((tmp_path / "report.html").read_text()).headings() == []


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('$x')</script>\"><img src=q>"
    known = content()
    methods = [replace(item, title=evil) for item in known.methods]
    write_report(tmp_path, replace(known, title=evil, methods=methods, notes=(evil,)))
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert evil in page.texts
    assert all(str(a["src"]).startswith("data:") for tag, a in page.tags if tag == "img")


def test_the_same_as_files(folder: Path) -> None:
    with (folder / "measures.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    (line,) = [row for row in lines if (row["method"], row["measure"]) == ("nlm", "contrast_kept_3mm_20hu")]
    assert (line["value"], line["mark"], line["bench"]) == ("0.51", "bad", "insertion")
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"report_error_and_texture.png", "report_nps_pairs.png", "report_patients_1.png"} <= names
    windows = {f"report_slice_1_{name}.png" for name in ("soft_tissue", "lung", "bone", "magnified", "differences")}
    assert {*windows, "report_worst_1.png"} <= names
    with Image.open(folder / "figures" / "report_slice_1_soft_tissue.png") as image:
        assert image.width > 4 * 140  # four images side by side


def test_what_does_not_fit_into_the_page_is_a_file_and_soft_tissue_fits_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = content()
    two = replace(known, panels=(known.panels[0], replace(known.panels[0], slice_index=8)), pictures=())
    size = {grid.name: sum(len(png) for _, png in grid.pictures) for grid in figures.slices(two)}
    monkeypatch.setattr(figures, "MAX_PICTURE_BYTES", size["slice_1_soft_tissue"] + size["slice_2_soft_tissue"])
    write_report(tmp_path, two)
    texts = Page((tmp_path / "report.html").read_text()).texts
    assert [text for text in texts if "Patient P03" in text] == [
        f"Patient P03, slice {number}, soft tissue window" for number in (7, 8)
    ]
    assert "Left out to keep this file small: 8 more, which are in the folder figures." in texts
    assert {f"report_{name}.png" for name in size} <= {path.name for path in (tmp_path / "figures").iterdir()}
