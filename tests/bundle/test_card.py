"""The model card of a bundle."""

import re
from pathlib import Path

from exported_bundle import read_json

from ctcycle.inference.fingerprint import read_fingerprint


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


def test_formats_agree_within_half_a_step(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    rows = re.findall(r"\| `models/model\.(\w+)` in .*? \| ([\d.e+-]+) \| (.*?) \|", card)
    assert [name for name, _, _ in rows] == ["pt", "onnx", "pt2"]
    assert all(float(speed) > 0 for _, speed, _ in rows)
    assert all(float(difference.removesuffix(" HU")) <= 0.5 for _, _, difference in rows[1:])
    assert re.search(r"512 x 512 px, 1 CPU thread, \w+:", card)
