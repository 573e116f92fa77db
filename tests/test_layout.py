"""The rules of the house that a reader of the code relies on."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ctcycle"

# Lowest first. A module imports from lower layers only. A package stands for all of its modules, except those that are
# named on their own; the modules of one package may import each other.
LAYERS = (
    "ctcycle crashes errors hounsfield stored network_specs preemption scan_settings simulation_settings",
    "atomic blobs config config.components config.sections config.strict_yaml denoiser dose fingerprint folder_lock",
    "image_pool losses networks processes projection series twin_settings",
    "anatomy build dicom dicom_new event_file manifest metrics nifti noise_swap npy",
    "classical config.training_schema phantom reconstruction splits transforms volumes",
    "config.schema",
    "config.suggestions twin_noise sampling scan series_denoising simulation steps store",
    "config.problems scan_summary twins",
    "config.merging",
    "config.loading",
    "checkpoints figures handlers pairing run_folder schedules tracking training_data",
    "evaluate trained",
    "bundle_app comparison denoise methods validation",
    "bundle_pairs training_sets",
    "bundle_speed bundle_training training",
    "bundle",
    "tasks",
    "run",
)

HEAVY = {"torch", "monai", "ignite", "mlflow", "numpy", "scipy", "skimage", "matplotlib", "pydicom", "nibabel"}
MODULES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".") or "ctcycle": file
    for file in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in MODULES.items()}
every_module = pytest.mark.parametrize("name", MODULES)


def entry(name: str) -> str | None:
    """The module or package under which the table lists a module."""
    listed = {item for layer in LAYERS for item in layer.split()}
    while name not in listed and "." in name:
        name = name.rpartition(".")[0]
    return name if name in listed else None


def layer(name: str) -> int:
    listed = entry(name)
    return next((number for number, names in enumerate(LAYERS) if listed in names.split()), -1)


def imported(name: str) -> set[str]:
    """The modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    ours = {item.removeprefix("ctcycle.") for item in found if item.split(".")[0] == "ctcycle"}
    return {item for item in ours if item in MODULES} - {name}


def calls(name: str) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]


@every_module
def test_every_module_has_its_place(name: str) -> None:
    assert entry(name), f"{name} is in no layer: add it to LAYERS, above all that it imports"


def test_the_table_names_only_what_exists_and_once() -> None:
    listed = [item for names in LAYERS for item in names.split()]
    assert set(listed) <= set(MODULES)
    assert len(listed) == len(set(listed))


@every_module
def test_imports_point_downwards(name: str) -> None:
    upwards = {item for item in imported(name) if layer(item) >= layer(name) and entry(item) != entry(name)}
    assert not upwards, f"{name} (layer {layer(name)}) imports {upwards}, which are not below it"


def test_nothing_imports_itself_by_a_detour() -> None:
    # importing a.b runs a/__init__ first, which is why a package must not need those who import its modules
    TopologicalSorter({name: imported(name) - {name.rpartition(".")[0]} for name in MODULES}).prepare()


def test_layers_are_told_apart() -> None:
    assert layer("errors") < layer("atomic") < layer("config.loading") < layer("run")
    assert imported("config.loading") >= {"config.schema", "config.merging", "errors"}


@every_module
def test_no_module_is_a_drawer_for_odds_and_ends(name: str) -> None:
    assert not {"utils", "util", "common", "helpers", "misc"} & set(name.split("."))


def test_importing_the_package_imports_nothing() -> None:
    assert not [node for node in ast.walk(TREES["ctcycle"]) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("config") or name in {"run", "errors"}])
def test_reading_a_config_needs_nothing_heavy(name: str) -> None:
    top = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
    assert not {item.split(".")[0] for item in names} & HEAVY


@every_module
def test_only_the_command_line_prints(name: str) -> None:
    assert name in {"run", "tasks"} or "print" not in calls(name)


@every_module
def test_assert_checks_no_input(name: str) -> None:
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(TREES[name]))


@every_module
def test_no_file_that_is_loaded_can_run_code(name: str) -> None:
    evil = {"pickle.load", "pickle.loads", "eval", "exec", "yaml.load", "yaml.unsafe_load", "joblib.load"}
    assert not evil & set(calls(name))
    loads = [
        node
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "np.load", "numpy.load"}
    ]
    for call in loads:
        safe = {"torch.load": ("weights_only", True)}.get(ast.unparse(call.func), ("allow_pickle", False))
        given = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg == safe[0]}
        assert given == dict([safe]), f"{name}:{call.lineno}: {safe[0]}={safe[1]} must be written out"
