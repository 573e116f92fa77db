"""Strict YAML: what it reads, what it refuses, and that what it writes it reads again."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.config.strict_yaml import dump_yaml, parse_yaml, read_yaml
from ctcycle.errors import ConfigError


def value_of(text: str) -> object:
    return parse_yaml(text, "here", numbered=True).plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2E5", 2e5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+3", 3),
        ("0", 0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("# nothing", None),
        ("'1'", "1"),
        ("123456789012345678901", 123456789012345678901.0),
    ],
)
def test_numbers_truth_and_nothing(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "No",
        "on",
        "OFF",
        "True",
        "2024-04-01",
        "1:30",
        "010",
        "0x1f",
        "0b1",
        "1_000",
        ".inf",
        ".nan",
        "1.2.840",
        "=",
    ],
)
def test_what_other_yaml_readers_turn_into_something_else_stays_text(word: str) -> None:
    assert value_of(f"a: [{word}]") == {"a": [word]}


def test_keys_are_taken_as_they_are_written() -> None:
    assert value_of("{on: 1, 1: 2, null: 3, 1.50: 4}") == {"on": 1, "1": 2, "null": 3, "1.50": 4}


def test_every_value_knows_its_line() -> None:
    node = parse_yaml("a: 1\nb:\n  c:\n  - 2\n  - d: 3\n", "x.yaml", numbered=True)
    places = {
        path: node.nearest(path).where for path in [("a",), ("b",), ("b", "c"), ("b", "c", 0), ("b", "c", 1, "d")]
    }
    assert list(places.values()) == ["x.yaml:1", "x.yaml:2", "x.yaml:3", "x.yaml:4", "x.yaml:5"]
    assert node.nearest(("b", "nothing", "deeper")).where == "x.yaml:2"


def test_plain_aliases_repeat_a_value() -> None:
    assert value_of("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "here:3: duplicate key 'a', first used at here:1"),
        ("a:\n  b: {c: 1, c: 1}", "here:2: duplicate key 'c'"),
        ("a: !!python/object/apply:os.system [ls]", "here:1: .*tags such as .*os.system are not supported"),
        ("a: !!str 1", "tags such as"),
        ("a: ! x", "tags such as"),
        ("a: 1\n<<: {b: 2}", "here:2: merge keys"),
        ("? [a]\n: 1", "here:1: found a list or a mapping as a key; keys must be text"),
        ("a: 1\nb:\n\tc: 2", "here:3: .*found a tab"),
        ("a: [1", "here:1: is not valid YAML: .*expected"),
        ("a: @x", "cannot start any token; put text with special characters in quotes"),
        ("a: 1\n---\nb: 2", "here:2: .*single document"),
        ("a: *nowhere", "undefined alias"),
        ("a: &a [*a]", "check the aliases"),
        ("a: 1e999", "here:1: the number 1e999 is too large"),
        ("a: " + "9" * 5000, "here:1: the number 9{50} is too large"),
        ('a: "\\0"', "control character"),
        ('"\\e": 1', "control character"),
        ('a: "\\ud800"', "control character"),
        ("a: \x00", "here: is not valid YAML"),
        ("[" * 100_000, "nested deeper"),
        ("a: " * 3, "here:1: is not valid YAML"),
        (BOMB, "check the aliases"),
    ],
)
def test_refused_in_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        value_of(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", b"a: 1\nb: 2", b"a: 1\rb: 2"])
def test_byte_order_mark_and_line_ends_do_not_matter(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.yaml").write_bytes(data)
    assert read_yaml(tmp_path / "x.yaml").plain() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", r"x\.yaml: the file is empty"),
        (b"# only words\n", r"x\.yaml: the file is empty"),
        (b"\n- a\n- b\n", r"x\.yaml:2: found a list; a config is a mapping of keys to values"),
        (b"task", r"x\.yaml:1: found 'task'; a config is a mapping of keys to values"),
        (b"a: \xff", r"x\.yaml: is not UTF-8"),
        (b"a" * (2**20 + 1), r"x\.yaml: is larger than 1048576 bytes"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, data: bytes, complaint: str) -> None:
    (tmp_path / "x.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=complaint):
        read_yaml(tmp_path / "x.yaml")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match="config not found"):
        read_yaml(tmp_path / "none.yaml")


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Co", "Cs"])) | st.sampled_from(
    [
        "1e-4",
        "yes",
        "true",
        "null",
        "~",
        "",
        "2024-04-01",
        "<<",
        "=",
        "0o7",
        "a: b",
        "- a",
        "#",
        "'",
        '"',
        "a\nb\n",
        "\t",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | words,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(words.filter(lambda key: key != "<<"), values, max_size=5))
def test_what_is_written_is_read_again(value: dict[str, object]) -> None:
    again = value_of(dump_yaml(value))
    assert again == value
    assert repr(again) == repr(value)  # 1 is not 1.0, and not true


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ConfigError):  # anything else would be a traceback for the user
        parse_yaml(text, "here", numbered=True)
