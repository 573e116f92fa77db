"""Arguments of the command line: parsers that raise ConfigError, and the options of ``ctcycle denoise``."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pydantic.fields import FieldInfo

from ctcycle.config.schema import Denoise
from ctcycle.config.sections import FilePath
from ctcycle.errors import ConfigError

POSITIONAL = {"input": "IN", "out": "OUT"}
"""Keys of the task `denoise` that are positional arguments, and their names in the usage."""

_NO_OPTIONS = {"task", "seed", *POSITIONAL}


class Parser(argparse.ArgumentParser):
    """Argument parser that reports errors as `ConfigError`."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage and exiting."""
        raise ConfigError(f"command line: {message}; see {self.prog} --help")


class Once(argparse.Action):
    """Refuses a repeated option; argparse would silently use the last one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Store the value."""
        if getattr(namespace, self.dest) is not None:
            more = "; a run has one config, which may extend others with 'base'" if option == "--config" else ""
            parser.error(f"{option} is given more than once{more}")
        setattr(namespace, self.dest, values)


def _path(text: str) -> Path:
    """Return text as a path; an empty one, as of a variable that a shell script did not set, is not the current folder.

    Raises:
        argparse.ArgumentTypeError: the text is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; '.' is the current folder")
    return Path(text)


def add_denoise_arguments(parser: argparse.ArgumentParser) -> None:
    """Add IN, OUT, and an option for each other key of the task `denoise`."""
    for name, metavar in POSITIONAL.items():
        parser.add_argument(name, metavar=metavar, type=_path, help=Denoise.model_fields[name].description)
    for name, field in Denoise.model_fields.items():
        if name not in _NO_OPTIONS:
            _add_option(parser, name, field)


def denoise_overrides(arguments: argparse.Namespace) -> Iterator[str]:
    """Return the given arguments as ``key=value``; paths are quoted, since a folder may be named ``1.5``."""
    for name in Denoise.model_fields:
        value = getattr(arguments, name, None)
        if isinstance(value, Path):
            yield f"{name}={json.dumps(str(value), ensure_ascii=False)}"
        elif value is not None:
            yield f"{name}={json.dumps(value) if isinstance(value, bool) else value}"


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    """Add a config key as an option; its value is validated with the config."""
    option = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        parser.add_argument(option, action="store_const", const=True, help=field.description)
    elif field.annotation == bool | None:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, help=field.description)
    else:
        kind = _path if field.annotation == FilePath | None else str
        default = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(option, action=Once, type=kind, metavar="VALUE", help=f"{field.description}{default}")
