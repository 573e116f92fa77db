"""CITATION.cff is complete and agrees with the package; cffconvert, which is no dependency, found it valid."""

from configparser import ConfigParser
from pathlib import Path

import yaml

import ctcycle

ROOT = Path(__file__).parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_what_the_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert all(CITATION[key] for key in ("message", "title", "authors"))
    assert all(
        reference["type"] and reference["title"] and reference["authors"] for reference in CITATION["references"]
    )


def test_version_and_licence_are_those_of_the_package() -> None:
    metadata = ConfigParser(interpolation=None)
    metadata.read(ROOT / "setup.cfg")
    assert (CITATION["version"], CITATION["license"]) == (ctcycle.__version__, metadata["metadata"]["license"])
