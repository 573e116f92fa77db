"""Config loading: all errors are reported before any heavy import or output."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ctcycle.config.merging import read_tree, with_defaults
from ctcycle.config.problems import Problem, explain, find_expressions, joined
from ctcycle.config.renamed import current_file
from ctcycle.config.schema import Config
from ctcycle.config.strict_yaml import Node
from ctcycle.errors import ConfigError


@dataclass(frozen=True)
class LoadedConfig:
    """A config that was read and validated.

    Attributes:
        config: the typed config.
        name: the run name: the file name without its suffix.
        path: the file as given, or its replacement if it was given under a deprecated name.
        resolved: the config as plain data with all defaults; `dump_yaml` of it is a config that loads to an equal
            ``config``.
    """

    config: Config
    name: str
    path: Path
    resolved: dict[str, Any]


def load_config(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read and validate a config together with its bases.

    Args:
        path: a YAML file.
        overrides: a list of ``key.sub=value``; see `ctcycle.config.merging.read_tree`.

    Raises:
        ConfigError: the config is invalid; one line per error, and a closing line if there are several.
    """
    path = current_file(path)
    config = _validate(read_tree(path, overrides), path)
    return LoadedConfig(config, path.stem, path, _resolve(config))


def task_of(path: Path) -> str | None:
    """Return the task that a config names, without validating the rest; None if it names none.

    Raises:
        ConfigError: the file or one of its bases cannot be read.
    """
    found = read_tree(current_file(path)).child("task")
    return None if found is None else str(found.plain())


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of config files, for editors."""
    return _adapter().json_schema()


_schema = cache(json_schema)


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _validate(tree: Node, path: Path) -> Config:
    problems = list(find_expressions(tree))
    tree = with_defaults(tree, path)
    try:
        # JSON mode is strict about text, numbers and booleans, yet converts lists to tuples and text to paths.
        config = _adapter().validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        refused = {problem.path for problem in problems}
        found = explain(error.errors(include_url=False), tree, _schema)
        problems += [problem for problem in found if problem.path not in refused]
    if problems:
        raise ConfigError(joined([str(problem) for problem in sorted(problems, key=_file_order)], path))
    return config


def _file_order(problem: Problem) -> tuple[bool, str, int]:
    """Return the sort key: by file and line, the command line last."""
    source, _, line = problem.where.rpartition(":")
    return (False, source, int(line)) if line.isdecimal() else (True, problem.where, 0)


def _resolve(config: Config) -> dict[str, Any]:
    data: dict[str, Any] = _adapter().dump_python(config, mode="json", by_alias=True)
    return {key: data[key] for key in ("task", "method") if key in data} | data
