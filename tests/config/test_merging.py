"""Bases, overrides and defaults: which value wins, and where it came from."""

from pathlib import Path
from typing import get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.config.merging import USER_KEYED, merge, read_tree, with_defaults
from ctcycle.config.sections import Task
from ctcycle.config.strict_yaml import Node, dump_yaml, read_yaml
from ctcycle.errors import ConfigError


def tree(value: object, where: str = "here") -> Node:
    if isinstance(value, dict):
        return Node({key: tree(item, where) for key, item in value.items()}, where)
    return Node([tree(item, where) for item in value] if isinstance(value, list) else value, where)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def merged(*values: object) -> object:
    result = tree(values[0])
    for value in values[1:]:
        result = merge(result, tree(value))
    return result.plain()


def test_mappings_merge_and_lists_are_replaced() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merged(base, {"a": {"y": [3]}, "c": None}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": None}
    assert merged(base, {"a": 5}) == {"a": 5, "b": 1}


def test_arguments_of_one_component_do_not_leak_into_another() -> None:
    unet = {"g": {"_target_": "UNet", "channels": [1, 2]}}
    assert merged(unet, {"g": {"dropout": 0.1}}) == {"g": {"_target_": "UNet", "channels": [1, 2], "dropout": 0.1}}
    assert merged(unet, {"g": {"_target_": "UNet", "act": 1}}) == {
        "g": {"_target_": "UNet", "channels": [1, 2], "act": 1}
    }
    assert merged(unet, {"g": {"_target_": "ResNet", "depth": 3}}) == {"g": {"_target_": "ResNet", "depth": 3}}
    assert merged({"g": {"filters": 3}}, {"g": {"_target_": "ResNet"}}) == {"g": {"_target_": "ResNet"}}


def test_null_takes_away_what_users_named(tmp_path: Path) -> None:
    table = {"methods": {"a": "x", "b": "y"}, "kernel": "k"}
    assert merged(table, {"methods": {"a": None}, "kernel": None}) == {"methods": {"b": "y"}, "kernel": None}
    steps = {"steps": {"one": {"methods": {"a": "x"}, "seed": 1}, "two": {}}}
    assert merged(steps, {"steps": {"one": {"methods": {"a": None}, "seed": None}, "two": None}}) == {
        "steps": {"one": {"methods": {}, "seed": None}}
    }
    assert merged(table, {"methods": {"c": None}})["methods"]["c"] is None  # type: ignore[index]
    write(tmp_path, table="methods: {a: x, b: y}", fewer="base: table.yaml\nmethods: {a: }")
    assert read_tree(tmp_path / "fewer.yaml", ["methods.c=z"]).plain() == {"methods": {"b": "y", "c": "z"}}
    assert read_tree(tmp_path / "table.yaml", ["methods.a=null", "methods.b="]).plain() == {"methods": {}}


@pytest.mark.parametrize(
    ("overrides", "value"),
    [
        (["methods={c: z}"], {"methods": {"c": "z"}, "steps": {"s": {"methods": {"a": "x"}, "l": {"methods": 1}}}}),
        (
            ["steps.s.methods={c: z}"],
            {"methods": {"a": "x"}, "steps": {"s": {"methods": {"c": "z"}, "l": {"methods": 1}}}},
        ),
        (["steps={t: {}}", "methods={}"], {"methods": {}, "steps": {"t": {}}}),
        (
            ["steps.s.l={x: 2}"],
            {"methods": {"a": "x"}, "steps": {"s": {"methods": {"a": "x"}, "l": {"methods": 1, "x": 2}}}},
        ),
    ],
)
def test_a_mapping_on_the_command_line_is_all_that_users_name(
    tmp_path: Path, overrides: list[str], value: object
) -> None:
    write(tmp_path, x="methods: {a: x}\nsteps: {s: {methods: {a: x}, l: {methods: 1}}}")
    assert read_tree(tmp_path / "x.yaml", overrides).plain() == value


leaves = st.integers() | st.lists(st.integers(), max_size=2)
any_tree = st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
# every key is always a leaf or always a mapping, as in a config that follows its schema
flat = st.fixed_dictionaries({}, optional={"x": leaves, "y": leaves})
regular = st.fixed_dictionaries(
    {}, optional={"x": leaves, "p": flat, "q": st.fixed_dictionaries({}, optional={"p": flat})}
)


@given(any_tree)
def test_merging_a_tree_with_itself_changes_nothing(value: object) -> None:
    assert merged(value, value) == value


@given(st.dictionaries(st.sampled_from("abc"), any_tree))
def test_an_empty_tree_changes_nothing(value: dict[str, object]) -> None:
    assert merged({}, value) == merged(value, {}) == value


@given(regular, regular, regular)
def test_it_does_not_matter_which_merge_is_done_first(one: object, two: object, three: object) -> None:
    assert merged(merged(one, two), three) == merged(one, merged(two, three))


@given(regular, regular)
def test_the_child_wins_and_the_base_fills_in(base: dict[str, object], child: dict[str, object]) -> None:
    both = merged(base, child)
    assert isinstance(both, dict)
    assert set(both) == set(base) | set(child)
    assert merged(both, child) == both
    if "x" in child:
        assert both["x"] == child["x"]


def test_a_chain_of_bases_relative_to_each_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, root="a: 1\nb: {x: 1, y: 1}\n", middle="base: root.yaml\nb: {x: 2}\n")
    write(tmp_path / "sub", leaf="base: ../middle.yaml\n\nb: {z: 3}\n")
    found = read_tree(tmp_path / "sub" / "leaf.yaml")
    assert found.plain() == {"a": 1, "b": {"x": 2, "y": 1, "z": 3}}
    places = [found.nearest(path).where for path in [("a",), ("b", "x"), ("b", "y"), ("b", "z")]]
    assert places == [
        f"{tmp_path}/{place}" for place in ("root.yaml:1", "middle.yaml:2", "root.yaml:2", "sub/leaf.yaml:3")
    ]


