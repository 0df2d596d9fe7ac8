"""The notebook in colab/ runs from top to bottom and stays short."""

import pathlib

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parent.parent / "colab" / "quickstart.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a notebook has
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) <= 15
    assert not any(cell.get("outputs") for cell in notebook.cells), "stored without outputs"
    notebook.metadata.kernelspec.name = "python3"
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "512 bytes a vector" in "".join(output.get("text", "") for cell in code for output in cell.outputs)
