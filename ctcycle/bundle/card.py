"""The model card of a bundle, ``docs/README.md``: what it is, what it was trained on, what it costs, how it is run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ctcycle import __version__
from ctcycle.bundle.configs import formulas
from ctcycle.bundle.formats import INPUT, side_multiple
from ctcycle.bundle.results import Results
from ctcycle.config.card import ModelCard
from ctcycle.evaluation.tables import markdown_table
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.runs.bundle_folder import BundleFacts


@dataclass(frozen=True)
class Facts:
    """What is known of a bundle when its card is written.

    Attributes:
        name: of the bundle's folder.
        version: of the bundle.
        changelog: what changed in which version, this one among them.
        trained: network, window, attenuation of water.
        method: how it was trained.
        parameters: of the network.
        training_set: patients, low-dose slices and kernels, in words; empty if unknown.
        fingerprint: of the low-dose training slices; None if it was not measured.
        results: of evaluations, by their headings.
        costs: what `ctcycle.bundle.runtime.speed.measure` found in the finished bundle.
    """

    name: str
    version: str
    changelog: Mapping[str, str]
    trained: BundleFacts
    method: str
    parameters: int
    training_set: str
    fingerprint: Fingerprint | None
    results: Mapping[str, Results]
    costs: Mapping[str, Any]


def model_card(card: ModelCard, facts: Facts) -> str:
    """Return the model card as Markdown."""
    sections = (
        _head(card, facts),
        _trained_on(card, facts),
        _results(card, facts),
        _how_to_run(facts),
        _TRUST.splitlines(),
        _limits(facts),
        _formats(facts),
        _PAIRS.splitlines(),
        _end(card, facts),
    )
    return "\n\n".join("\n".join(section).strip() for section in sections) + "\n"


def _head(card: ModelCard, facts: Facts) -> Iterator[str]:
    window = facts.trained.window
    yield from (f"# {card.title}", "", "**Research use only. Not for diagnosis.**", "", card.description, "")
    yield f"- Network: ResNet generator, {facts.parameters:,} parameters; whole CT slices in, whole CT slices out."
    yield f"- Trained by method `{facts.method}` of ctcycle {__version__}."
    upper = f"to {window.high:g}" if window.clip_upper else "upwards"
    yield f"- It sees HU from {window.low:g} {upper}. What lies outside, and padding, stays bit for bit as it was."
    yield f"- Intended use: {card.intended_use}"
    yield f"- Authors: {_sentence(card.authors)} Copyright: {_sentence(card.copyright)}"
    yield from (f"- Version {facts.version}.", "")


def _trained_on(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Trained on", "", card.training_data, "")
    if facts.training_set:
        yield f"- Low dose: {facts.training_set}."
    yield f"- {_noise(facts.fingerprint)}"
    if card.data_license is not None:
        yield "- Licence of the data: `docs/data_license.txt`."
    yield ""


def _noise(fingerprint: Fingerprint | None) -> str:
    if fingerprint is None:
        return "Noise and anatomy of these slices were not measured: this bundle cannot notice scans unlike them."
    low, middle, high = fingerprint.noise_hu
    if math.isnan(middle):
        return "The noise of these slices is not known: they hold too little soft tissue to measure it in."
    return f"Noise in their soft tissue: median {middle:.0f} HU, 5th to 95th percentile {low:.0f} to {high:.0f} HU."


def _results(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Results", "")
    if not facts.results:
        yield from ("Not measured: no evaluation was given when this bundle was made.", "")
    for heading, results in facts.results.items():
        yield from (
            f"### {heading}",
            "",
            f"Means over slices, against full dose. This model is `{results.method}`.",
            "",
        )
        for protocol in dict.fromkeys(row.protocol for row in results.own):
            yield from (f"Protocol `{protocol}`:", "", markdown_table(results.rows, protocol), "")
        yield from (*(f"- {note}" for note in results.notes), "")
    yield from (card.results_note, "")


def _how_to_run(facts: Facts) -> Iterator[str]:
    yield from _USE.format(name=facts.name).splitlines()
    yield from ("", "| option | default | what it does |", "| --- | --- | --- |")
    flips = str(facts.trained.average_flips).lower()
    yield from (f"| `--{name}` | `{default.format(flips=flips)}` | {what} |" for name, default, what in _OPTIONS)
    yield ""
    if facts.fingerprint is None:
        yield from ("This bundle does not know what it was trained on, so `--strict true` refuses to run.", "")


def _limits(facts: Facts) -> Iterator[str]:
    yield from _LIMITS.splitlines()
    if facts.fingerprint is not None:
        yield "- Scans unlike the training slices are noticed only where noise or anatomy are grossly different."
    yield ""


def _formats(facts: Facts) -> Iterator[str]:
    costs = facts.costs
    threads = f"{costs['threads']} CPU thread{'s' if costs['threads'] > 1 else ''}, {costs['machine']}"
    yield from ("## Formats, speed, memory", "")
    size = f"{costs['size_px']} x {costs['size_px']} px"
    yield f"Measured when the bundle was made, on {costs['slices']} phantom slices of {size}, {threads}:"
    yield from ("", "| format | slices/s | largest difference to torch |", "| --- | ---: | ---: |")
    for name, found in costs["formats"].items():
        difference = "-" if name == "torch" else f"{found['max_difference_hu']:.1g} HU"
        yield f"| {_FORMATS[name]} | {found['slices_per_s']:.3g} | {difference} |"
    yield ""
    if costs["peak_memory_mb"] is not None:
        yield f"Peak memory of the whole process, run by torch: {costs['peak_memory_mb']:.0f} MB."
    if facts.trained.average_flips:
        yield "One pass of the network; with the default `--average_flips true` a slice takes four."
    yield from ("Measure again, on your machine: `python -m scripts.bundle.runtime.speed --threads 1`.", "")
    there, back = formulas(facts.trained.window)
    side = side_multiple(facts.trained.spec)
    yield from _NETWORK_ALONE.format(name=INPUT, side=side, to_network=there, back=back).splitlines()


def _end(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Versions", "", *(f"- {number}: {text}" for number, text in facts.changelog.items()))
    yield from ("", "## Licence", "", "Code and configs: Apache 2.0, see `LICENSE`.")
    if card.references:
        yield from ("", "## References", "", *(f"- {reference}" for reference in card.references))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


_FORMATS = {
    "torch": "`models/model.pt`, by torch",
    "onnx": "`models/model.onnx`, by ONNX Runtime",
    "pt2": "`models/model.pt2`, by torch.export",
}

_OPTIONS = (
    ("strength", "1.0", "factor of the correction, from 0 (nothing) to 2"),
    ("tile", "0", "side of tiles in pixels, a multiple of 32 such as 256, where memory is short; 0: whole slices"),
    ("average_flips", "{flips}", "take the mean over four flips of each slice: a little better, four times as slow"),
    ("residual", "false", "also write what was removed, the series minus the denoised one, as a series of its own"),
    ("uncertainty", "false", "also write how far the results for flipped slices differ, in HU; four times as slow"),
    ("strict", "false", "refuse series that are unlike the training slices; else they are done, with a warning"),
    ("assume_hu", "false", "take NIfTI and npy values for HU although they do not look like it"),
    ("overwrite", "false", "replace what is there already"),
    ("keep_private", "false", "keep private DICOM elements, which may hold the patient's identity"),
    ("device", "auto", "`cpu`, `cuda`, `cuda:1` or `mps`"),
)

_USE = """\
## How to run it

