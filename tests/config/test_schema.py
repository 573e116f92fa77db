"""Loading a config: shipped configs are right, every mistake gets its own sentence, nothing gives a traceback."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctcycle.config.loading import LoadedConfig, json_schema, load_config
from ctcycle.config.merging import USER_KEYED
from ctcycle.config.schema import TASKS, Denoise, Pipeline, TrainCycleGAN
from ctcycle.config.strict_yaml import dotted, dump_yaml, read_yaml
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.settings import SplitSettings
from ctcycle.errors import ConfigError
from ctcycle.networks.specs import DiscriminatorSpec

STEPS_NAMED = "simulate, inspect, scan, train, sweep, evaluate, bench, denoise, view, bundle, register"
TASKS_NAMED = f"{STEPS_NAMED}, serve, pipeline"
CONFIGS = Path(__file__).parents[2] / "configs"
BASES = sorted((CONFIGS / "base").glob("*.yaml"))
"""What other configs share; not to be run."""

SHIPPED = sorted(set(CONFIGS.rglob("*.yaml")) - set(BASES))
TRAIN = """task: train
method: cyclegan
data:
  manifest: m.csv
optimizer: {lr: 2e-4, betas: [0.5, 0.999]}
loss: {cycle: 10.0}
"""
PIPELINE = """task: pipeline
seed: 3
steps:
  data: {task: simulate, simulation: {patients: 2}}
  net: {base: train.yaml, training: {epochs: 2}}
  table: {task: evaluate, manifest: m.csv, methods: {net: runs/x/net}}
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds train.yaml and pipeline.yaml, beside whatever a test writes."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "train.yaml").write_text(TRAIN)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return folder


def load(folder: Path, text: str, *overrides: str) -> LoadedConfig:
    (folder / "x.yaml").write_text(text)
    return load_config(folder / "x.yaml", overrides)


