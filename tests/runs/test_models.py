"""Trained denoisers: from run folders and bundle folders, and what is neither."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bundle import SPEC, bundle_config, write_bundle

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import BundleError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.runs.models import MAX_BYTES, is_bundle, load_denoiser, load_fingerprint, weights_path

HU = np.random.default_rng(0).normal(0, 100, (40, 50)).astype(np.float32)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_folder_gives_its_running_mean(tiny_run: Path, checkpoint: str) -> None:
    denoiser = load_denoiser(tiny_run, checkpoint, "cpu")
    state = torch.load(tiny_run / "checkpoints" / f"{checkpoint}.pt", weights_only=True)
    for name, value in denoiser.generator.state_dict().items():
        assert torch.equal(value, state["denoiser"][name] if checkpoint == "best" else state["ema"][f"module.{name}"])
    assert denoiser.window == HUWindow()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            shutil.rmtree,
            r"run: not a run folder \(no config\.yaml in it\); train first, or name another",
        ),
        (lambda run: (run / "config.yaml").write_text("net: x\nlr: 2"), r"run: its config\.yaml is not that of a run"),
        (lambda run: (run / "checkpoints" / "best.pt").unlink(), r"best\.pt: there is no such checkpoint; train first"),
        (
            lambda run: (run / "checkpoints" / "best.pt").write_bytes(b"x" * 99),
            r"best\.pt: damaged, or not a checkpoint",
        ),
        (
            lambda run: (run / "config.yaml").write_text(
                (run / "config.yaml").read_text().replace("filters: 4", "filters: 5")
            ),
            r"run: weights of best\.pt do not fit the generator of its config",
        ),
        (
            lambda run: (run / "config.yaml").write_text("task: scan\nsources: [{path: x}]"),
            r"run: holds a run of task 'scan'; a denoiser comes from task 'train'",
        ),
    ],
)
def test_what_is_no_run_is_told_in_a_sentence(tiny_run: Path, tmp_path: Path, spoil: Any, sentence: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    spoil(run)
    with pytest.raises(BundleError, match=sentence) as error:
        load_denoiser(run, "best", "cpu")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)


def test_a_bundle_gives_the_same_as_its_parts(tmp_path: Path) -> None:
    network = write_bundle(tmp_path / "ct")
    found = load_denoiser(tmp_path / "ct", device="cpu")
    assert (found.window, found.mu_water) == (HUWindow(-1024, 2000), 0.02)
    expected = Denoiser(network, HUWindow(-1024, 2000), torch.device("cpu"))
    np.testing.assert_array_equal(found.correction(HU), expected.correction(HU))
    assert weights_path(tmp_path / "ct") == tmp_path / "ct" / "models" / "model.pt"
    assert is_bundle(tmp_path / "ct")


def test_flips_are_averaged_as_asked_or_as_the_bundle_says(tmp_path: Path) -> None:
    write_bundle(tmp_path / "once")
    write_bundle(tmp_path / "flipped", {**bundle_config(), "average_flips": True})
    once, asked, said, refused = (
        load_denoiser(tmp_path / name, device="cpu", average_flips=asked).correction(HU)
        for name, asked in (("once", None), ("once", True), ("flipped", None), ("flipped", False))
    )
    np.testing.assert_array_equal(asked, said)
    np.testing.assert_array_equal(once, refused)
    assert np.abs(asked - once).max() > 0.5 * np.abs(once).max()


def test_strength_and_tiles_reach_the_denoiser(tiny_run: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    hu = np.tile(HU, (4, 4))
    for model in (tiny_run, tmp_path / "ct"):
        full, half, tiled = (
            load_denoiser(model, "best", "cpu", strength=strength, tile=tile).correction(hu)
            for strength, tile in ((1, 0), (0.5, 0), (1, 64))
        )
        np.testing.assert_allclose(half, full / 2, rtol=1e-6)
        assert 0 < np.abs(tiled - full).max() < 0.1 * np.abs(full).max()


def write_config(bundle: Path, text: str, encoding: str = "utf-8") -> None:
    (bundle / "configs" / "inference.json").write_text(text, encoding=encoding)


def spoil_blocks(bundle: Path, blocks: int) -> None:
    config = bundle_config()
    config["network_def"]["spec"] |= {"blocks": blocks, "dilations": [1]}
    write_config(bundle, json.dumps(config))


def spoilt(*path: str, value: Any) -> Callable[[Path], object]:
    """Changes one value of the config of a bundle."""

    def spoil(bundle: Path) -> None:
        config: dict[str, Any] = bundle_config()
        place = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (bundle / "configs" / "inference.json").write_text(json.dumps(config))

    return spoil


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


def weights(value: Any) -> Callable[[Path], object]:
    """Puts something else into the file of the weights."""
    return lambda bundle: torch.save(value, bundle / "models" / "model.pt")


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Puts something else in the place of a file."""

    def spoil(bundle: Path) -> None:
        (bundle / name).unlink()
        make(bundle / name)

    return spoil