ctcycle itself is not needed. In the bundle's folder:

```sh
pip install "torch>=2.11" "monai>=1.6.1,<1.7" "pydicom>=3.0.2,<4" "nibabel>=5.3" fire
cd {name}
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --input DIR_OR_FILE --output DIR
```

The input is a DICOM series, a NIfTI volume, npy slices, or a folder of many, nested anyhow. Each comes out as the
kind of file it was, at the place it had in the input, geometry kept: its stored values plus the network's
correction, rounded. DICOM gets new series and image UIDs and is marked as derived; patient, study and frame of
reference stay, so the output is as confidential as the input. Compressed DICOM needs decoders, too:

```sh
pip install pylibjpeg pylibjpeg-openjpeg pyjpegls python-gdcm
```

A series that cannot be done (damaged, a slice missing, not HU) is refused, and the others are done; `summary.json`
in the output lists all. The last line says what happened; the exit code is 0 (done), 2 (an option is wrong), 3
(input refused) or 4 (output or weights). What is there already is not done again."""

_TRUST = """\
## What a bundle runs

`python -m monai.bundle run` runs what a config says: every text that begins with `$` is Python code, and every
`_target_` is called. So only run bundles that you trust, this one included. `configs/inference.json` and
`configs/evaluate.json` hold no `$` and name only classes of `scripts/`; `configs/train.json` uses both. The weights
are loaded with `weights_only=True`: nothing in them is run. ctcycle, where it is installed, reads this bundle
without executing anything of it (`python -m ctcycle.run --config configs/denoise.yaml model=DIR`).
"""

_LIMITS = """\
## Limits

- Not for diagnosis, and no substitute for dose. A network may smooth away faint structures, or make structures of
  noise. Look at the residual (`--residual true`).
- It knows the scanners, kernels, doses and regions of its training alone. Where the noise is different, it takes
  away too much or too little. Measure on your own pairs before you use it (see below).
- Phantoms and simulated noise say little of real scans: see above what it was trained on.
- Slices are denoised one by one; neighbours may differ slightly in texture.
- Scores against full dose (PSNR, SSIM) do not say whether lesions can be seen."""

_NETWORK_ALONE = """\
The ONNX and pt2 files hold the network alone: `{name}` (N, 1, H, W) float32, H and W multiples of {side}, in
`x = {to_network}`; back by `HU = {back}`. Padding, and values outside the window, are for you to keep.
"""

_PAIRS = """\
## Measure and fine-tune on your own pairs

Low and full dose of the same slices, laid out alike in two folders, with a folder for each patient:

```sh
python -m monai.bundle run --config_file configs/evaluate.json --bundle_root . --low DIR --full DIR --output DIR
pip install pytorch-ignite
python -m monai.bundle run --config_file configs/train.json --bundle_root . --low DIR --full DIR --output DIR
```

The first writes RMSE in HU, PSNR and SSIM of every slice to `evaluation.json` (protocol `hu2000`: HU clipped to
[-1000, 1000], range 2000, Gaussian SSIM). The second trains with L1 on random crops (`--max_epochs 20`,
`--patch_size 128`, `--learning_rate 0.0001`), holds out the first fifth of the folders for validation, keeps all
slices in memory, and writes the best weights to `model.pt` in the output. Copy it to `models/` to use it; ONNX and
pt2 stay as they were.
"""
