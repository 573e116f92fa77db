"""The page on measures states the rules and protocols that the program uses."""

import re
from pathlib import Path

import pytest

from ctcycle.evaluation.verdict.rules import RULES, Rule
from ctcycle.metrics import PROTOCOL_NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| (\w+) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.title)
def test_a_rule_is_in_the_table(rule: Rule) -> None:
    reason = f". {rule.reason}" if rule.reason else ""
    written = [f"good: {good}; bad: {bad}{reason}" for question, title, good, bad in TABLE if title == rule.title]
    assert written == [rule.text()]


def test_every_protocol_is_listed() -> None:
    assert re.findall(r"^\| `(\w+)` \| −", PAGE, re.MULTILINE) != []
    assert {*re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)} == {*PROTOCOL_NAMES}
