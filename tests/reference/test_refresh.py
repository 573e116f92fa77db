"""The committed reference of configs equals what the schema generates, so it cannot drift."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ctcycle.config.strict_yaml import read_yaml
from ctcycle.errors import OutputError
from ctcycle.reference.page import config_page
from ctcycle.reference.refresh import PAGE, SCHEMA, refresh
from ctcycle.reference.schema import described_schema, editor_schema, split_docstring
from ctcycle.reference.types import default_text, type_text

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
VALIDATOR = Draft202012Validator(editor_schema())


def errors(content: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(content)]


def test_the_committed_page_is_what_the_schema_generates() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == config_page(), "run `make reference`"


def test_the_committed_schema_is_what_editors_should_get() -> None:
    assert json.loads((ROOT / SCHEMA).read_text(encoding="utf-8")) == editor_schema(), "run `make reference`"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(editor_schema())


def test_a_refresh_writes_both(tmp_path: Path) -> None:
    refresh(tmp_path)
    assert (tmp_path / PAGE).read_bytes() == (ROOT / PAGE).read_bytes()
    assert (tmp_path / SCHEMA).read_bytes() == (ROOT / SCHEMA).read_bytes()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        refresh(tmp_path / "file")


def test_the_command_line_prints_the_shipped_schema() -> None:
    line = [sys.executable, "-W", "ignore", "-m", "ctcycle.run", "--schema"]
    printed = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed == (ROOT / SCHEMA).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT / "configs").as_posix())
def test_every_shipped_config_is_valid_for_editors(path: Path) -> None:
    assert errors(read_yaml(path).plain()) == []


@pytest.mark.parametrize(
    "content",
    [
        {"task": "train", "method": "cyclegan", "loss": {"cycl": 1}},
        {"base": "cyclegan.yaml", "training": {"epochs": "many"}},
        {"base": "cyclegan.yaml", "optimizer": {"lr": -1}},
        {"task": "scan", "sources": [{"dose": "low_dose"}]},
        {"task": "denoise", "input": "in", "strength": 3},
        {"task": "pipeline", "steps": {"a": {"task": "scan", "out_": "x"}}},
    ],
)
def test_editors_mark_mistakes(content: object) -> None:
    assert errors(content)


def test_editors_accept_bases_and_removed_entries() -> None:
    assert errors({"base": ["a.yaml", "b.yaml"], "methods": {"cyclegan": None}}) == []
    assert errors({"base": "demo.yaml", "steps": {"bundle": None, "cyclegan": {"base": "x.yaml"}}}) == []


def test_every_key_has_a_meaning() -> None:
    for name, definition in described_schema()["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            section = "$ref" in value or any("$ref" in item for item in value.get("oneOf", ()))
            assert value["description"] or section or key in {"task", "method"}, f"{name}.{key}"


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = config_page()
    anchors = {title.lower() for title in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= anchors


def test_attributes_of_a_docstring_become_meanings() -> None:
    text = "First ``line``.\n\nAttributes:\n    one: a thing\n        of two lines.\n    two: other, a: b.\n"
    body, meanings = split_docstring(text)
    assert (body, meanings["two"].strip()) == ("First `line`.", "other, a: b.")
    assert meanings["one"].split() == ["a", "thing", "of", "two", "lines."]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1}, "whole number ≥ 1"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}, "number > 0, ≤ 1e9"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "path or null"),
        ({"enum": ["a", ""]}, "`a` or `''`"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}]}, "list of 2: number"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/X"}}, "mapping of names: [X](#x)"),
        ({}, "any value"),
    ],
)
def test_types(schema: dict[str, object], text: str) -> None:
    assert type_text(schema) == text


def test_defaults_of_a_section_show_only_what_differs() -> None:
    section = {"properties": {"a": {"default": 1}, "b": {"default": [1.0]}}}
    assert default_text({"a": 1, "b": [0.5]}, section) == "`{b: [0.5]}`"
    assert default_text({"a": 1, "b": [1.0]}, section) == ""
    assert default_text(None, None) == "`null`"
