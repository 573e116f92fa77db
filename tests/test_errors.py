"""Text of messages: nothing that could control a terminal, and no second line where one is meant."""

import pytest

from ctcycle.errors import is_text, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("größer → 山田", "größer → 山田"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x08\r\x7f\x85\x9b", r"\x00\x08\x0d\x7f\x85\x9b"),
        ("\u202e\u2066\u2028", r"\u202e\u2066\u2028"),
        ("B\udce4uche \ud800", r"B\xe4uche \ud800"),
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert one_line(text) == shown.replace("\n", r"\n")


def test_names_that_are_not_utf_8_are_no_text() -> None:
    assert is_text("Bäuche\x1b")
    assert not is_text(b"B\xe4uche".decode(errors="surrogateescape"))
