"""Reports, as other programs read them, and as they are read again."""

import asyncio
import csv
import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from quacc.bench.benchmark import benchmark, product
from quacc.bench.reporters import read, report
from quacc.bench.rows import flat, rows_of
from quacc.bench.session import run
from quacc.errors import InputError, StoreError

FILES = ["a.json", "a.ndjson", "a.csv", "a.parquet", "a.db", "json:text", "sqlite:base"]


@product(power=[1, 2])
def root(power: int) -> dict:
    """Two values of each run, of which the first of the second has a name with a comma."""
    return {"root, of two": 2 ** (1 / power), "what": "é"}


@benchmark(tags=("metric", "quick"))
def broken():
    raise ValueError('a "quoted"\nreason')


def record(state="complete", value=12.5):
    """Return the record of a pair, with what rows are made from."""
    metrics = {
        "mae": {"title": "error", "unit": "meV", "better": "lower", "mean": "", "chance": None},
        "rho": {"title": "rank", "unit": "", "better": "higher", "mean": "", "chance": None},
    }
    return {
        "key": "ab" * 32,
        "task": {"name": "eos_bulk", "metrics": metrics},
        "model": {"name": "emt"},
        "state": state,
        "reason": None if state == "complete" else "1 of 8 failed",
        "cases": [],
        "metrics": {
            "mae": {"value": value, "low": 10.0, "high": 15.0, "n": 7, "of": 8},
            "rho": {"value": None, "low": None, "high": None, "n": 0, "of": 8},
        },
        "context": {"started": "2026-11-30T06:00:00.000+00:00"},
    }


@pytest.fixture(scope="module")
def records():
    return run([root, broken])


def test_rows(records):
    rows = flat([*records, record("partial")])
    assert [(row["benchmark"], row["metric"]) for row in rows[:5]] == [
        ("root_power=1", "root, of two"),
        ("root_power=1", "what"),
        ("root_power=2", "root, of two"),
        ("root_power=2", "what"),
        ("broken", "value"),
    ]
    assert rows[2]["value"] == pytest.approx(math.sqrt(2))
    assert json.loads(rows[2]["parameters"]) == {"power": 2}
    assert rows[4]["error"] == 'ValueError: a "quoted"\nreason'
    mae, rho = rows[5:]
    names = ("task", "model", "metric", "value", "low", "high", "n", "of", "unit", "better")
    assert [mae[one] for one in names] == [
        *("eos_bulk", "emt", "mae", 12.5, 10.0, 15.0, 7, 8, "meV", "lower")
    ]
    assert (mae["state"], mae["reason"], mae["key"]) == ("partial", "1 of 8 failed", "ab" * 32)
    assert (rho["value"], rho["n"]) == (None, 0)
    assert len({tuple(row) for row in rows}) == 1
    assert rows_of(mae) == [mae]


@pytest.mark.parametrize("to", FILES)
def test_what_is_read_is_what_was_written(records, to):
    rows = flat(records)
    report(records, to)
    found = read(to)
    assert len(found) == len(rows)
    assert found == rows
    [left] = Path().iterdir()
    assert left.name == to.rpartition(":")[2]


def test_other_programs_read_them():
    rows = [*flat([record()])]
    for to in ("a.json", "a.ndjson", "a.csv", "a.parquet", "a.db"):
        report([record()], to)
    frames = [
        pandas.read_json("a.json"),
        pandas.read_json("a.ndjson", lines=True),
        pandas.read_csv("a.csv"),
        pandas.read_parquet("a.parquet"),
    ]
    for frame in frames:
        assert list(frame.columns) == list(rows[0])
        assert frame["value"][0] == 12.5
        assert frame["n"].tolist() == [7, 0]
        assert math.isnan(frame["value"][1])
    with open("a.csv", newline="") as stream:
        assert len([*csv.reader(stream)]) == 3
    with sqlite3.connect("a.db") as database:
        assert database.execute(
            "SELECT metric, value, n FROM benchmarks WHERE task = 'eos_bulk'"
        ).fetchall() == [("mae", 12.5, 7), ("rho", None, 0)]


def test_what_is_added_to_and_what_is_replaced(records):
    for to, times in (("a.json", 1), ("a.csv", 1), ("a.parquet", 1), ("a.ndjson", 2), ("a.db", 2)):
        report([record(value=1.0)], to)
        report([record(value=2.0)], to)
        values = [row["value"] for row in read(to) if row["metric"] == "mae"]
        assert values == [1.0, 2.0][-times:]
    # Rows of another kind: new columns.
    report(records, "a.db")
    found = read("a.db")
    assert len(found) == 4 + 5
    assert found[0]["benchmark"] is None
    assert found[4]["benchmark"] == "root_power=1"


