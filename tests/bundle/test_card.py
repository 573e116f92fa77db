"""The model card of a bundle."""

import re
import shutil
from pathlib import Path

from exported_bundle import plan_of, read_json

from ctcycle.bundle.card import Facts, model_card
from ctcycle.bundle.export import export_bundle
from ctcycle.config.card import ModelCard
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.inference.fingerprint import read_fingerprint
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.bundle_folder import BundleFacts
from ctcycle.runs.watch_record import WatchRecord


def test_the_card_tells_what_was_found_and_what_was_not(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    for text in (
        "# Low-dose CT denoiser",
        "- Trained with method `supervised` of ctcycle ",
        "\n## Training data\n",
        "Not for diagnosis",
        "Six simulated abdomens.",
        "Low dose: 6 patients, 12 slices, kernel soft.",
        "A. Nonymous",
        "Protocol `hu2000`",
        "| mine |",
        "NOT held out: patients in this table were used to train or select it",
        "Only run bundles that you trust",
        "cd tiny_denoiser",
        "`docs/data_license.txt`",
        "- 0.2.0: exported from a training run",
        "Zhu et al. 2017",
    ):
        assert text in card, text
    low, middle, high = read_fingerprint(bundle / "configs" / "fingerprint.json").noise_hu
    assert f"median {middle:.0f} HU, 5th to 95th percentile {low:.0f} to {high:.0f} HU" in card
    assert not re.search(r"\n\n\n|[^\n]\n## ", card)
    options = set(re.findall(r"^\| `--(\w+)`", card, re.MULTILINE))
    assert options <= set(read_json(bundle / "configs" / "inference.json"))


def test_the_card_explains_routine_dose_and_gives_what_was_measured() -> None:
    spec = GeneratorSpec()
    facts = BundleFacts(spec, HUWindow(), 0.0192, has_fingerprint=False)
    costs = {"size_px": 512, "slices": 3, "threads": 1, "machine": "x", "formats": {}, "peak_memory_mb": 400.0}
    card = ModelCard(routine_dose="| my table |", memory="It takes 754 MB.")
    text = model_card(card, Facts("tiny", "0.1.0", {}, facts, "supervised", 1, "", None, {}, costs))
    assert "`750 f^3 / (p^1.5 t^0.25)`" in text
    assert re.search(r"## Routine dose and `--strength auto`\n(.*\n)+\n\| my table \|\n", text)
    assert "runs the network in torch but reads and writes no series: 400 MB.\nIt takes 754 MB.\n" in text


def test_the_card_says_what_training_ended_with(unmeasured: None, tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = WatchRecord(False, ["the denoiser shifts air by -20.0 HU"], {}, {"epoch": 3.0})
    record.write(run)
    export_bundle(plan_of(run, tmp_path / "made", formats=()))
    assert f"\n- {record.sentence}\n" in (tmp_path / "made" / "docs" / "README.md").read_text()


def test_formats_agree_within_half_a_step(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    rows = re.findall(r"\| `models/model\.(\w+)` in .*? \| ([\d.e+-]+) \| (.*?) \|", card)
    assert [name for name, _, _ in rows] == ["pt", "onnx", "pt2"]
    assert all(float(speed) > 0 for _, speed, _ in rows)
    assert all(float(difference.removesuffix(" HU")) <= 0.5 for _, _, difference in rows[1:])
    assert re.search(r"512 x 512 px, 1 CPU thread, \w+:", card)
