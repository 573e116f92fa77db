"""Write the model card of a bundle, ``docs/README.md``: description, training data, results, usage, speed."""

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
from ctcycle.inference.routine_dose import PIXELS_MM, ROUTINE_FACTOR, SCALE_HU, THICKNESSES_MM
from ctcycle.runs.bundle_folder import BundleFacts


@dataclass(frozen=True)
class Facts:
    """The facts about a bundle that its model card reports.

    Attributes:
        name: name of the bundle's folder.
        version: version of the bundle.
        changelog: changes by version, including this one.
        trained: network, window, attenuation of water.
        method: training method.
        parameters: number of parameters of the network.
        training_set: number of patients and low-dose slices and the kernels, as text; empty if unknown.
        fingerprint: fingerprint of the low-dose training slices; None if it was not measured.
        results: evaluation results by heading.
        costs: speed and memory of the finished bundle, from `ctcycle.bundle.runtime.speed.measure`.
        watched: what was measured at the end of training without pairs, as a sentence; empty if nothing was.
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
    watched: str = ""


def model_card(card: ModelCard, facts: Facts) -> str:
    """Return the model card as Markdown."""
    sections = (
        _head(card, facts),
        _trained_on(card, facts),
        _results(card, facts),
        _how_to_run(facts),
        _routine_dose(card),
        _EXECUTION.splitlines(),
        _limits(facts),
        _formats(card, facts),
        _PAIRS.splitlines(),
        _end(card, facts),
    )
    return "\n\n".join("\n".join(section).strip() for section in sections) + "\n"


def _head(card: ModelCard, facts: Facts) -> Iterator[str]:
    window = facts.trained.window
    yield from (f"# {card.title}", "", "**Research use only. Not for diagnosis.**", "", card.description, "")
    yield f"- Network: ResNet generator, {facts.parameters:,} parameters; maps whole CT slices to whole CT slices."
    yield f"- Trained with method `{facts.method}` of ctcycle {__version__}."
    if facts.watched:
        yield f"- {facts.watched}"
    hu_range = f"between {window.low:g} and {window.high:g} HU" if window.clip_upper else f"above {window.low:g} HU"
    yield f"- The network sees values {hu_range}. Other values, and padding, are kept bit for bit."
    yield f"- Intended use: {card.intended_use}"
    yield f"- Authors: {_sentence(card.authors)} Copyright: {_sentence(card.copyright)}"
    yield from (f"- Version {facts.version}.", "")


def _trained_on(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Training data", "", card.training_data, "")
    if facts.training_set:
        yield f"- Low dose: {facts.training_set}."
    yield f"- {_noise(facts.fingerprint)}"
    if card.data_license is not None:
        yield "- Data licence: `docs/data_license.txt`."
    yield ""


def _noise(fingerprint: Fingerprint | None) -> str:
    if fingerprint is None:
        return "Noise and anatomy of these slices were not measured, so this bundle cannot detect scans unlike them."
    low, middle, high = fingerprint.noise_hu
    if math.isnan(middle):
        return "The noise of these slices is unknown: they contain too little soft tissue to measure it."
    return f"Noise in soft tissue: median {middle:.0f} HU, 5th to 95th percentile {low:.0f} to {high:.0f} HU."


def _results(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Results", "")
    if not facts.results:
        yield from ("No evaluation was given when this bundle was exported.", "")
    for heading, results in facts.results.items():
        yield from (
            f"### {heading}",
            "",
            f"Means over slices, with full dose as reference. This model is `{results.method}`.",
            "",
        )
        for protocol in dict.fromkeys(row.protocol for row in results.own):
            yield from (f"Protocol `{protocol}`:", "", markdown_table(results.rows, protocol), "")
        yield from (*(f"- {note}" for note in results.notes), "")
    yield from (card.results_note, "")


def _how_to_run(facts: Facts) -> Iterator[str]:
    yield from _USAGE.format(name=facts.name).splitlines()
    yield from ("", "| option | default | effect |", "| --- | --- | --- |")
    flips = str(facts.trained.average_flips).lower()
    yield from (f"| `--{name}` | `{default.format(flips=flips)}` | {what} |" for name, default, what in _OPTIONS)
    yield ""
    if facts.fingerprint is None:
        yield from ("This bundle has no fingerprint of its training data, so `--strict true` refuses to run.", "")


def _routine_dose(card: ModelCard) -> Iterator[str]:
    low, high = PIXELS_MM
    thin, thick = THICKNESSES_MM
    text = _ROUTINE.format(scale=SCALE_HU, factor=ROUTINE_FACTOR, low=low, high=high, thin=thin, thick=thick)
    yield from (*text.splitlines(), "", card.routine_dose)


def _limits(facts: Facts) -> Iterator[str]:
    yield from _LIMITS.splitlines()
    if facts.fingerprint is not None:
        yield "- Scans unlike the training data are detected only if their noise or anatomy differs grossly."
    yield ""


def _formats(card: ModelCard, facts: Facts) -> Iterator[str]:
    costs = facts.costs
    threads = f"{costs['threads']} CPU thread{'s' if costs['threads'] > 1 else ''}, {costs['machine']}"
    yield from ("## Formats, speed, memory", "")
    size = f"{costs['size_px']} x {costs['size_px']} px"
    yield f"Measured when the bundle was exported, on {costs['slices']} phantom slices of {size}, {threads}:"
    yield from ("", "| format | slices/s | maximum difference from torch |", "| --- | ---: | ---: |")
    for name, found in costs["formats"].items():
        difference = "-" if name == "torch" else f"{found['max_difference_hu']:.1g} HU"
        yield f"| {_FORMATS[name]} | {found['slices_per_s']:.3g} | {difference} |"
    yield ""
    if costs["peak_memory_mb"] is not None:
        yield (
            f"Peak memory of this measurement, which runs the network in torch but reads and writes no series: "
            f"{costs['peak_memory_mb']:.0f} MB."
        )
    if card.memory:
        yield card.memory
    if facts.trained.average_flips:
        yield "These figures are for one pass; the default `--average_flips true` takes four passes per slice."
    yield from ("To measure on your machine: `python -m scripts.bundle.runtime.speed --threads 1`.", "")
    to_network, to_hu = formulas(facts.trained.window)
    side = side_multiple(facts.trained.spec)
    yield from _NETWORK_ALONE.format(name=INPUT, side=side, to_network=to_network, back=to_hu).splitlines()


def _end(card: ModelCard, facts: Facts) -> Iterator[str]:
    yield from ("## Versions", "", *(f"- {number}: {text}" for number, text in facts.changelog.items()))
    yield from ("", "## Licence", "", "Code and configs: Apache 2.0, see `LICENSE`.")
    if card.references:
        yield from ("", "## References", "", *(f"- {reference}" for reference in card.references))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


_FORMATS = {
    "torch": "`models/model.pt` in torch",
    "onnx": "`models/model.onnx` in ONNX Runtime",
    "pt2": "`models/model.pt2` in torch.export",
}

_OPTIONS = (
    (
        "strength",
        "1.0",
        "factor of the correction, from 0 (no change) to 2; `auto` chooses it for each series, see below",
    ),
    ("tile", "0", "tile size in pixels if memory is short, a multiple of 32 such as 256; 0 for whole slices"),
    ("average_flips", "{flips}", "average over four flips of each slice: slightly better, four times slower"),
    ("residual", "false", "also write what was removed, source minus denoised, as a separate series"),
    (
        "uncertainty",
        "false",
        "also write the standard deviation of the results over four flips, in HU; four times slower",
    ),
    (
        "strict",
        "false",
        "refuse series unlike the training data or of a routine dose; otherwise they are denoised with a warning",
    ),
    ("assume_hu", "false", "accept NIfTI and npy values that do not look like HU"),
    ("slice_axis", "chosen", "axis along which NIfTI and npy volumes are cut into slices: 0, 1 or 2"),
    ("overwrite", "false", "replace existing output"),
    ("keep_private", "false", "keep private DICOM elements, which may identify the patient"),
    ("device", "auto", "`cpu`, `cuda`, `cuda:1` or `mps`"),
)

_USAGE = """\
## How to run it

