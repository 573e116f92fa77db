"""The page of all config keys, in Markdown."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctcycle.reference.schema import Schema, described_schema, task_names
from ctcycle.reference.types import default_text, type_text

_HEAD = """# Config reference

<!-- Generated from the schema by `make reference`; changes made here are lost. -->

Every key, with its type, default and meaning. A config is a YAML file with one `task`. It contains only what differs
from these defaults; `--check` prints it with all of them. Unknown keys are errors, and the message suggests the
nearest key. Paths are relative to the current folder.

- `base: FILE` merges the config onto another file, relative to this one; a list of files is merged in order.
- `key.sub=value` on the command line overrides one value; the value is YAML.
- `out` defaults to `runs/NAME`, where NAME is the file name without `.yaml`.
- In `methods`, `steps` and `results` you choose the names; null removes an entry.

Editors check and complete configs with the JSON schema in `configs/schema.json`, which `ctcycle run --schema` prints.
In VS Code with the YAML extension, put this line at the top of a config in `configs/`:

```yaml
# yaml-language-server: $schema=schema.json
```

Elsewhere, give the path of the file, relative to the config.
"""
_COLUMNS = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
_TRAIN = "Train"
_OUT = "`runs/NAME`"


def config_page() -> str:
    """Return the page in Markdown: the tasks, then their sections, each with a table of its keys."""
    schema = described_schema()
    definitions = schema["$defs"]
    tasks = task_names(schema)
    trains = [name for name in tasks if name.startswith(_TRAIN)]
    parts = [_HEAD, "## Tasks\n"]
    for name in tasks:
        if name not in trains:
            parts.append(_entry(name, _title(definitions[name]), definitions[name], definitions))
        elif name == trains[0]:
            parts += _training(trains, definitions)
    parts.append("## Sections\n")
    for name, paths in _uses(tasks, definitions).items():
        used = ", ".join(f"`{path}`" for path in paths)
        parts.append(_entry(name, f"{name}\n\nUsed in {used}.", definitions[name], definitions))
    return "\n".join(parts).rstrip("\n") + "\n"


def _training(names: Sequence[str], definitions: Mapping[str, Schema]) -> Iterator[str]:
    """Yield the keys shared by all training methods, then those of each method."""
    first, *others = (definitions[name]["properties"] for name in names)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    everywhere = {"properties": shared, "required": ["task"]}
    yield f"### `task: train`\n\nKeys of all training methods.\n\n{_table(everywhere, definitions)}"
    for name in names:
        definition = definitions[name]
        own = {key: value for key, value in definition["properties"].items() if key not in shared}
        own_definition = {**definition, "properties": own}
        yield _entry(name, f"`method: {own['method']['const']}`", own_definition, definitions)


def _title(definition: Schema) -> str:
    return f"`task: {definition['properties']['task']['const']}`"


def _entry(name: str, title: str, definition: Schema, definitions: Mapping[str, Schema]) -> str:
    text = definition.get("description", "")
    return f"### {title}\n\n{text}\n\n{_table(definition, definitions)}" if text else f"### {name}\n"


def _table(definition: Schema, definitions: Mapping[str, Schema]) -> str:
    required = set(definition.get("required", ()))
    ordered = sorted(definition["properties"].items(), key=lambda entry: entry[0] not in {"task", "method"})
    rows = [_row(key, value, definitions, required) for key, value in ordered]
    return _COLUMNS + "".join(rows)


def _row(key: str, value: Schema, definitions: Mapping[str, Schema], required: set[str]) -> str:
    section = _section(value, definitions)
    default = _OUT if key == "out" else "required" if key in required else ""
    if "default" in value:
        default = default_text(value["default"], section)
    kind = "mapping of names: any task" if key == "steps" else type_text(value)
    meaning = value.get("description") or _first_sentence(section)
    cells = (f"`{key}`", kind, default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _first_sentence(section: Schema | None) -> str:
    text = str(section.get("description", "")) if section else ""
    return text.partition(". ")[0].rstrip(".")


def _section(value: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """Return the section that a key holds, the first if there are alternatives; None if it holds something else."""
    members = [value, *value.get("oneOf", ())]
    named = (str(item["$ref"]).rpartition("/")[2] for item in members if "$ref" in item)
    return next((definitions[name] for name in named), None)


def _uses(tasks: Sequence[str], definitions: Mapping[str, Schema]) -> dict[str, list[str]]:
    """Return where each section is used, as ``train: training.watch``, in the order of first use."""
    found: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        properties = definitions[task]["properties"]
        title = properties.get("method", properties["task"])["const"]
        if title != "pipeline":
            _collect(properties, (), title, definitions, found)
    return {name: _merged(paths) for name, paths in found.items()}


def _collect(
    properties: Mapping[str, Any],
    keys: tuple[str, ...],
    title: str,
    definitions: Mapping[str, Schema],
    found: dict[str, list[str]],
) -> None:
    for key, value in properties.items():
        for name in _names(value):
            path = f"{title}: {'.'.join((*keys, key))}"
            if path not in found[name]:
                found[name].append(path)
            _collect(definitions[name].get("properties", {}), (*keys, key), title, definitions, found)


def _names(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _names(item)
    elif isinstance(part, dict):
        if "$ref" in part:
            yield str(part["$ref"]).rpartition("/")[2]
        for key, value in part.items():
            if key not in {"default", "discriminator"}:
                yield from _names(value)


def _merged(paths: Sequence[str]) -> list[str]:
    """Return paths with the tasks and methods that share them joined."""
    titles: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        title, _, keys = path.partition(": ")
        titles[keys].append(title)
    return [f"{keys}` ({', '.join(names)})" for keys, names in titles.items()]
