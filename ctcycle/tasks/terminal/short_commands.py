"""Short commands for tasks whose folders are arguments: ``ctcycle inspect FOLDER...``, ``ctcycle view IN OUT``."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcycle.errors import ConfigError
from ctcycle.tasks.terminal.arguments import Once, Parser


@dataclass(frozen=True)
class ShortCommand:
    """A command that stands for a shipped config with overrides.

    Attributes:
        config: name of the shipped config.
        parser: returns the parser of its arguments.
        overrides: returns the overrides that parsed arguments stand for.
    """

    config: str
    parser: Callable[[], argparse.ArgumentParser]
    overrides: Callable[[argparse.Namespace], list[str]]


def _inspect_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ctcycle inspect",
        usage="ctcycle inspect FOLDER... [--low FOLDER] [--full FOLDER] [--out OUT] [key=value ...]",
        description="Look at folders of CT before training: series, doses, kernels, noise, pairs and copies. OUT gets "
        "a page without names of patients, and configs that train on the folders. The scans are only read.",
        epilog="The dose of a FOLDER follows from its names, or else from its noise. key=value sets keys of "
        "configs/inspect.yaml, for example slices=16.",
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="a folder of CT, searched at any depth")
    parser.add_argument("--low", action="append", type=Path, default=[], metavar="FOLDER", help="a low-dose folder")
    parser.add_argument("--full", action="append", type=Path, default=[], metavar="FOLDER", help="a full-dose folder")
    _add_out(parser, "runs/inspect")
    return parser


def _inspect_overrides(arguments: argparse.Namespace) -> list[str]:
    overrides = [text for text in arguments.folders if "=" in text and not Path(text).exists()]
    sources = [{"path": text} for text in arguments.folders if text not in overrides]
    sources += [{"path": str(path), "dose": "low_dose"} for path in arguments.low]
    sources += [{"path": str(path), "dose": "full_dose"} for path in arguments.full]
    if not sources and not any(text.startswith("sources=") for text in overrides):
        raise ConfigError("command line: no folder given; try ctcycle inspect data, or ctcycle inspect --help")
    given = [f"sources={json.dumps(sources, ensure_ascii=False)}"] if sources else []
    return [*given, *_common_overrides(arguments), *overrides]


def _view_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ctcycle view",
        usage="ctcycle view IN OUT [--out FOLDER] [key=value ...]",
        description="Write one HTML page for each series, to compare it before and after denoising: slices, window, "
        "wipe and residual. A page is one file without names, and needs no network. Not for diagnosis.",
        epilog="key=value sets keys of configs/view.yaml, for example most_slices=100.",
        allow_abbrev=False,
    )
    parser.add_argument("input", type=Path, metavar="IN", help="the input of ctcycle denoise")
    parser.add_argument("denoised", type=Path, metavar="OUT", help="its output folder")
    _add_out(parser, "OUT_view")
    parser.add_argument("more", nargs="*", default=[], metavar="key=value", help="config overrides")
    return parser


def _view_overrides(arguments: argparse.Namespace) -> list[str]:
    denoised: Path = arguments.denoised
    beside = denoised.parent / f"{denoised.name}_view" if denoised.name else Path("view")
    paths = {"input": arguments.input, "denoised": denoised, "out": arguments.out or beside}
    common = _common_overrides(argparse.Namespace(out=None, overwrite=arguments.overwrite))
    return [*(_path(key, path) for key, path in paths.items()), *common, *arguments.more]


def _add_out(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--out", action=Once, type=Path, metavar="OUT", help=f"output folder (default: {default})")
    parser.add_argument("--overwrite", action="store_const", const=True, help="replace the results of an earlier run")


def _common_overrides(arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.out is not None:
        yield _path("out", arguments.out)
    if arguments.overwrite:
        yield "overwrite=true"


def _path(key: str, path: Path) -> str:
    return f"{key}={json.dumps(str(path), ensure_ascii=False)}"


SHORT = {
    "inspect": ShortCommand("inspect", _inspect_parser, _inspect_overrides),
    "view": ShortCommand("view", _view_parser, _view_overrides),
}
"""The short commands by name."""
