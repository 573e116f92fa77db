"""A whole bundle: what the model zoo asks of it, what it says of itself, and that it runs without ctcycle."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from tiny_data import TEST, TinyData, write_train_config

from ctcycle.bundle import formats
from ctcycle.bundle.export import BundlePlan, export_bundle
from ctcycle.bundle.formats import check_packages, export_network, side_multiple
from ctcycle.bundle.results import read_results
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.errors import BundleError, ConfigError, ManifestError, OutputError
from ctcycle.evaluation.results import SliceRecord, summarise
from ctcycle.inference.fingerprint import read_fingerprint
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.models import load_denoiser, load_model
from ctcycle.tasks import running

ABSENT = ("ctcycle", "ignite", "scipy", "skimage", "pydantic", "tqdm", "mlflow", "matplotlib", "onnx", "onnxruntime")
"""What a bundle must not need to denoise."""


def write_results(path: Path, run: Path) -> Path:
    """The results of an evaluation of ``run``, as `mine`, on two patients that it was trained on."""
    rng = np.random.default_rng(0)
    records = [
        SliceRecord(method, "hu2000", patient, "s", number, *rng.uniform(0.5, 30, 5), 10.0, 5.0)  # type: ignore[arg-type]
        for method in ("input", "mine")
        for patient in ("anna", "berta")
        for number in range(2)
    ]
    note = "mine: NOT held out: it was trained on, or chosen by, anna, berta"
    found = summarise(records)
    replace(found, notes=(note, *found.notes)).write(path, {"runs": {"mine": run.as_posix()}})
    return path / "results.json"


def plan(run: Path, bundle: Path, **changes: Any) -> BundlePlan:
    return BundlePlan(run=run, bundle=bundle, **changes)


@pytest.fixture(scope="module")
def bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tiny run, made as the command line makes it; not to be changed."""
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "data.txt").write_text("Nobody's data.\n")
    config = {
        "task": "bundle",
        "run": str(tiny_run),
        "bundle": str(folder / "tiny_denoiser"),
        "out": str(folder / "run"),
        "results": {"Training patients": str(write_results(folder / "evaluation", tiny_run))},
        "version": "0.2.0",
        "changelog": {"0.1.0": "the first"},
        "card": {
            "authors": "A. Nonymous",
            "training_data": "Six simulated abdomens.",
            "data_license": str(folder / "data.txt"),
            "references": ["Zhu et al. 2017"],
        },
    }
    (folder / "bundle.yaml").write_text(dump_yaml(config))
    running.run(load_config(folder / "bundle.yaml"))
    return folder / "tiny_denoiser"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "copies" / bundle.name))