def linked(name: str) -> Callable[[Path], object]:
    """Moves a file out of the bundle, and links to it."""

    def spoil(bundle: Path) -> None:
        (bundle / name).rename(bundle.parent / "outside")
        (bundle / name).symlink_to(Path("..", "..", "outside"))

    return spoil


REPEATED = {name: value[:0].sum().expand(value.shape) for name, value in ResNetGenerator(SPEC).state_dict().items()}
"""Tensors of the right shapes that repeat one number: as large as they like, in a small file."""

EVIL = "$__import__('pathlib').Path('evil').touch()"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoilt("network_def", "_target_", value="os.system"), r"_target_ 'os\.system', needs 'scripts\.networks\."),
        (spoilt("network_def", value=EVIL), r"inference\.json: is not as ctcycle writes it"),
        (
            spoilt("network_def", "_requires_", value=EVIL),
            r"ResNetGenerator with \['_requires_', 'spec'\], needs \['spec'\]",
        ),
        (spoilt("network_def", "spec", "filters", value=EVIL), r"filters: Input should be a valid integer"),
        (spoilt("network_def", "spec", "filters", value=4.5), r"filters: "),
        (spoilt("network_def", "spec", "filters", value=0), r"filters must be at least 1"),
        (spoilt("network_def", "spec", "wings", value=2), r"wings: "),
        (spoilt("network_def", "spec", "_target_", value="builtins.dict"), r"needs 'scripts\.networks\.specs"),
        (spoilt("hu_window", "low", value=EVIL), r"low: Input should be a valid number"),
        (spoilt("hu_window", "low", value=9999), r"low 9999\.0 is not below high"),
        (spoilt("hu_window", value=[1]), r"is not as ctcycle writes it"),
        (spoilt("mu_water", value="@other"), r"Input should be a valid number"),
        (spoilt("mu_water", value=0), r"greater than 0"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("{"), r"is not as ctcycle writes it"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("[]"), r"is not as ctcycle writes it"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("{}"), r"'network_def' is missing"),
        (lambda bundle: (bundle / "configs" / "inference.json").unlink(), r"No such file"),
        (lambda bundle: (bundle / "models" / "model.pt").unlink(), r"model\.pt: there are no such weights"),
        (lambda bundle: (bundle / "models" / "model.pt").write_bytes(b"x" * 99), r"model\.pt: damaged, or more than"),
        (weights([1]), r"model\.pt: damaged, or more than weights"),
        (weights(SPEC), r"model\.pt: damaged, or more than weights"),
        (weights({"w": HU[0, 0]}), r"model\.pt: damaged, or more"),
        (weights({"w": 1.0}), r"model\.pt: damaged, or more"),
        (weights({"w": Evil()}), r"model\.pt: damaged, or more"),
        (weights({"w": torch.eye(3).to_sparse()}), r"model\.pt: damaged, or more"),
        (weights(REPEATED), r"model\.pt: damaged, or more"),
        (weights({}), r"model\.pt: does not fit the network"),
        (spoilt("network_def", "spec", "filters", value=4), r"model\.pt: does not fit the network"),
        (spoilt("network_def", "spec", "filters", value=10**9), r"model\.pt: does not fit the network"),
        (spoilt("network_def", "spec", "filters", value=10**30), r"model\.pt: does not fit the network"),
        (spoilt("network_def", "spec", "downsamplings", value=10**9), r"model\.pt: does not fit the network"),
        (lambda bundle: spoil_blocks(bundle, 10**9), r"model\.pt: does not fit the network"),
        (linked("models/model.pt"), r"model\.pt: is a link out of the bundle; put the file itself there"),
        (linked("configs/inference.json"), r"inference\.json: is a link out of the bundle"),
        (replaced("configs/inference.json", lambda path: path.symlink_to("/dev/zero")), r"is a link out of the bundle"),
        (replaced("configs/inference.json", lambda path: path.symlink_to(path.name)), r"symbolic links"),
        (replaced("configs/inference.json", os.mkfifo), r"inference\.json: is not a file; export the bundle again"),
        (replaced("models/model.pt", os.mkfifo), r"model\.pt: is not a file; export the bundle again"),
        (lambda bundle: write_config(bundle, "[" * 500_000), r"not as ctcycle writes it \(maximum recursion depth"),
        (lambda bundle: write_config(bundle, "{" + " " * MAX_BYTES + "}"), r"\(larger than 1048576 bytes\)"),
        (lambda bundle: write_config(bundle, "\xff", "latin-1"), r"is not as ctcycle writes it"),
    ],
)
def test_of_a_bundle_only_what_ctcycle_writes_is_understood(
    spoil: Callable[[Path], object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "ct")
    spoil(tmp_path / "ct")
    with pytest.raises(BundleError, match=sentence) as error:
        load_denoiser(tmp_path / "ct", device="cpu")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evil").exists()


def test_flipped_bits_in_the_weights_are_noticed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    weights = weights_path(tmp_path / "ct")
    whole = weights.read_bytes()
    network = load_denoiser(tmp_path / "ct", device="cpu").generator
    values = whole.index(next(network.parameters()).detach().numpy().tobytes())
    flag = whole.index(b"PK\x01\x02") + 38  # of the first record in the archive's directory
    for place in (values, flag):
        content = bytearray(whole)
        content[place] ^= 16
        weights.write_bytes(content)
        with pytest.raises(BundleError, match=r"model\.pt: damaged"):
            load_denoiser(tmp_path / "ct", device="cpu")


@pytest.mark.parametrize("where", ["fingerprint.json", "configs/fingerprint.json"])
def test_the_fingerprint_of_a_model(where: str, tmp_path: Path) -> None:
    if where.startswith("configs"):
        write_bundle(tmp_path / "model")
    else:
        (tmp_path / "model").mkdir()
    assert load_fingerprint(tmp_path / "model") is None
    fingerprint = measure_fingerprint([HU])
    (tmp_path / "model" / where).write_text(json.dumps(fingerprint.as_dict()))
    assert repr(load_fingerprint(tmp_path / "model")) == repr(fingerprint)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[" * 500_000, r"is no fingerprint \(RecursionError\)"),
        ("{" + " " * MAX_BYTES + "}", r"is no fingerprint \(larger than 1048576 bytes\)"),
    ],
)
def test_a_fingerprint_that_is_made_to_do_harm(content: str, sentence: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "ct" / "configs" / "fingerprint.json").write_text(content)
    with pytest.raises(BundleError, match=sentence):
        load_fingerprint(tmp_path / "ct")


def test_a_fingerprint_outside_the_bundle_is_not_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "outside").write_text(json.dumps(measure_fingerprint([HU]).as_dict()))
    (tmp_path / "ct" / "configs" / "fingerprint.json").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=r"fingerprint\.json: is a link out of the bundle"):
        load_fingerprint(tmp_path / "ct")


def test_a_bundle_may_be_reached_by_a_link_and_hold_links_within(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "link").symlink_to("ct")
    (tmp_path / "ct" / "models" / "model.pt").rename(tmp_path / "ct" / "weights.pt")
    (tmp_path / "ct" / "models" / "model.pt").symlink_to(Path("..", "weights.pt"))
    assert load_denoiser(tmp_path / "link", device="cpu").window == HUWindow(-1024, 2000)