def test_of_several_bases_each_changes_those_before_it(tmp_path: Path) -> None:
    write(tmp_path, one="a: {x: 1, y: 1, z: 1}\nb: 1", two="a: {y: 2, z: 2}", three="base: two.yaml\nc: 3")
    write(tmp_path, leaf="base: [one.yaml, three.yaml]\na: {z: 4}", other="base: [three.yaml, one.yaml]")
    assert read_tree(tmp_path / "leaf.yaml").plain() == {"a": {"x": 1, "y": 2, "z": 4}, "b": 1, "c": 3}
    assert read_tree(tmp_path / "other.yaml").plain() == {"a": {"x": 1, "y": 1, "z": 1}, "b": 1, "c": 3}
    write(tmp_path, steps="steps: {s: {base: [one.yaml, two.yaml], b: 5}}")
    assert read_tree(tmp_path / "steps.yaml").plain() == {"steps": {"s": {"a": {"x": 1, "y": 2, "z": 2}, "b": 5}}}


def test_a_file_that_many_are_based_on_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, left0="a: 1", right0="b: 1")
    for level in range(1, 40):  # two to the power of 40 ways lead down
        both = f"base: [left{level - 1}.yaml, right{level - 1}.yaml]\n"
        write(tmp_path, **{f"left{level}": f"{both}a: {level}", f"right{level}": f"{both}b: {level}"})
    read: list[Path] = []
    monkeypatch.setattr("ctcycle.config.merging.read_yaml", lambda path: read.append(path) or read_yaml(path))
    assert read_tree(tmp_path / "left39.yaml").plain() == {"a": 39, "b": 38}
    assert len(read) == len(set(read)) == 79


def test_a_step_has_its_own_base(tmp_path: Path) -> None:
    write(
        tmp_path,
        one="task: t\na: {x: 1, y: 1}",
        two="steps: {s: {base: one.yaml, a: {x: 2}}, t: {b: 1}}",
        three="base: two.yaml\nsteps: {s: {a: {y: 3}}}",
    )
    steps = read_tree(tmp_path / "three.yaml").plain()["steps"]
    assert steps == {"s": {"task": "t", "a": {"x": 2, "y": 3}}, "t": {"b": 1}}


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a": "x: 1\nbase: none.yaml"}, r"a\.yaml:2: base: .*none\.yaml does not exist; give a path relative to"),
        ({"a": "base: a.yaml"}, r"a\.yaml:1: base: .*a\.yaml is itself based on this file"),
        (
            {"a": "base: b.yaml", "b": "base: c.yaml", "c": "\nbase: b.yaml"},
            r"c\.yaml:2: base: .*b\.yaml is itself based on",
        ),
        ({"a": "steps: {s: {base: a.yaml}}"}, r"a\.yaml:1: base: .*a\.yaml is itself based on this file"),
        ({"a": "base: []"}, r"a\.yaml:1: base: a list is not a file name"),
        ({"a": "base:\n  - b.yaml\n  - 3", "b": "x: 1"}, r"a\.yaml:3: base: 3 is not a file name"),
        ({"a": "base: [b.yaml, [c.yaml]]", "b": "x: 1"}, r"a\.yaml:1: base: a list is not a file name"),
        (
            {"a": "base: [b.yaml, none.yaml]", "b": "x: 1"},
            r"a\.yaml:1: base: .*none\.yaml does not exist; give a path relative to",
        ),
        ({"a": "base: [b.yaml, c.yaml]", "b": "x: 1", "c": "base: [b.yaml, a.yaml]"}, r"c\.yaml:1: base: .*a\.yaml is"),
        ({"a": "base:"}, r"a\.yaml:1: base: null is not a file name"),
        ({"a": "base: b.yaml", "b": "- 1"}, r"b\.yaml:1: found .*; a config is a mapping"),
    ],
)
def test_bases_that_lead_nowhere(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(ConfigError, match=complaint):
        read_tree(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("a.x=1e-3", {"a": {"x": 1e-3, "y": 2}}),
        ("a={x: 3, z: [1, q]}", {"a": {"x": 3, "y": 2, "z": [1, "q"]}}),
        ("a.x=", {"a": {"x": None, "y": 2}}),
        ("a.x=''", {"a": {"x": "", "y": 2}}),
        ("a.x='1'", {"a": {"x": "1", "y": 2}}),
        ("a.x=b=c", {"a": {"x": "b=c", "y": 2}}),
        ("b.c.d=yes", {"a": {"x": 1, "y": 2}, "b": {"c": {"d": "yes"}}}),
    ],
)
def test_an_override_is_a_line_in_a_file(tmp_path: Path, override: str, value: object) -> None:
    write(tmp_path, x="a: {x: 1, y: 2}")
    assert read_tree(tmp_path / "x.yaml", [override]).plain() == value


