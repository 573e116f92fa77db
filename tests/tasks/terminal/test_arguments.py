"""Options of ``ctcycle denoise``: every key of the config, and values that stay what they are."""

from pathlib import Path
from typing import Any

import pytest

from ctcycle.config.loading import load_config
from ctcycle.config.schema import Denoise
from ctcycle.config.shipped import find_config
from ctcycle.errors import ConfigError
from ctcycle.tasks.terminal.arguments import Once, Parser, add_denoise_arguments, denoise_overrides


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="ctcycle denoise", allow_abbrev=False)
    add_denoise_arguments(parser)
    return parser


def config(parser: Parser, *line: str) -> Any:
    return load_config(find_config("denoise"), list(denoise_overrides(parser.parse_args(line)))).config


def test_every_key_but_the_seed_has_its_argument(parser: Parser) -> None:
    given = vars(parser.parse_args(["a", "b"]))
    assert given.keys() == Denoise.model_fields.keys() - {"task", "seed"}
    assert {key for key, value in given.items() if value is not None} == {"input", "out"}


@pytest.mark.parametrize("name", ["1.5", "a: [b", "null", "ü #x", "'q'", 'd"q', "-", "a=b"])
def test_paths_stay_what_they_are(name: str, parser: Parser) -> None:
    found = config(parser, name, "out", f"--model={name}")
    assert (found.input, found.model, found.out) == (Path(name), Path(name), Path("out"))


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        (["--average-flips"], "average_flips", True),
        (["--no-average-flips"], "average_flips", False),
        (["--keep-private"], "keep_private", True),
        (["--overwrite"], "overwrite", True),
        (["--strength", "0.5"], "strength", 0.5),
        (["--tile=96"], "tile", 96),
        (["--slice-axis", "2"], "slice_axis", 2),
        (["--device", "cuda:1"], "device", "cuda:1"),
        (["--checkpoint", "last"], "checkpoint", "last"),
    ],
)
def test_options_set_their_key_and_no_other(option: list[str], key: str, value: object, parser: Parser) -> None:
    expected = config(parser, "a", "b").model_dump() | {key: value}
    assert config(parser, "a", "b", *option).model_dump() == expected


def test_an_option_is_given_once(parser: Parser) -> None:
    parser.add_argument("--config", action=Once)
    with pytest.raises(ConfigError, match=r"^command line: --tile is given more than once; see ctcycle denoise --help"):
        parser.parse_args(["a", "b", "--tile", "64", "--tile", "64"])
    with pytest.raises(ConfigError, match="a run has one config, which may extend others with 'base'"):
        parser.parse_args(["a", "b", "--config", "x", "--config", "x"])
