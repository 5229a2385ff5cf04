"""Tables of 80 columns."""

import io
import re

import pytest
from rich.console import Console

from quacc.cli.tables import rows_table
from quacc.recipes import report
from tests import emt


def printed(rows, width=80):
    out = Console(file=io.StringIO(), width=width)
    out.print(rows_table(rows, width))
    return out.file.getvalue()


WIDE = [
    {
        "name": "a long name of a thing that has many words",
        "path": "/scratch/project_465000123/user/results",
        **{f"value number {i} (GPa)": (-1) ** i * 10.0**i / 7 for i in range(-5, 9)},
        "tiny": 8.9e-16,
        "fine": True,
    },
    {"name": "b", "path": None, "value number 3 (GPa)": float("nan"), "fine": False},
]


@pytest.mark.parametrize("width", [60, 80, 120, 400])
def test_no_number_and_no_header_is_cut(width):
    text = printed(WIDE, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for i in range(-5, 9):
        assert f"{(-1) ** i * 10.0**i / 7:.5g}" in text.split()
    assert text.split().count("number") == 14
    assert "8.9e-16" not in text
    assert re.sub(r"\s", "", WIDE[0]["path"])[:8] in text


def test_a_narrow_terminal_gets_all_columns():
    text = printed(WIDE, 20)
    assert text.count("tiny") == 1


def test_one_table_where_there_is_room():
    assert printed(WIDE, 400).count("name") == 2  # the header, and "a long name"
    assert printed(WIDE, 60).count("name") > 2


def test_the_tables_of_workflows():
    for result in (
        emt.eos_flow("Cu"),
        emt.elastic_flow("Cu"),
        emt.bulk_to_slabs_flow("Cu", slab_static_electron=None),
        emt.reaction_flow("N2 + 3 H2 -> 2 NH3"),
    ):
        text = printed(report.table(result))
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80
        for row in report.table(result):
            for value in row.values():
                if isinstance(value, float) and abs(value) > 1e-10:
                    assert f"{value:.5g}" in text
