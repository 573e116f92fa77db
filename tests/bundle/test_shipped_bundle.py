"""The bundle in the repository: complete, up to date with the code it was made of, and better than its input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom_series import body_hu

from ctcycle.bundle.configs import model_configs
from ctcycle.bundle.scripts import scripts
from ctcycle.config.loading import load_config
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.metrics.protocols import PROTOCOLS, score
from ctcycle.runs.bundle_folder import read_bundle_facts
from ctcycle.runs.models import load_denoiser, load_model

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "ct_denoiser"
CARD = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")


def test_it_is_small_and_whole() -> None:
    files = {path.relative_to(BUNDLE).as_posix(): path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()}
    names = ("metadata", "inference", "evaluate", "train", "fingerprint")
    wanted = {*(f"configs/{name}.json" for name in names), "configs/logging.conf", "LICENSE", "docs/README.md"}
    assert wanted | {"models/model.pt", "models/model.onnx", "models/model.pt2", "docs/data_license.txt"} <= set(files)
    assert sum(files.values()) < 8e6
    assert not [name for name in files if "__pycache__" in name]


def test_its_code_and_configs_are_those_that_an_export_would_write_now() -> None:
    folder = BUNDLE / "scripts"
    shipped = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    now = scripts()
    for name, content in model_configs(read_bundle_facts(BUNDLE, any_target=True)).items():
        shipped[name] = (BUNDLE / "configs" / f"{name}.json").read_text(encoding="utf-8")
        now[name] = json.dumps(content, indent=2) + "\n"
    assert len(now) > 30
    stale = sorted(name for name in shipped.keys() | now.keys() if shipped.get(name) != now.get(name))
    assert stale == [], "run `make bundle`"


def test_its_config_is_the_one_that_the_card_names() -> None:
    (path,) = set(re.findall(r"--config (configs/ct_denoiser\.yaml)", CARD))
    config = load_config(ROOT / path).config
    assert config.task == "pipeline"
    trained = config.steps["denoiser"]
    assert trained.task == "train"
    spec = json.loads((BUNDLE / "configs" / "inference.json").read_text())["network_def"]["spec"]
    assert (spec["filters"], spec["blocks"]) == (trained.generator.filters, trained.generator.blocks)  # type: ignore[union-attr]
    assert load_denoiser(BUNDLE, device="cpu").window == trained.data.hu_window


def test_it_takes_noise_away_and_leaves_the_body() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clean = np.where(body_hu(1, 96)[0] > -500, 40.0, -1000.0).astype(np.float32)
    noisy = clean + rng.normal(0, 25, clean.shape).astype(np.float32)
    inner = np.s_[34:62, 20:80]
    model = load_model(BUNDLE, device="cpu")
    denoised = model.denoiser()(noisy)
    assert (denoised - clean)[inner].std() < 0.6 * (noisy - clean)[inner].std()
    assert abs((denoised - clean)[inner].mean()) < 4
    assert model.fingerprint is not None
    assert model.fingerprint.noise_hu[0] < 40 < model.fingerprint.noise_hu[2]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("series", ["L143/3mm_B30f", "L096/3mm_D45f"])
def test_real_quarter_dose_comes_nearer_to_full_dose(real_data: Path, series: str) -> None:
    folder = real_data / "mayo2016_pairs" / series
    low, full = (read_series(find_series(folder / dose)[0][0]).hu[::6] for dose in ("quarter_dose", "full_dose"))
    denoiser, protocol = load_denoiser(BUNDLE, device="cpu"), PROTOCOLS["hu2000"]
    for noisy, reference in zip(low, full, strict=True):
        before, after = (score(protocol, image, reference) for image in (noisy, denoiser(noisy)))
        assert after.rmse_hu < 0.7 * before.rmse_hu
        assert abs(after.bias_hu) < 3
