"""No version that we install or allow is one that an advisory names.

``known_vulnerabilities.csv`` lists advisories of what we need, direct and indirect. An identifier that begins with CVE
is explained at nvd.nist.gov/vuln/detail/IDENTIFIER, one that begins with PYSEC at osv.dev/vulnerability/IDENTIFIER. The
list is kept by hand, and is not complete: ``pip-audit`` asks for all that is known, where there is a network.
"""

import csv
import re
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Advisory:
    """A line of the list."""

    package: str
    affected: SpecifierSet
    name: str

    def finds(self, requirement: Requirement) -> bool:
        """Whether a requirement allows an affected version.

        Both are ranges. Two ranges have something in common where the lower end of one lies in the other.
        """
        if canonicalize_name(requirement.name) != self.package:
            return False
        ends = [
            "0",
            *(part.version for part in [*requirement.specifier, *self.affected] if part.operator in {">=", "=="}),
        ]
        return any(requirement.specifier.contains(end, True) and self.affected.contains(end, True) for end in ends)


def read_advisories() -> list[Advisory]:
    with (ROOT / "tests" / "known_vulnerabilities.csv").open(newline="") as stream:
        return [
            Advisory(row["package"], SpecifierSet(row["affected"]), row["advisory"]) for row in csv.DictReader(stream)
        ]


def read_requirements() -> list[Requirement]:
    """What setup.cfg asks for, extras included."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = [line.strip() for text in lists for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def read_pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


ADVISORIES = read_advisories()
REQUIREMENTS = read_requirements()
PINS = read_pins()


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_setup_cfg_allows_no_version_with_an_advisory(requirement: Requirement) -> None:
    assert [advisory.name for advisory in ADVISORIES if advisory.finds(requirement)] == []


@pytest.mark.parametrize("pin", PINS, ids=str)
def test_no_pinned_version_has_an_advisory(pin: Requirement) -> None:
    assert [advisory.name for advisory in ADVISORIES if advisory.finds(pin)] == []


@pytest.mark.parametrize("package", sorted({advisory.package for advisory in ADVISORIES}))
def test_no_installed_version_has_an_advisory(package: str) -> None:
    try:
        installed = Requirement(f"{package}=={version(package)}")
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    assert [advisory.name for advisory in ADVISORIES if advisory.finds(installed)] == []


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        ("torch>=2.9", {"CVE-2026-24747", "CVE-2026-4538"}),
        ("torch>=2.10", {"CVE-2026-4538"}),
        ("torch>=2.10.1", set()),
        ("monai>=1.6.0,<1.7", {"PYSEC-2026-4017", "CVE-2026-109360", "CVE-2026-109361"}),
        ("monai==1.6.1", set()),
        ("pillow>=11,<11.2", {"CVE-2026-25990", "CVE-2026-40192", "CVE-2026-59205"}),
        ("Pillow>=11,<12", {"CVE-2025-48379", "CVE-2026-25990", "CVE-2026-40192", "CVE-2026-59205"}),
        ("pydicom>=3.0.1,<4", {"CVE-2026-32711"}),
        ("pydicom>=2.4.5,<3", set()),
        ("tqdm", {"CVE-2024-34062"}),
        ("torchvision>=0.1", set()),
    ],
)
def test_the_comparison_finds_what_two_ranges_have_in_common(requirement: str, found: set[str]) -> None:
    assert {advisory.name for advisory in ADVISORIES if advisory.finds(Requirement(requirement))} == found


def test_the_list_is_what_the_comparison_understands() -> None:
    assert all(re.fullmatch(r"CVE-\d{4}-\d+|PYSEC-\d{4}-\d+", advisory.name) for advisory in ADVISORIES)
    assert all(part.operator in {">=", "<", "<="} for advisory in ADVISORIES for part in advisory.affected)
    assert all(part.operator in {">=", "<"} for requirement in REQUIREMENTS for part in requirement.specifier)
    assert {advisory.package for advisory in ADVISORIES} <= names(PINS)
    assert all(canonicalize_name(advisory.package) == advisory.package for advisory in ADVISORIES)


def test_everything_that_setup_cfg_asks_for_is_pinned() -> None:
    assert names(REQUIREMENTS) <= names(PINS)