ctcycle itself is not required. Run in the bundle's folder:

```sh
pip install "torch>=2.11" "monai>=1.6.1,<1.7" "pydicom>=3.0.2,<4" "nibabel>=5.3" fire
cd {name}
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --input DIR_OR_FILE --output DIR
```

The input is a DICOM series, a NIfTI volume, npy slices, or a folder of many with any nesting. The output has the
same formats, folder layout and geometry. Its values are the stored ones plus the network's rounded correction.
DICOM gets new series and image UIDs and is marked as derived. Patient, study and frame of reference are kept, so
the output is as confidential as the input. Compressed DICOM also needs decoders:

```sh
pip install pylibjpeg pylibjpeg-openjpeg pyjpegls python-gdcm
```

Series that cannot be denoised (damaged, a slice missing, not HU) are refused; the rest are processed. The outcome
for each is in `summary.json` in the output folder, and the last line is a summary. Exit codes: 0 (success), 2
(invalid option), 3 (input refused), 4 (output or weights). Series whose output already exists are skipped."""

_ROUTINE = """\
## Routine dose and `--strength auto`

A scan at routine dose loses noise texture and faint detail if it is denoised at full strength. Each series is
therefore compared with the noise of a routine dose, in HU in soft tissue: `{scale:g} f^3 / (p^1.5 t^0.25)`, with f
the mean frequency of its own noise in cycles per pixel, p the pixel size and t the slice thickness in mm. The
formula was fitted to 13 full-dose series of the trunk of 10 patients of three vendors and scatters by 20 %. Series
with up to {factor:g} times this noise are denoised with a warning, or refused with `--strict true`. No warning is
given if the training noise had a narrow range that includes the series.

