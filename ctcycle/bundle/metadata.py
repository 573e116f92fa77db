"""Generate ``configs/metadata.json`` of a bundle, following MONAI's metadata schema of 2024-07-25."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np

from ctcycle.bundle.configs import formulas
from ctcycle.bundle.formats import side_multiple
from ctcycle.config.card import ModelCard
from ctcycle.evaluation.results import Row
from ctcycle.runs.bundle_folder import BundleFacts

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
REQUIRED = {"pydicom": "3.0.2", "nibabel": "5.3.0", "fire": "0.7.0"}
"""Packages that a bundle needs in addition to torch, monai and numpy (fire for `python -m monai.bundle`)."""


def metadata(
    card: ModelCard,
    version: str,
    changelog: Mapping[str, str],
    trained: BundleFacts,
    results: Mapping[str, Sequence[Row]],
) -> dict[str, Any]:
    """Return the metadata of a bundle.

    Args:
        card: model card entries supplied by the authors.
        version: version of the bundle.
        changelog: changes by version.
        trained: the network.
        results: results of the network, one row per protocol, by evaluation heading.
    """
    return {
        "schema": SCHEMA,
        "version": version,
        "changelog": dict(changelog),
        "monai_version": package_version("monai"),
        "pytorch_version": package_version("torch"),
        "numpy_version": package_version("numpy"),
        "required_packages_version": {name: package_version(name) or known for name, known in REQUIRED.items()},
        "name": card.title,
        "task": "Noise reduction in low-dose CT",
        "description": card.description,
        "authors": card.authors,
        "copyright": card.copyright,
        "data_source": card.training_data,
        "data_type": "dicom, nibabel or numpy",
        "image_classes": "single channel: low-dose CT",
        "label_classes": "single channel: routine-dose CT",
        "pred_classes": "single channel: denoised CT",
        "eval_metrics": _eval_metrics(results),
        "intended_use": card.intended_use,
        "references": list(card.references),
        "network_data_format": {
            "inputs": {"image": _tensor(trained, "low-dose slice")},
            "outputs": {"pred": _tensor(trained, "denoised slice")},
        },
    }


def package_version(name: str) -> str:
    """Return the installed version of a package without its build tag; empty if it is not installed."""
    try:
        return installed_version(name).split("+")[0]
    except PackageNotFoundError:
        return ""


def _tensor(trained: BundleFacts, what: str) -> dict[str, Any]:
    window = trained.window
    return {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": [f"{side_multiple(trained.spec)}*n"] * 2,
        "dtype": "float32",
        "value_range": window.normalise(np.array([window.low, window.high])).tolist(),
        "is_patch_data": False,
        "channel_def": {"0": f"{what}: {formulas(window)[0]}"},
    }


def _eval_metrics(results: Mapping[str, Sequence[Row]]) -> Mapping[str, float]:
    named = {
        f"{name}, {row.protocol}, {heading}": getattr(row, name)
        for heading, rows in results.items()
        for row in rows
        for name in ("psnr", "ssim", "rmse_hu")
    }
    return {name: round(value, 4) for name, value in named.items() if value is not None}
