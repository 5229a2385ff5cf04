"""The notebooks of the cookbook: they run, and show what is stored in them."""

import re
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

from quacc.store import Store

RECIPES = Path(__file__).parents[2] / "recipes"


def run(name):
    """Return the texts that the cells of a notebook show, as stored and now, and the notebook."""
    notebook = nbformat.read(RECIPES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    before = texts(notebook)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return before, texts(notebook), notebook


def texts(notebook):
    return {
        cell.id: "\n".join(
            output.get("text") or output["data"]["text/plain"] for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def numbers(text):
    lines = [line for line in text.splitlines() if not line.startswith("  key")]
    return [float(one) for one in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", "\n".join(lines))]


@pytest.mark.parametrize(
    ("name", "results"),
    [("first_relaxation", 2), ("elastic_phonons", 2), ("comparing_potentials", 1)],
)
def test_a_notebook_shows_what_is_stored_in_it(name, results):
    before, now, notebook = run(name)
    for cell, text in now.items():
        assert numbers(text) == pytest.approx(numbers(before[cell]), rel=1e-2, abs=2e-3), cell
    shown = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert len(shown) == results
    for html in shown:
        assert "data:image/svg+xml" in html
        assert "eV" in html or "GPa" in html or "THz" in html
        assert "<script" not in html
    assert str(RECIPES.parent) not in (RECIPES / f"{name}.ipynb").read_text()


def test_what_the_first_one_relaxes_is_kept_and_written():
    run("first_relaxation")
    [row] = Store().select()
    assert row.recipe == "emt.relax_job"
    assert row.converged
    from ase.io import read

    written = read("relaxed.cif")
    stored = Store().get(row.key)["atoms"]
    assert written.get_volume() == pytest.approx(stored.get_volume(), rel=1e-4)
    assert np.linalg.norm(Store().get(row.key)["results"]["stress"]) < 1e-2


def test_potentials_between_pairs_obey_cauchy():
    _, now, _ = run("comparing_potentials")
    [table] = [text for text in now.values() if "C44" in text]
    rows = {line.split()[0]: [float(one) for one in line.split()[1:]] for line in table_rows(table)}
    assert rows["Lennard-Jones"][2] == pytest.approx(rows["Lennard-Jones"][3], rel=1e-3)
    assert rows["EMT"][2] > 1.2 * rows["EMT"][3]


def table_rows(text):
    return [line for line in text.splitlines() if line.split() and line.split()[0] != "a"]