@pytest.fixture
def inside(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In the bundle's folder, its ``scripts`` importable, as `python -m` has it there."""
    monkeypatch.chdir(bundle)
    monkeypatch.syspath_prepend(bundle)
    yield bundle
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are made without the process that measures them."""
    costs = {"slices": 1, "size_px": 8, "threads": 2, "machine": "abacus", "peak_memory_mb": None}
    formats = {"torch": {"slices_per_s": 1.0, "max_difference_hu": 0.0}}
    monkeypatch.setattr("ctcycle.bundle.export._costs", lambda _folder: {**costs, "formats": formats})


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def metadata(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(bundle / "configs" / "metadata.json")
    return found


def workflow(bundle: Path, name: str, **overrides: Any) -> Any:
    """The workflow of a config of the bundle, initialised."""
    from monai.bundle import ConfigWorkflow

    kind = "train" if name == "train" else "infer"
    found = ConfigWorkflow(
        bundle / "configs" / f"{name}.json",  # type: ignore[arg-type]
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(bundle),
        **overrides,
    )
    found.initialize()
    return found


def low_dose(tiny: TinyData) -> NDArray[np.float32]:
    """The low-dose slices of the test patient, in HU."""
    found, _ = find_series(tiny.series / TEST / "low_dose")
    return read_series(found[0]).hu


# --- what the model zoo checks


def test_it_has_the_files_of_a_bundle(bundle: Path) -> None:
    for name in (
        "LICENSE",
        "docs/README.md",
        "docs/data_license.txt",
        "models/model.pt",
        "models/model.onnx",
        "models/model.pt2",
    ):
        assert (bundle / name).stat().st_size > 0, name
    configs = {path.name for path in (bundle / "configs").iterdir()}
    assert configs == {
        *(f"{name}.json" for name in ("metadata", "inference", "evaluate", "train", "fingerprint")),
        "logging.conf",
    }
    assert "Apache License" in (bundle / "LICENSE").read_text()
    assert (bundle / "docs" / "data_license.txt").read_text() == "Nobody's data.\n"
    assert not list(bundle.parent.glob(".*"))


def test_files_are_small_and_hold_nothing_but_their_content(bundle: Path) -> None:
    for path in bundle.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.]+", path.name), path.name
        assert path.name != "__pycache__"
        assert path.is_dir() or path.stat().st_size <= 25 * 2**20


def test_nothing_in_it_tells_where_it_was_made(bundle: Path, tiny_run: Path) -> None:
    root = Path(running.__file__).parents[1]
    telling = [str(place).encode() for place in (root, sys.prefix, tiny_run.parent, bundle.parent, Path.home())]
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        assert not [place for place in telling if place in content], path.name
        assert not re.search(rb"site-packages|/lib/python\d", content), path.name
    assert b"anna" not in (bundle / "docs" / "README.md").read_bytes()  # keys of patients are no part of a model card


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


@pytest.mark.parametrize("name", ["inference", "evaluate"])
def test_configs_have_the_properties_that_monai_looks_for(inside: Path, name: str) -> None:
    assert workflow(inside, name).check_properties() == []


def test_the_network_takes_what_the_metadata_says(inside: Path) -> None:
    from monai.bundle import verify_net_in_out

    verify_net_in_out(
        net_id="network_def",
        meta_file="configs/metadata.json",
        config_file="configs/inference.json",
        device="cpu",
        extra_forward_args={},
    )


def test_inference_and_evaluation_hold_data_alone(bundle: Path) -> None:
    """No ``$``: nothing is evaluated; every ``_target_`` is in the bundle."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for name, item in value.items():
                assert not name.startswith("$")
                assert name != "_target_" or str(item).startswith("scripts.")
                yield from texts(item)
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)
        else:
            yield str(value)

    for name in ("inference", "evaluate"):
        assert not [text for text in texts(read_json(bundle / "configs" / f"{name}.json")) if "$" in text]


# --- that it does what the run does


def test_bundle_and_run_denoise_alike(inside: Path, tiny: TinyData, tiny_run: Path) -> None:
    of_bundle = workflow(inside, "inference", device="cpu").parser.get_parsed_content("model").denoiser()
    of_run, read = load_denoiser(tiny_run, device="cpu"), load_denoiser(inside, device="cpu")
    assert type(of_bundle).__module__ == "scripts.inference.denoiser"  # its own code, not ctcycle's
    hu = low_dose(tiny)[0]
    expected = of_run(hu)
    assert np.abs(expected - hu).max() > 1
    np.testing.assert_array_equal(of_bundle(hu), expected)
    np.testing.assert_array_equal(read(hu), expected)


@pytest.mark.usefixtures("unmeasured")
def test_network_window_and_water_are_those_of_the_run(tiny: TinyData, tmp_path: Path) -> None:
    path = write_train_config(tiny, tmp_path / "run", "supervised")
    settings = ["data.hu_window={low: -900, high: 1500, scale: 3000}", "data.mu_water=0.02", "generator.norm=instance"]
    running.run(load_config(path, [*settings, "generator.dilations=[1]", "training.epochs=1", "validation.every=9"]))
    made = plan(tmp_path / "run", tmp_path / "other", formats=(), fingerprint=False, checkpoint="last")
    export_bundle(made)
    config = read_json(tmp_path / "other" / "configs" / "inference.json")
    assert config["hu_window"] == {
        "_target_": "scripts.ct.hounsfield.HUWindow",
        "low": -900.0,
        "high": 1500.0,
        "clip_upper": True,
        "scale": 3000.0,
    }
    assert config["mu_water"] == 0.02
    assert config["network_def"]["spec"]["norm"] == "instance"
    assert config["network_def"]["spec"]["dilations"] == [1]
    tensor = metadata(tmp_path / "other")["network_data_format"]["inputs"]["image"]
    assert tensor["value_range"] == [-0.3, 0.5]
    card = (tmp_path / "other" / "docs" / "README.md").read_text()
    assert "It sees HU from -900 to 1500." in card
    assert "does not know what it was trained on" in card
    assert "Not measured: no evaluation was given" in card
    assert "1 phantom slices of 8 x 8 px, 2 CPU threads, abacus:" in card
    assert "Peak memory" not in card
    assert not (tmp_path / "other" / "configs" / "fingerprint.json").exists()
    hu = low_dose(tiny)[0]
    found, expected = (load_denoiser(model, "last", "cpu")(hu) for model in (tmp_path / "other", tmp_path / "run"))
    np.testing.assert_array_equal(found, expected)


