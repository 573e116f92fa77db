"""The metadata of a bundle, as the model zoo wants them."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from exported_bundle import read_json


def metadata(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(bundle / "configs" / "metadata.json")
    return found


def test_its_version_is_in_its_changelog(bundle: Path) -> None:
    found = metadata(bundle)
    assert found["version"] == "0.2.0"
    assert set(found["changelog"]) == {"0.1.0", "0.2.0"}


def test_metadata_is_as_the_schema_of_2024_07_25_wants_it(bundle: Path) -> None:
    found = metadata(bundle)
    texts = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors")
    for name in (
        *texts,
        "copyright",
        "data_source",
        "data_type",
        "image_classes",
        "label_classes",
        "pred_classes",
        "intended_use",
    ):
        assert isinstance(found[name], str), name
        assert found[name], name
    for name in ("monai_version", "pytorch_version", "numpy_version"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", found[name])
    assert set(found["required_packages_version"]) == {"pydicom", "nibabel", "fire"}
    assert all(isinstance(value, str) for value in found["required_packages_version"].values())
    assert all(isinstance(value, float) for value in found["eval_metrics"].values())
    assert found["references"] == ["Zhu et al. 2017"]
    tensors = [*found["network_data_format"]["inputs"].values(), *found["network_data_format"]["outputs"].values()]
    assert len(tensors) == 2
    for tensor in tensors:
        known = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1, "dtype": "float32"}
        assert tensor | known == tensor
        assert tensor["spatial_shape"] == ["32*n", "32*n"]
        assert tensor["value_range"] == [-1.0, 1.0]
        assert tensor["is_patch_data"] is False
        assert list(tensor["channel_def"]) == ["0"]


def test_the_schema_itself_agrees(bundle: Path, tmp_path: Path) -> None:
    """Where CTCYCLE_BUNDLE_SCHEMA names the schema's file: tests need no network."""
    schema = os.environ.get("CTCYCLE_BUNDLE_SCHEMA")
    if not schema:
        pytest.skip("CTCYCLE_BUNDLE_SCHEMA names no file of MONAI's metadata schema")
    from monai.bundle import verify_metadata

    there = shutil.copy(schema, tmp_path / "schema.json")
    verify_metadata(str(bundle / "configs" / "metadata.json"), filepath=there)


def test_the_network_takes_what_the_metadata_says(inside: Path) -> None:
    from monai.bundle import verify_net_in_out

    verify_net_in_out(
        net_id="network_def",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
        device="cpu",
        extra_forward_args={},
    )


def test_results_go_into_the_metadata(bundle: Path) -> None:
    rows = read_json(bundle.parent / "evaluation" / "results.json")["rows"]
    own = next(row for row in rows if row["method"] == "mine")
    found = metadata(bundle)["eval_metrics"]
    names = {f"{name}, hu2000, Training patients": name for name in ("psnr", "ssim", "rmse_hu")}
    assert found == {text: pytest.approx(own[name], abs=1e-4) for text, name in names.items()}
