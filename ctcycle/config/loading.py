"""Reading a config: every mistake is named before anything heavy is imported or any output is made."""

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
    """A config that was read and found right.

    Attributes:
        config: the typed config.
        name: of the run: the file's name without its ending.
        path: the file, as it was given; the current one, if it was given under an old name.
        resolved: the config as plain data, every default filled in; `dump_yaml` of it is a config that gives an equal
            ``config``.
    """

    config: Config
    name: str
    path: Path
    resolved: dict[str, Any]


def load_config(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Reads and checks a config with what it is based on.

    Args:
        path: a YAML file.
        overrides: ``key.sub=value`` each; see `ctcycle.config.merging.read_tree`.

    Raises:
        ConfigError: with a line for each mistake, and a closing line if there are several.
    """
    path = current_file(path)
    config = _validate(read_tree(path, overrides), path)
    return LoadedConfig(config, path.stem, path, _resolve(config))


def json_schema() -> dict[str, Any]:
    """The JSON schema of a config file, for editors."""
    return _adapter().json_schema()


_schema = cache(json_schema)


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _validate(tree: Node, path: Path) -> Config:
    problems = list(find_expressions(tree))
    tree = with_defaults(tree, path)
    try:
        # JSON mode is strict about words, numbers and booleans, and yet makes tuples of lists and paths of words.
        config = _adapter().validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        refused = {problem.path for problem in problems}
        found = explain(error.errors(include_url=False), tree, _schema)
        problems += [problem for problem in found if problem.path not in refused]
    if problems:
        raise ConfigError(joined([str(problem) for problem in sorted(problems, key=_place)], path))
    return config


def _place(problem: Problem) -> tuple[bool, str, int]:
    """Files in the order of their lines, then the command line."""
    source, _, line = problem.where.rpartition(":")
    return (False, source, int(line)) if line.isdecimal() else (True, problem.where, 0)


def _resolve(config: Config) -> dict[str, Any]:
    data: dict[str, Any] = _adapter().dump_python(config, mode="json", by_alias=True)
    return {key: data[key] for key in ("task", "method") if key in data} | data