def test_a_file_is_whole_or_the_old_one(tmp_path):
    report([record()], "a.json")
    old = Path("a.json").read_text()
    with pytest.raises(InputError, match="finite"):
        report([record(value=float("nan"))], "a.json")
    with pytest.raises(StoreError, match="Cannot report"):
        report([record()], tmp_path / "nothing" / "a.json")
    assert Path("a.json").read_text() == old
    Path("a.db").write_text("no database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        report([record()], "a.db")


def test_console(records, capsys):
    report([*records, record()], "console:")
    lines = capsys.readouterr().out
    assert "root_power=2" in lines
    assert "1.41421" in lines
    assert 'ValueError: a "quoted"' in lines
    assert "eos_bulk" in lines
    assert "Traceback" not in lines


def test_prefect(prefect_server, records):
    @flow
    def one():
        report(records, "prefect:my-benchmarks")
        return FlowRunContext.get().flow_run.id

    async def find(run):
        async with get_client() as client:
            only = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
            return (await client.request("POST", "/artifacts/filter", json=only)).json()

    [artifact] = asyncio.run(find(one()))
    assert (artifact["type"], artifact["key"]) == ("table", "my-benchmarks")
    rows = json.loads(artifact["data"])
    assert [row["value"] for row in rows] == [2.0, "é", 1.41421, "é", None]
    with pytest.raises(InputError, match="inside a flow"):
        report(records, "prefect:")


def test_mlflow(records):
    from mlflow.tracking import MlflowClient

    report(
        [*records, record("partial"), record("partial") | {"model": {"name": "lj"}}], "mlflow:ml.db"
    )
    client = MlflowClient(f"sqlite:///{Path('ml.db').absolute()}")
    experiment = client.get_experiment_by_name("benchmarks")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"root_power=1", "root_power=2", "broken", "emt", "lj"}
    emt, second, broken = runs["emt"], runs["root_power=2"], runs["broken"]
    assert emt.data.metrics == {
        "eos_bulk.mae": 12.5,
        "eos_bulk.mae.n": 7,
        "eos_bulk.mae.of": 8,
        "eos_bulk.rho.n": 0,
        "eos_bulk.rho.of": 8,
    }
    assert emt.data.tags["eos_bulk.mae.state"] == "partial"
    assert second.data.metrics["root- of two"] == pytest.approx(2**0.5)
    assert json.loads(second.data.tags["parameters"]) == {"power": 2}
    assert (second.info.status, broken.info.status) == ("FINISHED", "FAILED")
    assert "quoted" in broken.data.tags["value.error"]
    report([record()], "mlflow:ml.db")
    assert len(client.search_runs([experiment.experiment_id])) == 6

    Path("broken.db").write_text("no database " * 100)
    for place, text in (("broken.db", "not a database"), ("ftp://a", "unsupported URI")):
        with pytest.raises(StoreError, match=text):
            report([record()], f"mlflow:{place}")


def test_reports_that_there_are_not(records):
    for to, text in (
        ("jsn:a", "no report 'jsn:'. Did you mean 'json'"),
        ("a.txt", "does not say which report: end it in .json"),
        ("csv:", "csv: needs a file"),
    ):
        with pytest.raises(InputError) as caught:
            report(records, to)
        assert text in str(caught.value)
    with pytest.raises(InputError, match="no records"):
        report([], "a.json")
    for place, content, text in (
        ("a.json", "{", "cannot be read as json"),
        ("b.json", '[{"a": 1}]', "its rows have no metric and value"),
        ("c.json", None, "There is no report"),
        ("d.parquet", "no", "cannot be read as parquet"),
    ):
        if content:
            Path(place).write_text(content)
        with pytest.raises(InputError, match=text):
            read(place)
    with pytest.raises(InputError, match="cannot be read again"):
        read("mlflow:a.db")


def test_a_missing_package_names_the_extra():
    """In a Python without them: that of the tests, of which a finder hides them."""
    program = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyarrow", "mlflow"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Hide())
from quacc.bench.reporters import report
from quacc.errors import MissingProgramError
for to in ("a.parquet", "mlflow:a.db"):
    try:
        report([{"metric": "a", "value": 1}], to)
    except MissingProgramError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arrow, mlflow = done.stdout.splitlines()
    assert "pyarrow" in arrow
    assert "mlflow" in mlflow
    assert done.stdout.count("pip install 'quacc[bench]'") == 2
