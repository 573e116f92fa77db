"""The report: one file that loads nothing, escapes what it is given, and holds what was found."""

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluated import content

from ctcycle.evaluation.page.content import MethodInfo, ReportContent
from ctcycle.evaluation.page.report import write_report

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
