"""Bundles are read as data: nothing in them is run, and what ctcycle did not write is refused in a sentence."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bundle import SPEC, bundle_config, write_bundle
from tiny_data import assert_same

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.runs.bundle_folder import (
    BundleFacts,
    bundle_weights,
    is_bundle,
    load_bundle_generator,
    read_bundle_facts,
    read_bundle_fingerprint,
)
from ctcycle.runs.fingerprints import MAX_BYTES
from ctcycle.runs.models import load_model

HU = np.random.default_rng(0).normal(0, 100, (40, 50)).astype(np.float32)


def test_a_bundle_is_known_by_its_metadata(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    assert is_bundle(tmp_path / "ct")
    assert not is_bundle(tmp_path)


def test_what_a_bundle_says_of_its_model(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    assert read_bundle_facts(tmp_path / "ct") == BundleFacts(SPEC, HUWindow(-1024, 2000), 0.02, False, False)
    write_bundle(
        tmp_path / "more", {**bundle_config(), "fingerprint": "configs/fingerprint.json", "average_flips": True}
    )
    assert read_bundle_facts(tmp_path / "more") == BundleFacts(SPEC, HUWindow(-1024, 2000), 0.02, True, True)


def test_weights_are_those_of_the_network(tmp_path: Path) -> None:
    network = write_bundle(tmp_path / "ct")
    found = load_bundle_generator(tmp_path / "ct", SPEC)
    assert_same(found.state_dict(), network.state_dict())
    with pytest.raises(BundleError, match=r"model\.pt: weights do not fit the network in inference\.json"):
        load_bundle_generator(tmp_path / "ct", replace(SPEC, filters=4))


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


def _spoil_weights(bundle: Path) -> None:
    """Makes one of the weights infinite."""
    path = bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    next(iter(state.values())).view(-1)[0] = torch.inf
    torch.save(state, path)


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
        (spoilt("network_def", "_target_", value="os.system"), r"_target_ is 'os\.system', not 'scripts\.networks\."),
        (spoilt("network_def", value=EVIL), r"inference\.json: not a config written by ctcycle"),
        (
            spoilt("network_def", "_requires_", value=EVIL),
            r"ResNetGenerator are \['_requires_', 'spec'\], not \['spec'\]",
        ),
        (spoilt("network_def", "spec", "filters", value=EVIL), r"filters: Input should be a valid integer"),
        (spoilt("network_def", "spec", "filters", value=4.5), r"filters: "),
        (spoilt("network_def", "spec", "filters", value=0), r"filters must be at least 1"),
        (spoilt("network_def", "spec", "wings", value=2), r"wings: "),
        (spoilt("network_def", "spec", "_target_", value="builtins.dict"), r"not 'scripts\.networks\.specs"),
        (spoilt("hu_window", "low", value=EVIL), r"low: Input should be a valid number"),
        (spoilt("hu_window", "low", value=9999), r"low=9999\.0, high=.* low < high"),
        (spoilt("hu_window", value=[1]), r"not a config written by ctcycle"),
        (spoilt("mu_water", value="@other"), r"Input should be a valid number"),
        (spoilt("mu_water", value=0), r"greater than 0"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("{"), r"not a config written by ctcycle"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("[]"), r"not a config written by ctcycle"),
        (lambda bundle: (bundle / "configs" / "inference.json").write_text("{}"), r"'network_def' is missing"),
        (lambda bundle: (bundle / "configs" / "inference.json").unlink(), r"No such file"),
        (lambda bundle: (bundle / "models" / "model.pt").unlink(), r"model\.pt: the weights are missing"),
        (
            lambda bundle: (bundle / "models" / "model.pt").write_bytes(b"x" * 99),
            r"model\.pt: damaged, or contains more than",
        ),
        (weights([1]), r"model\.pt: damaged, or contains more than weights"),
        (weights(SPEC), r"model\.pt: damaged, or contains more than weights"),
        (weights({"w": HU[0, 0]}), r"model\.pt: damaged, or contains more"),
        (weights({"w": 1.0}), r"model\.pt: damaged, or contains more"),
        (weights({"w": Evil()}), r"model\.pt: damaged, or contains more"),
        (weights({"w": torch.eye(3).to_sparse()}), r"model\.pt: damaged, or contains more"),
        (weights(REPEATED), r"model\.pt: damaged, or contains more"),
        (_spoil_weights, r"model\.pt: weights contain NaN or infinity"),
        (weights({}), r"model\.pt: weights do not fit the network"),
        (spoilt("network_def", "spec", "filters", value=4), r"model\.pt: weights do not fit the network"),
        (spoilt("network_def", "spec", "filters", value=10**9), r"inference\.json: not a config written by ctcycle"),
        (spoilt("network_def", "spec", "filters", value=10**30), r"inference\.json: not a config written by ctcycle"),
        (
            spoilt("network_def", "spec", "downsamplings", value=10**9),
            r"inference\.json: not a config written by ctcycle",
        ),
        (lambda bundle: spoil_blocks(bundle, 10**9), r"inference\.json: not a config written by ctcycle"),
        (linked("models/model.pt"), r"model\.pt: is a link to outside the bundle; replace it with the file itself"),
        (linked("configs/inference.json"), r"inference\.json: is a link to outside the bundle"),
        (
            replaced("configs/inference.json", lambda path: path.symlink_to("/dev/zero")),
            r"is a link to outside the bundle",
        ),
        (replaced("configs/inference.json", lambda path: path.symlink_to(path.name)), r"symbolic links"),
        (replaced("configs/inference.json", os.mkfifo), r"inference\.json: is not a file; export the bundle again"),
        (replaced("models/model.pt", os.mkfifo), r"model\.pt: is not a file; export the bundle again"),
        (
            lambda bundle: write_config(bundle, "[" * 500_000),
            r"not a config written by ctcycle \(maximum recursion depth",
        ),
        (lambda bundle: write_config(bundle, "{" + " " * MAX_BYTES + "}"), r"\(larger than 1048576 bytes\)"),
        (lambda bundle: write_config(bundle, "\xff", "latin-1"), r"not a config written by ctcycle"),
    ],
)
def test_of_a_bundle_only_what_ctcycle_writes_is_understood(
    spoil: Callable[[Path], object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "ct")
    spoil(tmp_path / "ct")
    with pytest.raises(BundleError, match=sentence) as error:
        load_model(tmp_path / "ct", device="cpu")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evil").exists()


def test_flipped_bits_in_the_weights_are_noticed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    weights = bundle_weights(tmp_path / "ct")
    whole = weights.read_bytes()
    network = load_model(tmp_path / "ct", device="cpu").generator
    values = whole.index(next(network.parameters()).detach().numpy().tobytes())
    flag = whole.index(b"PK\x01\x02") + 38  # of the first record in the archive's directory
    for place in (values, flag):
        content = bytearray(whole)
        content[place] ^= 16
        weights.write_bytes(content)
        with pytest.raises(BundleError, match=r"model\.pt: damaged"):
            load_model(tmp_path / "ct", device="cpu")


def test_the_fingerprint_of_a_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    assert read_bundle_fingerprint(tmp_path / "ct") is None
    fingerprint = measure_fingerprint([HU])
    (tmp_path / "ct" / "configs" / "fingerprint.json").write_text(json.dumps(fingerprint.as_dict()))
    assert repr(read_bundle_fingerprint(tmp_path / "ct")) == repr(fingerprint)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[" * 500_000, r"not a fingerprint \(RecursionError\)"),
        ("{" + " " * MAX_BYTES + "}", r"not a fingerprint \(larger than 1048576 bytes\)"),
    ],
)
def test_a_fingerprint_that_is_made_to_do_harm(content: str, sentence: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "ct" / "configs" / "fingerprint.json").write_text(content)
    with pytest.raises(BundleError, match=sentence):
        load_model(tmp_path / "ct", device="cpu")


def test_a_fingerprint_outside_the_bundle_is_not_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "outside").write_text(json.dumps(measure_fingerprint([HU]).as_dict()))
    (tmp_path / "ct" / "configs" / "fingerprint.json").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=r"fingerprint\.json: is a link to outside the bundle"):
        load_model(tmp_path / "ct", device="cpu")


def test_a_bundle_may_be_reached_by_a_link_and_hold_links_within(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    (tmp_path / "link").symlink_to("ct")
    (tmp_path / "ct" / "models" / "model.pt").rename(tmp_path / "ct" / "weights.pt")
    (tmp_path / "ct" / "models" / "model.pt").symlink_to(Path("..", "weights.pt"))
    assert load_model(tmp_path / "link", device="cpu").window == HUWindow(-1024, 2000)
