"""The notebooks run from start to end, with tiny settings; they are stored without outputs."""

import os
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def execute(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a notebook in a folder and return the text of its outputs, pictures as ``image/png``."""
    from nbclient import NotebookClient

    for name, value in {
        "CTCYCLE_EXAMPLE_TINY": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }.items():
        monkeypatch.setenv(name, value)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(str(output.get("text", "")) + " ".join(output.get("data", {})) for output in outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the Jupyter client, which the notebooks do not concern
def test_training_on_phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = execute(read(ROOT / "examples" / "train_on_phantoms.ipynb"), tmp_path, monkeypatch)
    assert "cyclegan" in text
    assert "image/png" in text
    assert (tmp_path / "example" / "trained" / "checkpoints" / "best.pt").exists()
    assert (tmp_path / "example" / "evaluation" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("widgets", [True, False], ids=["sliders", "static"])
def test_denoising_and_looking(*, widgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read(ROOT / "examples" / "denoise_and_look.ipynb")
    if widgets:
        pytest.importorskip("ipywidgets")
    else:
        hidden = "import sys\nsys.modules['ipywidgets'] = None"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(hidden))
    text = execute(notebook, tmp_path, monkeypatch)
    assert "standard deviation of what was removed" in text
    assert ("application/vnd.jupyter.widget-view+json" in text) == widgets
    assert widgets or "image/png" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["denoise_and_look", "train_on_phantoms"]
