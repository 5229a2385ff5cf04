"""What IPython shows of results, by its own formatters."""

import pickle
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections import OrderedDict
from html.parser import HTMLParser
from inspect import signature

import pytest
from ase.build import bulk
from IPython.core.formatters import DisplayFormatter

import quacc
from quacc.recipes import report
from quacc.recipes.emt import core
from quacc.recipes.facts import numbers
from quacc.recipes.tools.workflow import workflow
from quacc.recipes.workflows import eos_flow
from quacc.store import Store


class Shell:
    """As much of IPython's shell as shows things."""

    def __init__(self):
        self.display_formatter = DisplayFormatter()
        self.display_formatter.active_types = ["text/plain", "text/html"]
        quacc.show_results(self)

    def show(self, value):
        return self.display_formatter.format(value)[0]


@pytest.fixture(scope="module")
def show():
    return Shell().show


@pytest.fixture(scope="module")
def relaxed():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    return core.relax_job(atoms)


class Pictures(HTMLParser):
    """Collects the images, and whatever a page would fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.svgs, self.others = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        source = dict(attrs).get("src", "")
        if source.startswith("data:image/svg+xml;base64,"):
            assert dict(attrs)["alt"]
            self.svgs.append(ET.fromstring(b64decode(source.partition(",")[2])))
        elif source or tag in ("script", "link", "iframe", "object"):
            self.others.append((tag, source))


def test_a_relaxation_shows_structure_curve_numbers_and_files(show, relaxed):
    shown = show(relaxed)
    energy = f"{relaxed['results']['energy']:.6f} eV"
    for text in shown.values():
        assert energy in text
        assert "force threshold 0.01 eV/Å" in text
        assert relaxed["key"][:10] in text
        assert "none (computed in memory)" in text
    assert "A dictionary: name, formula" in shown["text/plain"]
    assert len(shown["text/plain"]) < 1000
    pictures = Pictures(shown["text/html"])
    assert len(pictures.svgs) == 2
    assert pictures.others == []


def test_its_curve_is_its_history(relaxed):
    upper, lower = report.plot(relaxed).axes
    energies = relaxed["history"]["energy"]
    assert upper.lines[0].get_ydata() == pytest.approx(energies - energies[-1])
    assert lower.lines[0].get_ydata() == pytest.approx(relaxed["history"]["fmax"])
    assert lower.lines[1].get_ydata()[0] == relaxed["fmax"]


def test_warnings_and_texts_of_others_are_text(show):
    result = core.static_job("H2O")
    assert "are for tests only" in show(result)["text/html"]
    evil = {**result, "name": "<script>alert(1)</script>", "warnings": ["<img src=x>"]}
    pictures = Pictures(show(evil)["text/html"])
    assert pictures.others == []
    assert len(pictures.svgs) == 1


def test_a_workflow_shows_its_numbers_with_units_and_its_figure(show):
    result = eos_flow("Cu", calculator="emt", points=5)
    shown = show(result)
    modulus = f"{result['bulk_modulus']:.6g} GPa"
    assert dict(numbers(result))["bulk_modulus"] == modulus
    for text in shown.values():
        assert modulus in text
        assert report.summary(result).partition(" Å³")[0] in text
    assert len(Pictures(shown["text/html"]).svgs) == 2


def test_a_damaged_result_is_shown_as_the_dictionary_it_is(show, relaxed):
    damaged = {**relaxed, "results": None}
    shown = show(damaged)
    assert "'results': None" in shown["text/plain"]
    assert "text/html" not in shown


def test_results_stay_dictionaries(show, relaxed):
    Store().add([relaxed])
    for again in (pickle.loads(pickle.dumps(relaxed)), Store().get(relaxed["key"])):
        assert type(again) is dict
        assert "text/html" in show(again)
    lines = show([relaxed, relaxed])["text/plain"].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"[<emt.relax_job of Cu, key {relaxed['key'][:10]}: -0.0")


def test_other_dictionaries_are_shown_as_before(show):
    class Own(dict):
        def _repr_html_(self):
            return "<b>own</b>"

    before = DisplayFormatter()
    before.active_types = ["text/plain", "text/html"]
    ring = {"name": "x"}
    ring["ring"] = ring
    for value in ({"a": [1, {}]}, OrderedDict(a=1), Own(a=1), ring, {"name": 1, "formula": 2}):
        assert show(value) == before.format(value)[0]


def test_a_job_in_a_signature_has_a_name():
    @workflow
    def mine(atoms, relax=core.relax_job, *, fmax=0.1, calculator=None):
        return relax(atoms, fmax=fmax)

    assert str(signature(mine)) == ("(atoms, relax='emt.relax_job', *, fmax=0.1, calculator=None)")
    assert mine("Cu")["key"] == core.relax_job("Cu", fmax=0.1)["key"]
