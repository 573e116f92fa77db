"""Old names: taken for one release, with one line that names the new ones; or refused in one sentence."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctcycle.config import renamed
from ctcycle.config.loading import json_schema, load_config
from ctcycle.config.renamed import FILES, RENAMED, what_to_write
from ctcycle.config.strict_yaml import parse_yaml
from ctcycle.errors import ConfigError

ROOT = Path(__file__).parents[2]
HEAD = "task: train\nmethod: supervised\n"
OLD = """data:
  manifest: m.csv
  transforms:
    - {_target_: RandSpatialCrop, roi_size: [96, 96], random_size: false}
    - {_target_: RandFlip, prob: 0.5, spatial_axis: 0}
    - {_target_: RandRotate90, prob: 0.75, spatial_axes: [0, 1]}
"""
NEW = """data:
  manifest: m.csv
  patch_size: 96
  augmentations:
    - {_target_: RandFlip, prob: 0.5, spatial_axis: 0}
    - {_target_: RandRotate90, prob: 0.75, spatial_axes: [0, 1]}
"""
LINE = (
    "{where}: key 'data.transforms' is deprecated and works for this release only; "
    "use data.patch_size and data.augmentations"
)
INSTEAD = "write data.patch_size for the crop, which comes first, and data.augmentations for the other transforms"


@pytest.fixture(autouse=True)
def _every_line_is_new() -> None:
    renamed._warn.cache_clear()


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def data(path: Path, *overrides: str) -> dict[str, Any]:
    found: dict[str, Any] = load_config(path, overrides).resolved["data"]
    return found


def patches(path: Path, *overrides: str) -> tuple[object, list[str]]:
    """The size of the patches, and the augmentations by name."""
    found = data(path, *overrides)
    return found["patch_size"], [part["_target_"] for part in found["augmentations"]]


def test_old_transforms_give_the_config_of_the_new_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path, x=HEAD + NEW)
    write(tmp_path / "a", x=HEAD + OLD)
    assert load_config(tmp_path / "a" / "x.yaml").resolved == load_config(tmp_path / "x.yaml").resolved
    load_config(tmp_path / "a" / "x.yaml")
    assert caplog.messages == [LINE.format(where=f"{tmp_path / 'a' / 'x.yaml'}:5")]


@pytest.mark.parametrize(
    ("crop", "size"),
    [
        ("{_target_: RandSpatialCrop, roi_size: 80, random_size: false}", 80),
        ("{_target_: monai.transforms.RandSpatialCrop, roi_size: [64, 80], random_size: false}", [64, 80]),
        ("{_target_: RandSpatialCrop, roi_size: [64, 64]}", 64),
    ],
)
def test_the_leading_crop_is_the_patch_size(tmp_path: Path, crop: str, size: object) -> None:
    write(tmp_path, x=f"{HEAD}data: {{manifest: m.csv, transforms: [{crop}]}}")
    assert patches(tmp_path / "x.yaml") == (size, [])


@pytest.mark.parametrize(
    "value",
    [
        "[{_target_: RandFlip, prob: 0.5}, {_target_: RandSpatialCrop, roi_size: 64, random_size: false}]",
        "[{_target_: RandSpatialCrop, roi_size: 64, random_size: true}]",
        "[{_target_: RandSpatialCrop, roi_size: 64, random_center: false}]",
        "[{_target_: RandSpatialCrop}]",
        "[{_target_: CenterSpatialCrop, roi_size: 64}]",
        "[{_target_: mine.RandSpatialCrop, roi_size: 64}]",
        "[{roi_size: 64}]",
        "[{_target_: [RandSpatialCrop], roi_size: 64}]",
        "[RandSpatialCrop]",
        "[]",
        "null",
        "{0: {_target_: RandSpatialCrop, roi_size: 64}}",
    ],
)
def test_other_transforms_are_refused_in_one_sentence(
    tmp_path: Path, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, x=f"{HEAD}data:\n  manifest: m.csv\n  transforms: {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "x.yaml")
    assert str(caught.value) == f"{tmp_path / 'x.yaml'}:5: unknown key 'data.transforms'; {INSTEAD}"
    assert caplog.messages == []


def test_the_size_of_an_old_crop_is_checked_as_the_patch_size(tmp_path: Path) -> None:
    write(tmp_path, x=HEAD + OLD.replace("[96, 96]", "[96, -1]"))
    with pytest.raises(ConfigError, match=r"x\.yaml:6: data\.patch_size\[1\]: must be at least 1, got -1$"):
        load_config(tmp_path / "x.yaml")


def test_old_and_new_keys_in_one_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path, x=HEAD + OLD + "  patch_size: 64\n")
    with pytest.raises(ConfigError, match=r"unknown key 'data\.transforms'; write data\.patch_size"):
        load_config(tmp_path / "x.yaml")


def test_the_file_that_comes_last_wins_whichever_keys_it_uses(tmp_path: Path) -> None:
    write(tmp_path, new=HEAD + NEW, old=HEAD + OLD)
    crop = "{_target_: RandSpatialCrop, roi_size: 32, random_size: false}"
    write(tmp_path, old_on_new=f"base: new.yaml\ndata: {{transforms: [{crop}]}}")
    write(tmp_path, new_on_old="base: old.yaml\ndata: {patch_size: 48}")
    assert patches(tmp_path / "old_on_new.yaml") == (32, [])
    assert patches(tmp_path / "new_on_old.yaml") == (48, ["RandFlip", "RandRotate90"])
    assert patches(tmp_path / "new.yaml", f"data.transforms=[{crop}]") == (32, [])
    assert patches(tmp_path / "old_on_new.yaml", "data.patch_size=16") == (16, [])


def test_old_keys_in_the_steps_of_a_pipeline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    step = "{task: train, method: supervised, data: {manifest: m.csv, transforms: [%s]}}"
    crop = "{_target_: RandSpatialCrop, roi_size: %d, random_size: false}"
    write(tmp_path, old=HEAD + OLD)
    write(
        tmp_path,
        x=f"task: pipeline\nsteps:\n  a: {step % (crop % 32)}\n  b: {{base: old.yaml}}\n  c: {{base: old.yaml}}\n",
    )
    overrides = [f"steps.c.data.transforms=[{crop % 16}]", f"steps={{d: {step % (crop % 8)}}}"]
    steps = load_config(tmp_path / "x.yaml", overrides[:1]).resolved["steps"]
    assert [steps[name]["data"]["patch_size"] for name in "abc"] == [32, 96, 16]
    assert caplog.messages == [
        LINE.format(where=where) for where in (f"{tmp_path / 'x.yaml'}:3", f"{tmp_path / 'old.yaml'}:5", "command line")
    ]
    steps = load_config(tmp_path / "x.yaml", overrides[1:]).resolved["steps"]
    assert {name: step["data"]["patch_size"] for name, step in steps.items()} == {"d": 8}
    with pytest.raises(ConfigError, match=f"^command line: unknown key 'steps.b.data.transforms'; {INSTEAD}$"):
        load_config(tmp_path / "x.yaml", ["steps.b.data.transforms=[]"])


LOW_DOSE = "task: simulate\n{key}:\n  sources: [{{path: data/routine, dose: full_dose}}]\n"


def test_twins_are_low_dose_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path, x=LOW_DOSE.format(key="low_dose"))
    write(tmp_path / "a", x=LOW_DOSE.format(key="twins"))
    overrides = ["low_dose.views=60", "out=o"]
    found = load_config(tmp_path / "a" / "x.yaml", ["twins.views=60", "out=o"]).resolved
    assert found == load_config(tmp_path / "x.yaml", overrides).resolved
    assert found == load_config(tmp_path / "a" / "x.yaml", overrides).resolved
    assert caplog.messages == [
        f"{where}: key 'twins' is deprecated and works for this release only; use low_dose"
        for where in (f"{tmp_path / 'a' / 'x.yaml'}:2", "command line")
    ]


def test_a_step_named_like_an_old_key_keeps_its_name(tmp_path: Path) -> None:
    step = "{task: simulate, twins: {sources: [{path: data/routine}]}}"
    write(tmp_path, x=f"task: pipeline\nsteps: {{twins: {step}}}\n")
    (name, resolved), *_ = load_config(tmp_path / "x.yaml", ["steps.twins.twins.copies=2"]).resolved["steps"].items()
    assert (name, resolved["low_dose"]["copies"], "twins" in resolved) == ("twins", 2, False)


def test_both_names_of_a_key_in_one_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path, x=LOW_DOSE.format(key="low_dose") + "twins: {copies: 2}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:4: unknown key 'twins'; write low_dose$"):
        load_config(tmp_path / "x.yaml")


def test_an_old_file_name_finds_the_new_file_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, low_dose=LOW_DOSE.format(key="low_dose"), mine="base: twins.yaml\nseed: 5\n")
    old, new = tmp_path / "twins.yaml", tmp_path / "low_dose.yaml"
    loaded = load_config(old)
    assert (loaded.name, loaded.path, loaded.resolved["out"]) == ("low_dose", new, "runs/low_dose")
    assert load_config(tmp_path / "mine.yaml").resolved["low_dose"] == loaded.resolved["low_dose"]
    assert caplog.messages == [f"{old}: this file name is deprecated and works for this release only; use {new}"]


def test_a_file_with_an_old_name_is_read_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, low_dose="seed: 1", twins=LOW_DOSE.format(key="low_dose"))
    assert load_config(tmp_path / "twins.yaml").name == "twins"
    assert caplog.messages == []


def test_an_old_file_name_without_the_new_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"twins\.yaml: config not found"):
        load_config(tmp_path / "twins.yaml")


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_what_is_no_file_is_refused_as_ever(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(Path(path))


def test_the_command_line_takes_an_old_name_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ctcycle.run", "--config", "configs/twins.yaml", "--check", "twins.views=60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines() == [
        "configs/twins.yaml: this file name is deprecated and works for this release only; use configs/low_dose.yaml",
        "command line: key 'twins' is deprecated and works for this release only; use low_dose",
    ]
    assert parse_yaml(done.stdout, "stdout", numbered=False).plain()["low_dose"]["views"] == 60


def test_old_names_stand_nowhere_else() -> None:
    files = [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "ctcycle").rglob("*.py"), ROOT / "README.md"]
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.name != "renamed.py"}
    for old in (*(entry.old for entry in RENAMED), *FILES):
        assert [file for file, text in texts.items() if old in text] == []
        assert not (ROOT / "configs" / old).exists()
    assert all((ROOT / "configs" / new).exists() for new in FILES.values())


def test_a_key_that_users_chose_is_not_renamed(tmp_path: Path) -> None:
    for entry in RENAMED:
        key = entry.old.partition(".")[0]
        write(tmp_path, x=f"task: evaluate\nmanifest: m.csv\nmethods: {{{key}: runs/x}}\n")
        assert load_config(tmp_path / "x.yaml").resolved["methods"] == {key: "runs/x"}


def test_what_to_write_is_known_of_old_keys_only() -> None:
    assert what_to_write(("data", "transforms")) == what_to_write(("steps", "a", "data", "transforms")) == INSTEAD
    assert what_to_write(("data", "transform")) == what_to_write(("steps", "data", "transforms")) == ""


def test_every_old_key_is_unknown_and_every_new_one_known() -> None:
    text = str(json_schema())
    for entry in RENAMED:
        assert f"'{entry.old.rpartition('.')[2]}': {{" not in text
        assert all(f"'{name.rpartition('.')[2]}': {{" in text for name in entry.new)
