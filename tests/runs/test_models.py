"""Trained models: from run folders and bundle folders, and what is neither."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_bundle import bundle_config, write_bundle
from tiny_data import TinyData

from ctcycle.ct.hounsfield import MU_WATER, HUWindow, MuScale
from ctcycle.errors import BundleError, ConfigError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.fingerprints import write_fingerprint
from ctcycle.runs.models import RunFacts, load_denoiser, load_model, read_run_facts

HU = np.random.default_rng(0).normal(0, 100, (40, 50)).astype(np.float32)


def _spoil_weights(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    next(iter(state["denoiser"].values())).view(-1)[0] = torch.nan
    torch.save(state, path)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_folder_gives_its_running_mean(tiny_run: Path, checkpoint: str) -> None:
    model = load_model(tiny_run, checkpoint, "cpu")
    state = torch.load(tiny_run / "checkpoints" / f"{checkpoint}.pt", weights_only=True)
    for name, value in model.generator.state_dict().items():
        assert torch.equal(value, state["denoiser"][name] if checkpoint == "best" else state["ema"][f"module.{name}"])
    assert (model.window, model.mu_water, model.average_flips) == (HUWindow(), MU_WATER, False)
    weights = (tiny_run / "checkpoints" / f"{checkpoint}.pt").read_bytes()
    assert (model.name, model.digest) == ("supervised", hashlib.sha256(weights).hexdigest())


def test_what_a_run_says_of_its_training(tiny: TinyData, tiny_run: Path) -> None:
    facts = read_run_facts(tiny_run)
    assert isinstance(facts.generator, GeneratorSpec)
    assert facts == RunFacts("supervised", facts.generator, HUWindow(), MU_WATER, tiny.manifest, None, None)
    assert (facts.generator.filters, facts.generator.blocks) == (4, 1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            shutil.rmtree,
            r"run: not a run folder \(no config\.yaml\); train first, or choose another",
        ),
        (
            lambda run: (run / "config.yaml").write_text("net: x\nlr: 2"),
            r"run: config\.yaml is not valid for this version of ctcycle",
        ),
        (lambda run: (run / "checkpoints" / "best.pt").unlink(), r"best\.pt: checkpoint not found; train first"),
        (
            lambda run: _spoil_weights(run / "checkpoints" / "best.pt"),
            r"best\.pt: weights contain NaN or infinity \(in .+\), so the network cannot denoise anything; use another",
        ),
        (
            lambda run: (run / "checkpoints" / "best.pt").write_bytes(b"x" * 99),
            r"best\.pt: damaged, or not a checkpoint",
        ),
        (
            lambda run: (run / "config.yaml").write_text(
                (run / "config.yaml").read_text().replace("filters: 4", "filters: 5")
            ),
            r"run: weights in best\.pt do not fit the generator in config\.yaml",
        ),
        (
            lambda run: (run / "config.yaml").write_text("task: scan\nsources: [{path: x}]"),
            r"run: is a run of task 'scan'; choose a run of task 'train'",
        ),
    ],
)
def test_what_is_no_run_is_told_in_a_sentence(tiny_run: Path, tmp_path: Path, spoil: Any, sentence: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    spoil(run)
    with pytest.raises(BundleError, match=sentence) as error:
        load_model(run, "best", "cpu")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)


def test_a_bundle_gives_the_same_as_its_parts(tmp_path: Path) -> None:
    network = write_bundle(tmp_path / "ct")
    found = load_model(tmp_path / "ct", device="cpu")
    assert (found.window, found.mu_water, found.name) == (HUWindow(-1024, 2000), 0.02, "ct")
    assert found.digest == hashlib.sha256((tmp_path / "ct" / "models" / "model.pt").read_bytes()).hexdigest()
    expected = Denoiser(network, HUWindow(-1024, 2000), torch.device("cpu")).correction(HU)
    np.testing.assert_array_equal(found.denoiser().correction(HU), expected)
    np.testing.assert_array_equal(load_denoiser(tmp_path / "ct", device="cpu").correction(HU), expected)
    assert found.denoiser().mu == MuScale(0.02)


def test_flips_are_averaged_as_asked_or_as_the_bundle_says(tmp_path: Path) -> None:
    write_bundle(tmp_path / "once")
    write_bundle(tmp_path / "flipped", {**bundle_config(), "average_flips": True})
    once, asked, said, refused = (
        load_model(tmp_path / name, device="cpu").denoiser(average_flips=asked).correction(HU)
        for name, asked in (("once", None), ("once", True), ("flipped", None), ("flipped", False))
    )
    np.testing.assert_array_equal(asked, said)
    np.testing.assert_array_equal(once, refused)
    assert np.abs(asked - once).max() > 0.5 * np.abs(once).max()


def test_strength_and_tiles_reach_the_denoiser(tiny_run: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    hu = np.tile(HU, (4, 4))
    for model in (load_model(folder, device="cpu") for folder in (tiny_run, tmp_path / "ct")):
        full, half, tiled = (
            model.denoiser(strength=strength, tile=tile).correction(hu)
            for strength, tile in ((1, 0), (0.5, 0), (1, 64))
        )
        np.testing.assert_allclose(half, full / 2, rtol=1e-6)
        assert 0 < np.abs(tiled - full).max() < 0.1 * np.abs(full).max()


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    with pytest.raises(ConfigError, match="device=cuda:99: not available on this machine"):
        load_model(tmp_path / "ct", device="cuda:99")


def test_the_fingerprint_of_a_model(tiny_run: Path, tmp_path: Path) -> None:
    run, bundle = Path(shutil.copytree(tiny_run, tmp_path / "run")), tmp_path / "ct"
    (run / "fingerprint.json").unlink(missing_ok=True)
    write_bundle(bundle)
    assert load_model(run, device="cpu").fingerprint is load_model(bundle, device="cpu").fingerprint is None
    write_fingerprint(run, [HU[None]])
    fingerprint = measure_fingerprint([HU])
    (bundle / "configs" / "fingerprint.json").write_text(json.dumps(fingerprint.as_dict()))
    for folder in (run, bundle):
        assert repr(load_model(folder, device="cpu").fingerprint) == repr(fingerprint)


def test_a_run_that_keeps_its_last_checkpoint_is_loaded_with_it(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    files = {name: run / "checkpoints" / f"{name}.pt" for name in ("best", "last")}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    assert digests["best"] != digests["last"]
    assert load_model(run, device="cpu").digest == digests["best"]
    content = yaml.safe_load((run / "config.yaml").read_text())
    content["training"]["keep"] = "last"
    (run / "config.yaml").write_text(yaml.safe_dump(content))
    assert load_model(run, device="cpu").digest == digests["last"]
    assert load_model(run, "best", "cpu").digest == digests["best"]