def test_foreign_code_in_a_bundle_is_refused_by_ctcycle(copy: Path) -> None:
    path = copy / "configs" / "inference.json"
    config = read_json(path)
    config["network_def"]["_target_"] = "os.system"
    path.write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"os\.system"):
        load_denoiser(copy, device="cpu")


def test_the_weights_are_nothing_but_weights(bundle: Path, tiny_run: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    expected = load_denoiser(tiny_run, device="cpu").generator.state_dict()
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_fingerprint_is_that_of_the_low_dose_training_slices(bundle: Path, tiny: TinyData) -> None:
    from ctcycle.data.manifest import read_manifest
    from ctcycle.inference.fingerprint import measure_fingerprint

    rows = read_manifest(tiny.manifest).select(dose="low_dose", split="train")
    series = [read_series(find_series(tiny.manifest.parent / row.path)[0][0]).hu for row in rows]
    expected = measure_fingerprint(np.concatenate(series))
    found = read_fingerprint(bundle / "configs" / "fingerprint.json")
    assert len(series) == 6
    np.testing.assert_allclose(found.noise_hu, expected.noise_hu)
    np.testing.assert_allclose(found.histogram, expected.histogram)


# --- formats


@pytest.fixture(scope="module")
def spec() -> GeneratorSpec:
    return GeneratorSpec(
        filters=4,
        blocks=2,
        downsamplings=2,
        dilations=(1, 9),
        kernel=3,
        norm="instance",
        residual="conv1x1",
        zero_last=False,
    )


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_exported_networks_take_any_batch_and_size(spec: GeneratorSpec, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ResNetGenerator(spec)
    side = side_multiple(spec)
    assert side == 64  # 32 px are 8 at the bottom, where 9 are reflected
    path = tmp_path / f"net.{suffix}"
    export_network(net, path, side)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no weights beside it
    if suffix == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", 1, "rows", "columns"]

        def run(image: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    else:
        run = torch.export.load(path).module()
    for shape in ((1, 1, 64, 64), (3, 1, 128, 64), (1, 1, 64, 320)):
        image = torch.rand(shape)
        with torch.inference_mode():
            expected = net(image)
        torch.testing.assert_close(run(image), expected, rtol=0, atol=1e-5)
        assert (expected - image).abs().max() > 1e-2


def test_the_multiple_is_no_larger_than_need_be() -> None:
    assert [side_multiple(GeneratorSpec(downsamplings=n)) for n in (0, 2, 4, 5)] == [32, 32, 32, 64]


def test_a_network_that_cannot_be_exported_is_told(tmp_path: Path) -> None:
    class Choosy(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if image.sum() > 0 else -image

    with pytest.raises(BundleError, match=r"^net\.pt2: torch cannot export this network so .*leave the format out$"):
        export_network(Choosy(), tmp_path / "net.pt2", 32)


def test_a_missing_package_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tiny_run: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(formats.NEEDED, "onnx", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"formats: onnx needs no_such_package, .*`pip install no_such_package`"):
        export_bundle(plan(tiny_run, tmp_path / "made"))
    assert not list(tmp_path.iterdir())
    check_packages(("pt2",))


def test_formats_agree_within_half_a_step(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    rows = re.findall(r"\| `models/model\.(\w+)`, .*? \| ([\d.e+-]+) \| (.*?) \|", card)
    assert [name for name, _, _ in rows] == ["pt", "onnx", "pt2"]
    assert all(float(speed) > 0 for _, speed, _ in rows)
    assert all(float(difference.removesuffix(" HU")) <= 0.5 for _, _, difference in rows[1:])
    assert re.search(r"512 x 512 px, 1 CPU thread, \w+:", card)


# --- what it says


def test_the_card_tells_what_was_found_and_what_was_not(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    for text in (
        "# Low-dose CT denoiser",
        "Not for diagnosis",
        "Six simulated abdomens.",
        "Low dose: 6 patients, 12 slices, kernel soft.",
        "A. Nonymous",
        "Protocol `hu2000`",
        "| mine |",
        "NOT held out: it was trained on, or chosen by, patients of this table",
        "So only run bundles that you trust",
        "cd tiny_denoiser",
        "`docs/data_license.txt`",
        "- 0.2.0: made from a training run",
        "Zhu et al. 2017",
    ):
        assert text in card, text
    low, middle, high = read_fingerprint(bundle / "configs" / "fingerprint.json").noise_hu
    assert f"median {middle:.0f} HU, 5th to 95th percentile {low:.0f} to {high:.0f} HU" in card
    assert not re.search(r"\n\n\n|[^\n]\n## ", card)
    options = set(re.findall(r"^\| `--(\w+)`", card, re.MULTILINE))
    assert options <= set(read_json(bundle / "configs" / "inference.json"))


def test_results_go_into_the_metadata(bundle: Path) -> None:
    rows = read_json(bundle.parent / "evaluation" / "results.json")["rows"]
    own = next(row for row in rows if row["method"] == "mine")
    found = metadata(bundle)["eval_metrics"]
    names = {f"{name}, hu2000, Training patients": name for name in ("psnr", "ssim", "rmse_hu")}
    assert found == {text: pytest.approx(own[name], abs=1e-4) for text, name in names.items()}


def test_results_of_another_run_are_refused(tmp_path: Path, tiny_run: Path) -> None:
    path = write_results(tmp_path, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"does not measure .*supervised but .*other; evaluate the run first"):
        read_results(path, tiny_run)
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"is no results\.json of an evaluation"):
        read_results(path, tiny_run)


# --- whole or not at all


@pytest.mark.usefixtures("unmeasured")
def test_an_existing_bundle_stays_unless_it_may_be_replaced(copy: Path, tiny_run: Path) -> None:
    with pytest.raises(OutputError, match="exists; choose another `bundle`, or overwrite=true"):
        export_bundle(plan(tiny_run, copy))
    (copy / "old.txt").touch()
    text = export_bundle(plan(tiny_run, copy, overwrite=True, formats=(), fingerprint=False))
    assert text.startswith("bundle tiny_denoiser 0.1.0 of ")
    assert not (copy / "old.txt").exists()
    assert not (copy / "models" / "model.onnx").exists()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.usefixtures("unmeasured")
def test_models_too_large_for_the_zoo_are_told(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ctcycle.bundle.export._ZOO_MB", 0)
    export_bundle(plan(tiny_run, tmp_path / "made", formats=(), fingerprint=False))
    assert "model.pt is 0 MB; the model zoo takes larger files than 0 MB by link only" in caplog.text


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, tiny_run: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(OutputError, match="exists and is no bundle"):
        export_bundle(plan(tiny_run, tmp_path / "mine", overwrite=True))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "dear"


def test_a_failure_leaves_the_old_bundle_and_nothing_else(
    copy: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "docs" / "README.md").read_bytes()

    def fail(_folder: Path) -> dict[str, Any]:
        raise BundleError("measuring failed")

    monkeypatch.setattr("ctcycle.bundle.export._costs", fail)
    with pytest.raises(BundleError, match="measuring failed"):
        export_bundle(plan(tiny_run, copy, overwrite=True, formats=(), fingerprint=False))
    assert (copy / "docs" / "README.md").read_bytes() == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_run_whose_data_have_gone_says_how_to_do_without(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    manifest = (run / "manifest.csv").read_text()
    (run / "manifest.csv").write_text(manifest.replace("/low_dose", "/gone"))
    with pytest.raises(ManifestError, match=r"cannot be measured .*; put them back, or set fingerprint=false"):
        export_bundle(plan(run, tmp_path / "made", formats=()))
    assert not (tmp_path / "made").exists()


def test_only_training_runs_make_bundles(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"(not a run folder|holds a run of task)"):
        export_bundle(plan(bundle.parent / "run", tmp_path / "made", formats=()))


@pytest.mark.parametrize("name", ["Upper", "with-dash", "9digits", "dot.ted"])
def test_names_are_those_of_the_zoo(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name of a bundle"):
        plan(tmp_path, tmp_path / name)


# --- that it runs


def pairs(tiny: TinyData, folder: Path, patients: Sequence[str]) -> tuple[Path, Path]:
    """Low and full dose of some patients, laid out as a bundle wants them."""
    for patient in patients:
        for dose in ("low_dose", "full_dose"):
            shutil.copytree(tiny.series / patient / dose, folder / dose / patient)
    return folder / "low_dose", folder / "full_dose"


def test_evaluate_scores_the_users_pairs(inside: Path, tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    from ctcycle.metrics.protocols import PROTOCOLS, score

    low, full = pairs(tiny, tmp_path, [TEST])
    workflow(inside, "evaluate", low=str(low), full=str(full), output=str(tmp_path / "out"), device="cpu").run()
    found = read_json(tmp_path / "out" / "evaluation.json")
    slices = [read_series(find_series(folder)[0][0]).hu for folder in (low, full)]
    expected = score(PROTOCOLS["hu2000"], load_denoiser(tiny_run, device="cpu")(slices[0][1]), slices[1][1])
    assert found["slices"][1]["denoised"]["psnr_db"] == pytest.approx(expected.psnr, abs=1e-4)
    assert found["slices"][1]["denoised"]["ssim"] == pytest.approx(expected.ssim, abs=1e-6)


@pytest.fixture
def random_states() -> Iterator[None]:
    """MONAI's `set_determinism` changes what all tests share."""
    from monai.utils import set_determinism

    state, deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    legacy = np.random.get_state()  # noqa: NPY002 (it is the one that MONAI seeds)
    yield
    set_determinism(None)
    torch.set_rng_state(state)
    torch.use_deterministic_algorithms(deterministic)
    np.random.set_state(legacy)  # noqa: NPY002


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)  # MONAI's trainer
@pytest.mark.usefixtures("random_states")
def test_fine_tuning_starts_from_the_weights_and_writes_new_ones(inside: Path, tiny: TinyData, tmp_path: Path) -> None:
    low, full = pairs(tiny, tmp_path, ["sim000", "sim001", "sim002"])
    places = {"low": str(low), "full": str(full), "output": str(tmp_path / "out"), "device": "cpu"}
    tuning = workflow(inside, "train", max_epochs=2, learning_rate=1e-3, patch_size=32, **places)
    assert tuning.check_properties() == []
    network = tuning.parser.get_parsed_content("network")
    start = {name: value.clone() for name, value in network.state_dict().items()}
    original = torch.load(inside / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(start[name], original[name]) for name in original)
    tuning.run()
    tuned = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert set(tuned) == set(original)
    assert any(not torch.equal(tuned[name], original[name]) for name in original)
    assert tuning.parser.get_parsed_content("train::trainer").state.epoch == 2


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which ctcycle and all that only ctcycle needs cannot be imported."""
    folder = tmp_path / "absent"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {ABSENT!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def run_bundle(bundle: Path, cwd: Path, env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    root = os.path.relpath(bundle, cwd)
    config = ["--config_file", f"{root}/configs/inference.json", "--bundle_root", root]
    command = [sys.executable, "-m", "monai.bundle", "run", *config, *arguments]
    return subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_denoises_dicom_and_nifti_where_ctcycle_is_not_installed(
    bundle: Path, tiny: TinyData, tiny_run: Path, without: dict[str, str], tmp_path: Path
) -> None:
    gone = subprocess.run([sys.executable, "-c", "import ctcycle"], env=without, check=False, capture_output=True)
    assert gone.returncode == 1
    hu = low_dose(tiny)
    incoming, out = tmp_path / "in", tmp_path / "out"
    for name, dose in (("one", "low_dose"), ("two", "full_dose")):
        shutil.copytree(tiny.series / TEST / dose, incoming / name)
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([5.6, 5.6, 3, 1])), incoming / "volume.nii.gz")
    given = ["--input", str(incoming), "--output", str(out), "--strength", "0.5", "--residual", "true"]
    done = run_bundle(bundle, bundle, without, *given)
    assert done.returncode == 0, done.stderr
    assert "one: 2 of 2 slices" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("3 denoised, 0 were there already, 0 refused")
    denoiser = load_model(tiny_run, device="cpu").denoiser(strength=0.5)
    volumes = [read_series(find_series(folder / "volume.nii.gz")[0][0]).hu for folder in (incoming, out)]
    np.testing.assert_allclose(volumes[1], volumes[0] + denoiser.correction(volumes[0]), atol=1e-3)
    found = find_series(out / "one")[0][0]
    np.testing.assert_array_equal(read_series(found).hu, hu + np.rint(denoiser.correction(hu)))
    header = dcmread(found.files[0])
    assert header.ImageType[0] == "DERIVED"
    assert "tiny_denoiser" in str(header)
    assert len(list((out / "two-residual").glob("*.dcm"))) == 2
    assert not list(bundle.rglob("__pycache__"))


@pytest.mark.slow
def test_what_is_wrong_is_told_in_the_last_line_from_any_folder(
    bundle: Path, without: dict[str, str], tmp_path: Path
) -> None:
    done = run_bundle(bundle, tmp_path, without, "--input", "nowhere", "--output", "out")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "nowhere: does not exist; name a folder or a file of CT images"
    assert "Traceback" not in done.stderr
