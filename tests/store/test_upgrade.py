"""Databases that earlier versions of quacc have written are read, and written to, by this one.

Made by ``quacc run bulk_to_slabs Cu --set max_index=1`` of the first edition: its first days
(commit e6bb718, without Wulff shapes), and its last (6d93b0b).
"""

import gzip
import re
import sqlite3
from pathlib import Path

import pytest
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.recipes.emt.core import static_job
from quacc.settings import change_settings
from quacc.store import Store

BEFORE = sorted((Path(__file__).parent / "before").glob("*.db.gz"))


@pytest.fixture(params=BEFORE, ids=lambda file: file.name)
def database(request):
    file = Path("before.db")
    file.write_bytes(gzip.decompress(request.param.read_bytes()))
    with change_settings(store=str(file.absolute())):
        yield file


def test_every_result_is_there(database):
    rows = list(Store().select())
    assert len(rows) == 9
    for row in rows:
        result = Store().get(row.key)
        assert result["key"] == row.key
        if row.recipe != "emt.bulk_to_slabs_flow":
            atoms = result["atoms"]
            atoms.calc = EMT()
            assert result["results"]["energy"] == pytest.approx(atoms.get_potential_energy())


def test_it_is_shown_drawn_and_checked(database):
    [row] = Store().select(recipe="emt.bulk_to_slabs_flow")
    for words in (["show", row.key], ["check"], ["ls"]):
        answer = CliRunner().invoke(app, ["results", *words])
        assert answer.exit_code == 0, answer.output
    drawn = CliRunner().invoke(app, ["results", "plot", row.key])
    if "wulff" in Store().get(row.key):
        assert drawn.exit_code == 0, drawn.output
    else:
        assert re.search("has no 'wulff': an earlier version .* again", str(drawn.exception))
    shown = CliRunner().invoke(app, ["results", "show", row.key]).stdout
    assert "(111) costs least, 1.044 J/m²" in shown


def test_new_results_join_the_old_ones(database):
    before = rows(database)
    assert len(before) >= 9
    result = static_job("Ag")
    Store().add([result])
    after = rows(database)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    assert Store().get(result["key"])["results"]["energy"] == result["results"]["energy"]


def rows(file):
    """Return what is in the file, as SQLite alone reads it."""
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT unique_id, data FROM systems ORDER BY id").fetchall()