`--strength auto` leaves such series unchanged. For others it chooses the strength, at most 1, that leaves the noise
of a routine dose, and records it in `summary.json` and in the DICOM derivation description. It needs pixels of
{low:g} to {high:g} mm, slices of {thin:g} to {thick:g} mm and soft tissue. Other series, and npy files, are
refused; set a number for them. Routine doses differ between sites by more than the formula can know, so check the
chosen strengths on your own scans.
"""

_EXECUTION = """\
## Code that a bundle runs

`python -m monai.bundle run` executes configs: every string that starts with `$` is run as Python code, and every
`_target_` is called. Only run bundles that you trust, including this one. `configs/inference.json` and
`configs/evaluate.json` contain no `$` and use only classes from `scripts/`; `configs/train.json` uses both kinds.
Weights are loaded with `weights_only=True`, so no code in them is run. If ctcycle is installed, it can use this
bundle without executing any of its code (`python -m ctcycle.run --config configs/denoise.yaml model=DIR`).
"""

_LIMITS = """\
## Limits

- Not for diagnosis, and not a substitute for dose. A network may smooth away faint structures or turn noise into
  false ones. Inspect the residual (`--residual true`).
- The network was trained only on the scanners, kernels, doses and body regions listed above. If your noise differs,
  it removes too much or too little. Evaluate it on your own pairs before use (see below).
- Results on phantoms and simulated noise say little about real scans; check the training data above.
- Slices are denoised independently, so neighbouring slices may differ slightly in texture.
- Scores against full dose (PSNR, SSIM) do not measure whether lesions are visible."""

_NETWORK_ALONE = """\
The ONNX and pt2 files contain only the network. Its input `{name}` is (N, 1, H, W) float32 with H and W multiples of
{side}. Convert HU with `x = {to_network}` and the output with `HU = {back}`. Your code must preserve padding
and values outside the window.
"""

_PAIRS = """\
## Evaluate and fine-tune on your own pairs

Put low and full dose of the same slices into two folders with the same layout and one subfolder per patient:

```sh
python -m monai.bundle run --config_file configs/evaluate.json --bundle_root . --low DIR --full DIR --output DIR
pip install pytorch-ignite
python -m monai.bundle run --config_file configs/train.json --bundle_root . --low DIR --full DIR --output DIR
```

The first command writes RMSE in HU, PSNR and SSIM of every slice to `evaluation.json` (protocol `hu2000`: HU clipped
to [-1000, 1000], range 2000, Gaussian SSIM). The second trains with L1 loss on random crops (`--max_epochs 20`,
`--patch_size 128`, `--learning_rate 0.0001`), with the first fifth of the folders held out for validation and all
slices in memory. It writes the best weights to `model.pt` in the output folder. Copy that file to `models/` to use
it; the ONNX and pt2 files are not updated.
"""