def complaints(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    assert "pydantic" not in str(caught.value).lower()
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def outcome(folder: Path, text: str, *overrides: str) -> dict[str, Any] | list[str]:
    """The resolved config, or the complaints without their places."""
    try:
        return load(folder, text, *overrides).resolved
    except ConfigError as error:
        return sorted(line.partition(": ")[2] for line in str(error).splitlines())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_config_loads_and_says_how_to_run_it(path: Path) -> None:
    loaded = load_config(path)
    assert loaded.name == path.stem
    assert loaded.resolved["task"] in TASKS
    first, *comment = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    command = f"python -m ctcycle.run --config configs/{path.relative_to(CONFIGS)}"
    assert command in first or any(command in line for line in comment)


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.name)
def test_every_base_says_that_it_cannot_be_run_and_others_build_on_it(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(task|method) is missing"):
        load_config(path)
    comment = " ".join(line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#"))
    assert "It cannot be run on its own: it has no" in comment
    others = (other.read_text() for other in {*SHIPPED, *BASES} - {path})
    assert any(re.search(rf"^base:.*\b{path.name}", text, re.MULTILINE) for text in others)


def test_configs_at_the_demos_scale_share_it() -> None:
    shared = read_yaml(CONFIGS / "base" / "small.yaml").plain()
    for name in ("small_cyclegan", "small_noise_swap", "small_supervised"):
        resolved = load_config(CONFIGS / "experiments" / f"{name}.yaml").resolved
        for keys in leaves(shared):
            value = at(shared, keys)
            assert isinstance(value, dict) or at(resolved, keys) == value


@pytest.mark.parametrize("path", [*SHIPPED, "train.yaml", "pipeline.yaml"], ids=str)
def test_the_resolved_config_gives_an_equal_config(folder: Path, path: Path) -> None:
    loaded = load_config(folder / path)
    assert json.loads(json.dumps(loaded.resolved)) == loaded.resolved
    again = load(folder, dump_yaml(loaded.resolved))
    assert again.config == loaded.config
    assert again.resolved == loaded.resolved
    assert "base" not in loaded.resolved


def test_defaults_are_filled_in_and_values_are_typed(folder: Path) -> None:
    loaded = load_config(folder / "train.yaml", ["out=o", "generator.filters=8"])
    config = loaded.config
    assert isinstance(config, TrainCycleGAN)
    assert (config.out, config.data.manifest, config.optimizer.betas) == (Path("o"), Path("m.csv"), (0.5, 0.999))
    assert loaded.resolved["generator"]["filters"] == 8
    assert loaded.resolved["training"]["epochs"] == config.training.epochs
    assert loaded.resolved["data"]["patch_size"] == 128
    assert [part["spatial_axis"] for part in loaded.resolved["data"]["augmentations"]] == [0, 1]
    assert list(loaded.resolved)[:2] == ["task", "method"]


def test_a_square_patch_is_one_number(folder: Path) -> None:
    sizes = {
        text: load_config(folder / "train.yaml", [f"data.patch_size={text}"]) for text in ("64", "[64, 64]", "[64, 96]")
    }
    assert [loaded.resolved["data"]["patch_size"] for loaded in sizes.values()] == [64, 64, [64, 96]]
    assert sizes["64"].config == sizes["[64, 64]"].config


def test_a_pipeline_shares_its_folder_and_seed(folder: Path) -> None:
    config = load_config(folder / "pipeline.yaml", ["out=o"]).config
    assert isinstance(config, Pipeline)
    assert {name: (step.out, step.seed) for name, step in config.steps.items()} == {
        name: (Path("o") / name, 3) for name in ("data", "net", "table")
    }


def test_another_target_takes_the_generators_place(folder: Path) -> None:
    text = TRAIN + "generator: {_target_: monai.networks.nets.UNet, spatial_dims: 2, channels: [4, 8]}\n"
    resolved = load(folder, text).resolved
    assert resolved["generator"] == {"_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "channels": [4, 8]}


ONE_MISTAKE = [
    ("optimizer.lr=fast", "optimizer.lr: 'fast' is not a number"),
    ("optimizer.lr=-1", "optimizer.lr: must be greater than 0, got -1"),
    ("optimizer.lr=", "optimizer.lr: null is not a number"),
    ("optimizer.lr=true", "optimizer.lr: true is not a number"),
    ("optimizer.lr='1'", "optimizer.lr: '1' is not a number"),
    ("optimizer=3", "optimizer: 3 is not a mapping of keys to values"),
    ("optimizer.betas=[0.5]", "optimizer.betas[1] is missing"),
    ("optimizer.betas=[0, 0, 0]", "optimizer.betas: has 3 items, takes at most 2"),
    ("optimizer.betas.0=1", "optimizer.betas: a mapping is not a list; write the whole list: [a, b]"),
    ("training.epochs=ten", "training.epochs: 'ten' is not a whole number"),
    ("training.epochs=1.5", "training.epochs: 1.5 is not a whole number"),
    ("training.epochs=true", "training.epochs: true is not a whole number"),
    ("seed=-1", "seed: must be at least 0, got -1"),
    ("overwrite=1", "overwrite: 1 is not true or false"),
    ("overwrite=yes", "overwrite: 'yes' is not true or false"),
    ("tracking.experiment=7", "tracking.experiment: 7 is not text; put text in quotes"),
    ("data.manifest=[a]", "data.manifest: a list is not text; put text in quotes"),
    ("data=", "data: null is not a mapping of keys to values"),
    (
        "loss.form=bec",
        "loss.form: 'bec' is not one of least_squares, bce, hinge, wgan_gp; did you mean 'bce'?",
    ),
    (
        "loss={form: wgan_gp, gradient_penalty: r1}",
        "loss: gradient_penalty=r1 with form=wgan_gp; leave gradient_penalty out, or choose another form",
    ),
    (
        "loss={form: wgan_gp, penalty_weight: 0}",
        "loss: penalty_weight=0 with form=wgan_gp; it must be greater than 0, for example 10",
    ),
    ("loss.gradient_penalty=r2", "loss.gradient_penalty: 'r2' is not one of none, r1, wgan_gp"),
    ("data.growing_patches=[{until: 1, side: 8}]", "data.growing_patches[0].until: must be less than 1, got 1"),
    (
        "data.growing_patches=[{until: 0.5, side: 64}, {until: 0.5, side: 96}]",
        "data: growing_patches: until 0.5, 0.5; each must be greater than the one before",
    ),
    (
        "data.growing_patches=[{until: 0.5, side: 256}]",
        (
            "data: growing_patches: side 256, 128, the last of which is patch_size; each must be greater than the one "
            "before"
        ),
    ),
    ("discriminator.gain=loud", "discriminator.gain: 'loud' is not a number and is not auto"),
    (
        "task=trian",
        (f"task: 'trian' is not one of {TASKS_NAMED}; did you mean 'train'?"),
    ),
    ("task=", f"task: null is not one of {TASKS_NAMED}"),
    ("task=[train]", f"task: a list is not one of {TASKS_NAMED}"),
    ("method=gan", "method: 'gan' is not one of cyclegan, supervised, noise_swap, calibrated_pairs, physics_cyclegan"),
    ("loss.cycl=1", "unknown key 'loss.cycl'; did you mean 'cycle'?"),
    ("generator.filter=1", "unknown key 'generator.filter'; did you mean 'filters'?"),
    ("lr=1", "unknown key 'lr'; did you mean 'optimizer.lr'?"),
    ("loss.epochs=1", "unknown key 'loss.epochs'; did you mean 'training.epochs'?"),
    ("tracking.zzz=1", "unknown key 'tracking.zzz'; allowed here: enabled, experiment, uri, every"),
    ("zzz.a.b=1", "unknown key 'zzz'; allowed here: out, seed, "),
    ("out=$x", "out: '$x': expressions are never evaluated, even with --trust; write the value"),
    (
        "tracking.uri='@net'",
        "tracking.uri: '@net': expressions are never evaluated, even with --trust; write the value",
    ),
    (
        "tracking.uri='%net::a'",
        "tracking.uri: '%net::a': expressions are never evaluated, even with --trust; write the value",
    ),
    (
        "tracking.uri='a/${oc.env:HOME}'",
        "tracking.uri: 'a/${oc.env:HOME}': expressions are never evaluated, even with --trust; write the value",
    ),
    ("$import=os", "key '$import': expressions are never evaluated, even with --trust; write the value"),
    (
        "data.augmentations=[{_target_: os.system, command: ls}]",
        "data.augmentations[0]._target_: 'os.system' is outside the allowed packages",
    ),
    ("data.augmentations=[{prob: 1}]", "data.augmentations[0]._target_ is missing"),
    ("data.patch_size=0", "data.patch_size: must be at least 1, got 0"),
    ("data.patch_size=", "data.patch_size: null is not a whole number"),
    ("data.patch_size=[64]", "data.patch_size[1] is missing"),
    ("data.patch_size=[64, 0]", "data.patch_size[1]: must be at least 1, got 0"),
    ("data.patch_size=[64, 64, 64]", "data.patch_size: has 3 items, takes at most 2"),
    (
        "generator={_target_: torch.nn.Sequential, a: [{b: {_target_: os.system}}]}",
        "generator.a: a '_target_' nested in the arguments of another is not supported",
    ),
]


@pytest.mark.parametrize(("override", "sentence"), ONE_MISTAKE, ids=[override for override, _ in ONE_MISTAKE])
def test_one_mistake_gives_one_sentence(folder: Path, override: str, sentence: str) -> None:
    (line,) = complaints(folder, TRAIN, override)
    lists_what_is_known = "allowed here" in line or "allowed packages" in line
    assert line.startswith(f"command line: {sentence}") if lists_what_is_known else line == f"command line: {sentence}"


def test_what_a_part_says_of_its_own_values_is_passed_on(folder: Path) -> None:
    with pytest.raises(ValueError, match="low") as window:
        HUWindow(low=5.0, high=1.0)
    with pytest.raises(ValueError, match="sigma_px") as spec:
        DiscriminatorSpec(sigma_px=-2.0)
    assert complaints(folder, TRAIN, "data.hu_window={low: 5, high: 1}", "discriminator.sigma_px=-2")[:-1] == [
        f"command line: data.hu_window: {str(window.value).removeprefix('HU window: ')}",
        f"command line: discriminator: {spec.value}",
    ]
    with pytest.raises(ValueError, match="split") as split:
        SplitSettings(val_fraction=1.5)
    (line,) = complaints(folder, "task: scan\nsources: [{path: a}]\nsplit: {val_fraction: 1.5}")
    assert line == f"x.yaml:3: {split.value}"


def test_penalties_need_patches_that_are_judged_singly(folder: Path) -> None:
    for penalty in ("loss.form=wgan_gp", "loss.gradient_penalty=r1"):
        (line,) = complaints(folder, TRAIN, penalty, "discriminator={norm: batch}")
        assert line.startswith("command line: discriminator.norm=batch with a gradient penalty (")
        assert line.endswith("but batch norm mixes the patches; choose instance, group or none")
        assert load(folder, TRAIN, penalty, "discriminator={norm: instance}").resolved["discriminator"]["spectral_norm"]


def test_patches_that_grow_are_square(folder: Path) -> None:
    (line,) = complaints(folder, TRAIN, "data={patch_size: [64, 96], growing_patches: [{until: 0.5, side: 32}]}")
    assert line.endswith("data: growing_patches with patch_size=[64, 96]; patches that grow must be square")


def test_low_dose_of_real_scans_or_simulated_patients(folder: Path) -> None:
    text = "task: simulate\nlow_dose: {sources: [{path: a}]}\n"
    assert complaints(folder, text, "low_dose.copies=0") == [
        "command line: low_dose: copies=0; it must be from 1 to 1000"
    ]
    (line,) = complaints(folder, text, "simulation.patients=3")
    assert line.endswith("simulation and low_dose are both set; set only one of them")


def test_the_empty_word_among_the_allowed_ones(folder: Path) -> None:
    (line,) = complaints(folder, "task: scan\nsources: [{path: a, dose: half}]")
    assert line == "x.yaml:2: sources[0].dose: 'half' is not one of low_dose, full_dose, empty"


@pytest.mark.parametrize(
    ("method", "key", "owners"),
    [
        ("supervised", "discriminator", "cyclegan or noise_swap or physics_cyclegan"),
        ("supervised", "data.protocol", "calibrated_pairs or cyclegan or noise_swap or physics_cyclegan"),
        ("cyclegan", "data.pairing", "supervised"),
        ("noise_swap", "loss.cycle", "cyclegan or physics_cyclegan"),
    ],
)
def test_a_key_of_another_method(folder: Path, method: str, key: str, owners: str) -> None:
    text = f"task: train\nmethod: {method}\ndata: {{manifest: m.csv}}\n"
    sentence = f"it belongs to method {owners}"
    assert complaints(folder, text, f"{key}=x") == [f"command line: unknown key '{key}'; {sentence}"]
    (folder / "other.yaml").write_text(text)
    assert complaints(folder, "task: pipeline\nsteps: {s: {base: other.yaml}}", f"steps.s.{key}=x") == [
        f"command line: unknown key 'steps.s.{key}'; {sentence}"
    ]


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = "task: train\nmethod: cyclegan\nseed: x\n\noptimizer:\n  lr: -1\n  rate: 2\ndata: {}\nout: $o\n"
    known = complaints(folder, TRAIN, "optimizer.rate=1")[0].partition("; ")[2]
    assert complaints(folder, text, "zzz=") == [
        "x.yaml:3: seed: 'x' is not a whole number",
        "x.yaml:6: optimizer.lr: must be greater than 0, got -1",
        f"x.yaml:7: unknown key 'optimizer.rate'; {known}",
        "x.yaml:8: data.manifest is missing",
        "x.yaml:9: out: '$o': expressions are never evaluated, even with --trust; write the value",
        complaints(folder, TRAIN, "zzz=")[0],
        "x.yaml: 6 errors; nothing was run",
    ]


def test_a_mistake_is_named_where_it_was_written(folder: Path) -> None:
    assert complaints(folder, "base: train.yaml\noptimizer: {lr: x}\n") == [
        "x.yaml:2: optimizer.lr: 'x' is not a number"
    ]
    (folder / "wrong.yaml").write_text(TRAIN + "seed: x\n")
    assert complaints(folder, "base: wrong.yaml\n") == ["wrong.yaml:7: seed: 'x' is not a whole number"]


def test_a_mistake_that_all_steps_inherit_is_named_once(folder: Path) -> None:
    (line,) = complaints(folder, PIPELINE.replace("seed: 3", "seed: x"))
    assert line == "x.yaml:2: seed: 'x' is not a whole number"
    (line,) = complaints(folder, PIPELINE, "out=$x")
    assert line == "command line: out: '$x': expressions are never evaluated, even with --trust; write the value"


def test_mistakes_inside_a_step(folder: Path) -> None:
    text = PIPELINE.replace("patients: 2", "patient: 2").replace("epochs: 2", "epoch: 2")
    assert complaints(folder, text)[:2] == [
        "x.yaml:4: unknown key 'steps.data.simulation.patient'; did you mean 'patients'?",
        "x.yaml:5: unknown key 'steps.net.training.epoch'; did you mean 'epochs'?",
    ]
    assert complaints(folder, PIPELINE, "steps.net.lr=1") == [
        "command line: unknown key 'steps.net.lr'; did you mean 'steps.net.optimizer.lr'?"
    ]
    assert complaints(folder, "task: pipeline\nsteps: {a: {task: pipeline}, b: {}, c: {task: train}, d: 3}") == [
        f"x.yaml:2: steps.a.task: 'pipeline' is not one of {STEPS_NAMED}",
        f"x.yaml:2: steps.b.task is missing; choose one of {STEPS_NAMED}",
        (
            "x.yaml:2: steps.c.method is missing; "
            "choose one of cyclegan, supervised, noise_swap, calibrated_pairs, physics_cyclegan"
        ),
        "x.yaml:2: steps.d: 3 is not a mapping of keys to values",
        "x.yaml: 4 errors; nothing was run",
    ]
    assert complaints(folder, PIPELINE, "steps.tabel.split=val") == [
        "command line: unknown step 'tabel'; did you mean 'table'?"
    ]
    assert complaints(folder, "task: pipeline\nsteps: {}") == ["x.yaml:2: steps: has 0 items, needs at least 1"]


def test_an_empty_list_where_something_is_needed(folder: Path) -> None:
    assert complaints(folder, "task: scan\nsources: []") == ["x.yaml:2: sources: has 0 items, needs at least 1"]
    assert complaints(folder, "task: scan\nsources: [{path: 3}]") == [
        "x.yaml:2: sources[0].path: 3 is not text; put text in quotes"
    ]


def test_another_method_does_not_drop_what_its_base_says(folder: Path) -> None:
    (line,) = complaints(folder, "base: train.yaml\nmethod: supervised\n")
    assert line == "train.yaml:6: unknown key 'loss.cycle'; it belongs to method cyclegan or physics_cyclegan"


def test_the_task_is_asked_for(folder: Path) -> None:
    assert complaints(folder, "seed: 3") == [f"x.yaml:1: task is missing; choose one of {TASKS_NAMED}"]


def test_the_schema_for_editors_knows_every_task() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["discriminator"]["mapping"]) == set(TASKS)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


ALL = {path: load_config(path).resolved for path in SHIPPED}
KEYS = [(path, keys) for path, resolved in ALL.items() for keys in leaves(resolved)]
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    st.lists(st.integers() | st.just("x"), max_size=3),
    st.dictionaries(st.sampled_from(["_target_", "a", "task", "0"]), st.integers() | st.just("x"), max_size=2),
)


def mutated(keys: tuple[str | int, ...], data: Any, how: str, value: Any) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(data)
    parent = at(changed, keys[:-1])
    if how == "retype":
        parent[keys[-1]] = value
    elif isinstance(parent, list):
        del parent[int(keys[-1])]
    else:
        old = parent.pop(keys[-1])
        if how == "rename":
            parent[f"{keys[-1]}_x"] = old
    return changed


@pytest.mark.slow
@given(st.sampled_from(KEYS), st.sampled_from(["drop", "rename", "retype"]), anything)
def test_a_changed_config_is_right_or_the_change_is_named(
    folder: Path, place: tuple[Path, tuple[str | int, ...]], how: str, value: object
) -> None:
    path, keys = place
    text = dump_yaml(mutated(keys, ALL[path], how, value))
    found = outcome(folder, text)
    if isinstance(found, list):
        assert any(part in line for part in keys[-2:] if isinstance(part, str) for line in found)
    else:
        assert outcome(folder, dump_yaml(found)) == found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_misspelt_key_is_found(folder: Path, path: Path) -> None:
    wrong = copy.deepcopy(ALL[path])
    named = []
    for keys in reversed(list(leaves(wrong))):
        parent = at(wrong, keys[:-1])
        value = parent[keys[-1]]
        holds_keys = any(isinstance(item, dict) for item in [value, *(value if isinstance(value, list) else [])])
        chosen_by_the_user = (
            isinstance(parent, list)
            or "_target_" in parent
            or keys[-2:-1] in {("methods",), ("results",), ("changelog",), ("set",), ("vary",)}
        )
        if not (holds_keys or chosen_by_the_user or keys[-1] in {"task", "method"}):
            parent[f"{keys[-1]}_x"] = parent.pop(keys[-1])
            named.append(f"unknown key '{dotted(keys)}_x'; ")
    text = "\n".join(complaints(folder, dump_yaml(wrong)))
    assert len(named) > 5
    assert [key for key in named if key not in text] == []


@pytest.mark.slow
@given(st.sampled_from([(path, keys) for path, keys in KEYS if all(isinstance(key, str) for key in keys)]), anything)
def test_an_override_does_what_editing_the_file_does(
    folder: Path, place: tuple[Path, tuple[str, ...]], value: object
) -> None:
    path, keys = place
    assume(not isinstance(value, dict) or keys[-1] not in USER_KEYED)  # which the command line gives whole
    nested = value
    for key in reversed(keys):
        nested = {key: nested}
    override = f"{'.'.join(keys)}={dump_yaml({'v': value}).partition(':')[2].strip()}"
    if isinstance(value, dict):
        override = f"{'.'.join(keys)}={json.dumps(value)}"
    (folder / "whole.yaml").write_text(dump_yaml(ALL[path]))
    edited = outcome(folder, f"base: whole.yaml\n{dump_yaml(nested)}")
    assert outcome(folder, dump_yaml(ALL[path]), override) == edited


@pytest.mark.parametrize(("value", "expected"), [("auto", "auto"), ("0.5", 0.5), ("0", 0.0), ("2", 2.0)])
def test_strength_is_a_number_or_auto(tmp_path: Path, value: str, expected: float | str) -> None:
    (tmp_path / "denoise.yaml").write_text("task: denoise\ninput: in\nout: out\n")
    loaded = load_config(tmp_path / "denoise.yaml", [f"strength={value}"])
    assert isinstance(loaded.config, Denoise)
    assert loaded.config.strength == expected
    (tmp_path / "again.yaml").write_text(dump_yaml(loaded.resolved))
    assert load_config(tmp_path / "again.yaml").config == loaded.config


@pytest.mark.parametrize(
    ("value", "complaint"),
    [("3", "must be at most 2, got 3"), ("-1", "must be at least 0, got -1"), ("much", "'much' is not a number")],
)
def test_another_strength_is_refused(tmp_path: Path, value: str, complaint: str) -> None:
    (tmp_path / "denoise.yaml").write_text("task: denoise\ninput: in\nout: out\n")
    with pytest.raises(ConfigError, match=rf"strength: .*{complaint}$"):
        load_config(tmp_path / "denoise.yaml", [f"strength={value}"])


@pytest.mark.parametrize("task", ["evaluate", "bench"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nlm", "is the name of a classical filter"),
        ("Full dose", "is the name of the reference"),
        *((name, "is not a name") for name in ("", " a", "a|b", "a\nb", "a\u202eb")),
        ("\x1b[31mred", "contains a control character"),
    ],
)
def test_names_of_methods_fit_into_tables(task: str, name: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    manifest = {"manifest": "m.csv"} if task == "evaluate" else {}
    path.write_text(dump_yaml({"task": task, "out": "x", "methods": {name: "runs/x"}, **manifest}))
    with pytest.raises(ConfigError, match=said):
        load_config(path)
