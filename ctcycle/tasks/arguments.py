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
"""Keys of the task `denoise` that have their place on the command line, and what they are called there."""

_NO_OPTIONS = {"task", "seed", *POSITIONAL}


class Parser(argparse.ArgumentParser):
    """Reports a bad command line like every other mistake."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage and leaving."""
        raise ConfigError(f"command line: {message}; {self.prog} --help shows what there is")


class Once(argparse.Action):
    """Refuses an option that is given again, where argparse would forget the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Store the value."""
        if getattr(namespace, self.dest) is not None:
            more = "; a run has one config, which may name another as its base" if option == "--config" else ""
            parser.error(f"{option} is given more than once{more}")
        setattr(namespace, self.dest, values)


def add_denoise_arguments(parser: argparse.ArgumentParser) -> None:
    """Add IN, OUT, and an option for every other key of the task `denoise`."""
    for name, metavar in POSITIONAL.items():
        parser.add_argument(name, metavar=metavar, type=Path, help=Denoise.model_fields[name].description)
    for name, field in Denoise.model_fields.items():
        if name not in _NO_OPTIONS:
            _add_option(parser, name, field)


def denoise_overrides(arguments: argparse.Namespace) -> Iterator[str]:
    """Return the arguments that were given as ``key=value``, paths in quotes, since a folder may be called ``1.5``."""
    for name in Denoise.model_fields:
        value = getattr(arguments, name, None)
        if isinstance(value, Path):
            yield f"{name}={json.dumps(str(value), ensure_ascii=False)}"
        elif value is not None:
            yield f"{name}={json.dumps(value) if isinstance(value, bool) else value}"


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    """Add a key of the config as an option; the config's own check judges its value."""
    option = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        parser.add_argument(option, action="store_const", const=True, help=field.description)
    elif field.annotation == bool | None:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, help=field.description)
    else:
        kind = Path if field.annotation == FilePath | None else str
        default = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(option, action=Once, type=kind, metavar="VALUE", help=f"{field.description}{default}")