def test_the_last_override_wins_and_says_that_it_came_from_the_command_line(tmp_path: Path) -> None:
    write(tmp_path, x="a: {x: 1, y: 2}")
    found = read_tree(tmp_path / "x.yaml", ["a.x=2", "a.x=3"])
    assert found.plain() == {"a": {"x": 3, "y": 2}}
    assert found.nearest(("a", "x")).where == "command line"


@pytest.mark.parametrize("override", ["foo", "=1", ".a=1", "a.=1", "a..b=1", "", "=", "a" + ".a" * 2000 + "=1"])
def test_malformed_overrides(tmp_path: Path, override: str) -> None:
    write(tmp_path, x="a: 1")
    with pytest.raises(ConfigError, match=r"^command line: .* is not of the form key\.sub=value$"):
        read_tree(tmp_path / "x.yaml", [override])


def test_all_malformed_overrides_are_named(tmp_path: Path) -> None:
    write(tmp_path, x="a: 1")
    with pytest.raises(ConfigError) as caught:
        read_tree(tmp_path / "x.yaml", ["a", "a=2", "b", "base=c"])
    assert str(caught.value).splitlines() == [
        "command line: 'a' is not of the form key.sub=value",
        "command line: 'b' is not of the form key.sub=value",
        "command line: base can only be set in a file; choose the config with --config",
        f"{tmp_path / 'x.yaml'}: 3 errors; nothing was run",
    ]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("a=[1", r"command line: is not valid YAML: .*\(in 'a=\[1'\)"),
        ("a=!!python/none x", "tags such as"),
        ("base=b.yaml", "base can only be set in a file"),
        ("steps.x.base=b.yaml", "base can only be set in a file"),
    ],
)
def test_overrides_that_are_refused(tmp_path: Path, override: str, complaint: str) -> None:
    write(tmp_path, x="a: 1")
    with pytest.raises(ConfigError, match=complaint):
        read_tree(tmp_path / "x.yaml", [override])


def test_the_folder_of_a_run_follows_from_the_name_and_steps_lie_inside() -> None:
    path = Path("configs/my.demo.yaml")
    assert with_defaults(tree({"task": "scan"}), path).plain() == {"out": "runs/my.demo", "task": "scan"}
    steps = {"a": {"seed": 5}, "b": {"out": "elsewhere"}, "c": 1}
    assert with_defaults(tree({"out": "o", "seed": 3, "overwrite": True, "steps": steps}), path).plain()["steps"] == {
        "a": {"out": "o/a", "seed": 5, "overwrite": True},
        "b": {"out": "elsewhere", "seed": 3, "overwrite": True},
        "c": 1,
    }
    assert with_defaults(tree({"steps": {"a": {}}}), path).plain()["steps"] == {"a": {"out": "runs/my.demo/a"}}


@given(any_tree.filter(lambda value: isinstance(value, dict)))
def test_defaults_are_filled_in_once(value: object) -> None:
    path = Path("x.yaml")
    once = with_defaults(tree(value), path)
    assert with_defaults(once, path).plain() == once.plain()
    assert dump_yaml(once.plain())


def test_all_mappings_with_keys_of_the_user_are_known() -> None:
    fields = {name: field for task in Task.__subclasses__() for name, field in task.model_fields.items()}
    assert {name for name, field in fields.items() if get_origin(field.annotation) is dict} == USER_KEYED
