"""The notebooks in colab/ run from top to bottom, at the size of a toy, and stay short."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

COLAB = pathlib.Path(__file__).parent.parent / "colab"
SETTINGS = {
    "quickstart": "ROWS, ROUNDS = 4000, 1",
    "explore": "ROWS, STEPS, SHOWN = 1500, 20, 400",
    "reproduce": "ROWS, H, STEPS, MATRYOSHKA_STEPS, QUERIES = 1500, 256, 20, 5, 100",
}


@pytest.fixture
def run(monkeypatch):
    """The code cells of a notebook after it has run with small settings."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a notebook has
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook

    def work(name):
        notebook = nbformat.read(COLAB / f"{name}.ipynb", as_version=4)
        assert len(notebook.cells) <= 15
        assert not any(cell.get("outputs") for cell in notebook.cells), "stored without outputs"
        notebook.metadata.kernelspec.name = "python3"
        (settings,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
        assert settings.source.partition(" = ")[0] == SETTINGS[name].partition(" = ")[0]
        settings.source = SETTINGS[name]
        NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(COLAB)}}).execute()
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    return work


def said(code):
    return "".join(output.get("text", "") for cell in code for output in cell.outputs)


def shown(code):
    return [output.data for cell in code for output in cell.outputs if output.output_type == "execute_result"]


def drawn(code):
    return any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)


def test_the_quickstart_runs(run):
    code = run("quickstart")
    assert "1,536 bytes a vector" in said(code) and "4,000 packages in 0.3 MB" in said(code)
    named = ("Model", "Index", "Found")
    assert all(any(one["text/plain"].startswith(f"<{name}") for one in shown(code)) for name in named)
    assert drawn(code)


def test_what_latents_mean_is_shown_in_the_notebook(run):
    code = run("explore")
    (frame,) = (one["text/html"] for one in shown(code) if "text/html" in one)
    assert "<iframe" in frame and "What the latents mean" in frame
    assert "debian.html: 0." in said(code) and "all together; the index says" in said(code)


def test_a_figure_of_the_paper_is_drawn(run):
    code = run("reproduce")
    assert "100 queries, 1,400 rows to search, 1,536 bytes each" in said(code) and drawn(code)
    rows = [line.split("  ")[-5:] for line in said(code).splitlines() if " ± " in line]
    sparse, reconstructed, _, truncation = ([float(one.split()[0]) for one in row] for row in rows)
    assert 0 < truncation[0] < truncation[-1] < 1
    assert 0 < sparse[0] < 1 and 0 < reconstructed[0] < 1


def test_all_notebooks_are_tested_and_install_alike():
    books = {path.stem: nbformat.read(path, as_version=4) for path in COLAB.glob("*.ipynb")}
    assert set(books) == set(SETTINGS)
    assert len({book.cells[1].source for book in books.values()}) == 1
