"""Two reports side by side, and when the command fails."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quacc.bench.compare import compare
from quacc.bench.reporters import read, report
from quacc.bench.run import run as run_pairs
from quacc.bench.tasks import gather_jobs
from quacc.cli.main import app
from quacc.errors import InputError


def row(metric, value, better="lower", model="emt", **more):
    return {
        "task": "eos",
        "model": model,
        "metric": metric,
        "value": value,
        "better": better,
    } | more


BEFORE = [
    row("mae", 10.0),
    row("rho", 0.8, "higher"),
    row("drift", 0.0),
    row("mae", None, model="lj"),
    row("rho", 0.5, "higher", model="lj"),
    row("mae", 3.0, model="gone"),
    row("kind", "fcc", None),
    row("volume", 11.0, None),
]
AFTER = [
    row("mae", 11.0),
    row("rho", 0.9, "higher"),
    row("drift", 0.0),
    row("mae", 7.0, model="lj"),
    row("rho", None, "higher", model="lj"),
    row("mae", 3.0, model="new"),
    row("kind", "hcp", None),
    row("volume", 10.0, None),
]


def test_outcomes():
    found = compare(BEFORE, AFTER)
    outcomes = {(one["model"], one["metric"]): one["outcome"] for one in found.rows}
    assert outcomes == {
        ("emt", "mae"): "worse",
        ("emt", "rho"): "better",
        ("emt", "drift"): "same",
        ("lj", "mae"): "failed before",
        ("lj", "rho"): "failed now",
        ("gone", "mae"): "only in the first",
        ("new", "mae"): "only in the second",
        ("emt", "kind"): "changed",
        ("emt", "volume"): "changed",
    }
    assert not found.failed
    mae = found.rows[0]
    assert (mae["change"], mae["change (%)"]) == (1.0, pytest.approx(10.0))
    assert (mae["first"], mae["second"], mae["better"]) == (10.0, 11.0, "lower")
    assert found.rows[2]["change (%)"] is None


@pytest.mark.parametrize(
    ("thresholds", "too_much"),
    [
        ({"eos.mae": "10%"}, {("gone", "mae")}),  # exactly
        ({"mae": "9.9%"}, {("emt", "mae"), ("gone", "mae")}),
        ({"mae": 1}, {("gone", "mae")}),
        ({"mae": 0.99}, {("emt", "mae"), ("gone", "mae")}),
        ({"rho": 0}, {("lj", "rho")}),  # better is no failure; none is
        ({"drift": "0%"}, set()),
        ({"volume": 0.5}, {("emt", "volume")}),  # no direction: either
        ({"volume": 1.5}, set()),
        ({"kind": 1}, {("emt", "kind")}),
        (
            {"mae": "50%", "*": 0},
            {("gone", "mae"), ("lj", "rho"), ("emt", "kind"), ("emt", "volume")},
        ),
    ],
)
def test_thresholds(thresholds, too_much):
    found = compare(BEFORE, AFTER, thresholds)
    assert {(one["model"], one["metric"]) for one in found.rows if one["too much"]} == too_much
    assert found.failed == bool(too_much)


def test_a_share_of_nothing_is_nothing():
    assert compare([row("drift", 0.0)], [row("drift", 1e-9)], {"drift": "50%"}).failed
    worse = compare([row("rho", -0.5, "higher")], [row("rho", -0.6, "higher")], {"rho": "19%"})
    assert worse.failed
    assert worse.rows[0]["change (%)"] == pytest.approx(-20)


def test_what_makes_no_sense():
    for thresholds, text in (
        ({"mea": "5%"}, "nothing called 'mea' to have a threshold. Did you mean 'mae'"),
        ({"mae": "-5%"}, "must be a number of at least 0"),
        ({"mae": "much"}, "not 'much'"),
        ({"mae": "nan"}, "not 'nan'"),
    ):
        with pytest.raises(InputError) as caught:
            compare(BEFORE, AFTER, thresholds)
        assert text in str(caught.value)
    with pytest.raises(InputError, match="has metric and value"):
        compare([{"a": 1}], [])


def invoke(*words):
    return CliRunner().invoke(app, ["bench", "compare", *words])


def test_the_command():
    report(BEFORE, "before.csv")
    report(AFTER, "after.ndjson")
    fine = invoke("before.csv", "after.ndjson")
    assert fine.exit_code == 0, fine.output
    assert "failed before" in fine.output
    failed = invoke("before.csv", "after.ndjson", "--threshold", "eos.mae=5%")
    assert failed.exit_code == 1
    assert "2 of 9 got worse by more than the threshold" in failed.output
    Path("limits.yml").write_text("mae: 50%\nvolume: 2\n")
    assert invoke("before.csv", "after.ndjson", "--thresholds", "limits.yml").exit_code == 1  # gone
    report([one for one in BEFORE if one["model"] == "emt"], "b.db")
    assert invoke("b.db", "after.ndjson", "--thresholds", "limits.yml").exit_code == 0
    # What is given here counts instead of the file's.
    own = ["--thresholds", "limits.yml", "--threshold", "volume=0.5"]
    assert invoke("b.db", "after.ndjson", *own).exit_code == 1
    Path("limits.yml").write_text("- mae\n")
    for words, text in (
        (["--threshold", "mae"], "Write --threshold METRIC=AMOUNT"),
        (["--thresholds", "limits.yml"], "lines such as mae: 5%"),
        (["--thresholds", "none.yml"], "cannot be read"),
    ):
        wrong = invoke("b.db", "after.ndjson", *words)
        assert isinstance(wrong.exception, InputError)
        assert text in str(wrong.exception)


def test_benchmarks_have_equals_signs_in_their_names():
    for name, value in (("a.json", 1.0), ("b.json", 2.0)):
        report([{"benchmark": "root_power=2", "metric": "value", "value": value}], name)
    assert invoke("a.json", "b.json", "--threshold", "root_power=2=50%").exit_code == 1
    assert invoke("a.json", "b.json", "--threshold", "root*=150%").exit_code == 0


def test_records_of_pairs():
    """As the engine keeps them: one file each, in a folder."""
    metric = {"title": "", "unit": "meV", "better": "lower", "mean": "", "chance": None}
    for name, value in (("old", 1.0), ("new", 3.0)):
        Path(name).mkdir()
        record = {
            "schema": 1,
            "key": name,
            "task": {"name": "eos", "metrics": {"mae": metric}},
            "model": {"name": "emt"},
            "state": "complete",
            "reason": None,
            "cases": [],
            "metrics": {"mae": {"value": value, "low": None, "high": None, "n": 1, "of": 1}},
            "context": {"started": "2026-11-30T06:00:00+00:00"},
        }
        Path(name, "eos.emt.json").write_text(json.dumps(record))
    [found] = compare("old", Path("new/eos.emt.json"), {"mae": "100%"}).rows
    assert (found["first"], found["second"], found["too much"]) == (1.0, 3.0, True)


def test_a_pair_that_has_been_run():
    """Records of the engine; Lennard-Jones' parameters are not copper's, so that it skips it."""
    [emt], [lj] = (
        run_pairs(gather_jobs([model], ["eos_bulk"]), elements=["Cu"]) for model in ("emt", "lj")
    )
    assert (emt["state"], lj["state"]) == ("complete", "skipped")
    report([emt], "emt.ndjson")
    rows = {row["metric"]: row for row in read("emt.ndjson")}
    assert rows.keys() == emt["metrics"].keys()
    for name, one in emt["metrics"].items():
        assert {key: rows[name][key] for key in one} == one
    # The same pair again: nothing has changed.
    [again] = run_pairs(gather_jobs(["emt"], ["eos_bulk"]), elements=["Cu"])
    same = compare("emt.ndjson", [again], {"*": 0})
    assert {row["outcome"] for row in same.rows} <= {"same", "failed in both"}
    assert not same.failed
    # More structures: other means.
    [more] = run_pairs(gather_jobs(["emt"], ["eos_bulk"]), elements=["Cu", "Al"])
    for row in compare([emt], [more]).rows:
        assert row["second"] == more["metrics"][row["metric"]]["value"]
        assert row["better"] == emt["task"]["metrics"][row["metric"]]["better"]
    # Had it been skipped: no value.
    gone = compare("emt.ndjson", [{**lj, "model": emt["model"]}], {"eos_bulk.*": "1%"})
    assert gone.failed
    assert "failed now" in {row["outcome"] for row in gone.rows}
    outcomes = {row["outcome"] for row in compare([emt], [lj]).rows}
    assert outcomes == {"only in the first", "only in the second"}
