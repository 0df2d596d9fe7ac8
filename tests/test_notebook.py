"""The notebook in colab/ runs from top to bottom and stays short."""

import pathlib

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parent.parent / "colab" / "quickstart.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a notebook has
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) <= 15
    assert not any(cell.get("outputs") for cell in notebook.cells), "stored without outputs"
    notebook.metadata.kernelspec.name = "python3"
    (settings,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    settings.source = "ROWS, ROUNDS = 4000, 1"
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert "1,536 bytes a vector" in said and "4,000 packages in 0.3 MB" in said
    shown = [output.data for cell in code for output in cell.outputs if output.output_type == "execute_result"]
    assert all(any(one["text/plain"].startswith(f"<{name}") for one in shown) for name in ("Model", "Index", "Found"))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
