"""Campaigns: mistakes are told before anything runs, and the numbers are those of direct calls."""

import textwrap
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from quacc.campaigns.check import load
from quacc.campaigns.run import run
from quacc.cli.main import app
from quacc.errors import InputError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows import eos_flow, hull_flow
from quacc.store import Store


def campaign(text, name="campaign.yml"):
    """Write a campaign's file here; return its path."""
    file = Path(name)
    file.write_text(textwrap.dedent(text))
    return file


def in_words(outcome):
    return {
        step.name: [(one.name, one.state) for one in outcome.items(step)]
        for step in outcome.campaign.steps
    }


WRONG = {
    "indentation": (
        """\
        steps:
          relax:
            run: relax
             foreach: [Cu]
        """,
        ["campaign.yml:4: not valid YAML", "indentation"],
    ),
    "a key twice": (
        """\
        steps:
          relax: {run: relax, foreach: [Cu]}
          relax: {run: eos, foreach: [Cu]}
        """,
        ["campaign.yml:3: found duplicate key", "rename it"],
    ),
    "an unknown key": (
        """\
        steps:
          relax:
            run: relax
            for_each: [Cu]
        """,
        ["campaign.yml:4: steps.relax.for_each: There is no 'for_each'.", "mean 'foreach'?"],
    ),
    "an unknown workflow": (
        """\
        steps:
          surfaces:
            run: bulk_to_slab
            foreach: [Cu]
        """,
        ["campaign.yml:3: steps.surfaces.run: There is no", "mean 'bulk_to_slabs'?"],
    ),
    "an unknown parameter": (
        """\
        steps:
          eos:
            run: eos
            with:
              atoms: Cu
              pionts: 7
        """,
        ["campaign.yml:6: steps.eos.with.pionts: eos has no parameter", "mean 'points'?"],
    ),
    "an unknown keyword of a job": (
        """\
        steps:
          eos:
            run: eos
            with:
              atoms: Cu
              relax_kwargs:
                fmx: 0.01
        """,
        ["campaign.yml:7: steps.eos.with.relax_kwargs.fmx: Unknown keyword", "mean 'fmax'?"],
    ),
    "a value": (
        """\
        steps:
          relax:
            run: relax
            foreach: [Cu, Al]
            with:
              fmax: -1
        """,
        ["campaign.yml:6: steps.relax.with.fmax: Cu, Al: fmax must be", "above zero, not -1"],
    ),
    "a calculator": (
        """\
        steps:
          relax:
            run: relax
            calculator: etm
            foreach: [Cu]
        """,
        ["campaign.yml:4: steps.relax.calculator: There is no calculator 'etm'", "mean 'emt'?"],
    ),
    "a keyword of a calculator": (
        """\
        steps:
          relax:
            run: relax
            calculator:
              name: lj
              epsilno: 0.1
            foreach: [Ar]
        """,
        ["campaign.yml:6: steps.relax.calculator.epsilno: Unknown keyword", "mean 'epsilon'?"],
    ),
    "a job that a calculator lacks": (
        """\
        calculator: emt
        steps:
          dos:
            run: dos
            foreach: [Cu]
        """,
        ["campaign.yml:4: steps.dos.run: emt has no dos_job. Calculators that have it: abinit"],
    ),
    "an unknown step": (
        """\
        steps:
          relax: {run: relax, foreach: [Cu]}
          eos:
            run: eos
            foreach: ${relx}
        """,
        ["campaign.yml:5: steps.eos.foreach: There is no step 'relx'.", "mean 'relax'?"],
    ),
    "a part that a result lacks": (
        """\
        steps:
          relax: {run: relax, foreach: [Cu]}
          eos:
            run: eos
            foreach: ${relax}
            with:
              atoms: ${item.atms}
        """,
        ["campaign.yml:7: steps.eos.with.atoms: The result of relax has no", "mean 'atoms'?"],
    ),
    "a circle": (
        """\
        steps:
          a: {run: eos, with: {atoms: Cu}, needs: b}
          b: {run: eos, with: {atoms: "${a.atoms}"}}
        """,
        ["campaign.yml:", "in a circle: ", "a needs b", "Take one of these"],
    ),
    "a missing file": (
        """\
        steps:
          relax:
            run: relax
            foreach: structures/*.cif
        """,
        ["campaign.yml:4: steps.relax.foreach: No file fits 'structures/*.cif' (looked in "],
    ),
    "a structure": (
        """\
        steps:
          relax:
            run: relax
            foreach:
              - Cu
              - Cuu
        """,
        ["campaign.yml:6: steps.relax.foreach.1: Cuu: 'Cuu' is neither", "mean 'Cu'?"],
    ),
    "an element": (
        """\
        steps:
          relax: {run: relax, calculator: lj, foreach: [Cu]}
          eos:
            run: eos
            foreach: ${relax}
          other:
            run: eos
            calculator: emt
            with: {atoms: Fe}
        """,
        ["campaign.yml:9: steps.other.with: EMT", "no parameters for Fe"],
    ),
    "no structure": (
        """\
        steps:
          eos:
            run: eos
        """,
        ["campaign.yml:2: steps.eos: eos needs atoms.", "foreach: [Cu, Al]"],
    ),
    "items for nothing": (
        """\
        steps:
          eos:
            run: eos
            foreach: [Cu, Al]
            with: {atoms: Cu}
        """,
        ["campaign.yml:4: steps.eos.foreach: Nothing takes its items.", "write ${item}"],
    ),
    "a model": (
        """\
        steps:
          best:
            run: leaderboard
            with:
              models: [emt, ljj]
        """,
        ["campaign.yml:5: steps.best.with.models.1: There is no model 'ljj'.", "mean 'lj'?"],
    ),
    "no steps": (
        """\
        relax: {run: relax}
        """,
        ["campaign.yml:1: relax: There is no 'relax'.", "A campaign has steps"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told_with_line_key_and_remedy(name):
    text, parts = WRONG[name]
    with pytest.raises(InputError) as caught:
        load(campaign(text))
    for part in parts:
        assert part in str(caught.value)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    file = campaign(
        """\
        calculater: emt
        steps:
          relax: {run: relaxx}
          eos: {run: eos, with: {atoms: Cu, pionts: 1}}
        """
    )
    answer = CliRunner().invoke(app, ["campaign", "run", str(file)])
    assert isinstance(answer.exception, InputError)
    lines = str(answer.exception).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "4"]
    assert not any(Store().select())


def test_a_file_makes_no_objects_and_cannot_fill_the_memory():
    with pytest.raises(InputError, match=r"campaign.yml:2: .*only plain values"):
        load(campaign("steps:\n  a: {run: !!python/object/apply:os.mkdir [gone]}\n"))
    assert not Path("gone").exists()
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="more than 100000 values"):
        load(campaign("\n".join(bomb)))
    with pytest.raises(InputError, match="not valid YAML"):
        load(campaign(f"steps: {'[' * 1000}"))


SMALL = """\
calculator: emt

steps:
  eos:
    run: eos
    foreach: ${relax}
    with: {points: 5}
  relax:
    run: relax
    foreach: [Cu, Al]
    with: {relax_cell: true, fmax: 0.01}
  hull:
    run: hull
    with:
      structures: ${relax.atoms}
      static_job: null
  other:
    run: static
    with: {atoms: "${relax.1.atoms}"}
"""


def test_the_numbers_are_those_of_direct_calls(monkeypatch):
    checked = load(campaign(SMALL))
    assert checked.counts == {"relax": 2, "eos": 2, "hull": 1, "other": 1}
    outcome = run(checked)
    assert not outcome.failed
    relaxed = [relax_job(one, relax_cell=True, fmax=0.01) for one in ("Cu", "Al")]
    direct = {
        "relax": relaxed,
        "eos": [eos_flow(one, calculator="emt", points=5) for one in relaxed],
        "hull": [hull_flow([one["atoms"] for one in relaxed], calculator="emt", static_job=None)],
    }
    direct["other"] = [static_job(relaxed[1]["atoms"])]
    for name, results in direct.items():
        items = outcome.items(checked.campaign.step(name))
        assert [one.key for one in items] == [one["key"] for one in results]
        assert not any(one.known for one in items)
        for item, result in zip(items, results, strict=True):
            stored = Store().get(item.key)
            for field in ("results", "bulk_modulus", "energies", "phases"):
                np.testing.assert_equal(stored.get(field), result.get(field))
    # Again: nothing is computed, and all is known.
    monkeypatch.setattr("quacc.local.Cores.start", None)
    again = run(load(campaign(SMALL)))
    assert all(row["known before"] == row["items"] == row["done"] for row in again.rows())


def test_steps_go_over_files_databases_numbers_and_results():
    Path("in").mkdir()
    folder = Path("in/structures")
    folder.mkdir()
    write(folder / "b.xyz", bulk("Cu"), format="extxyz")
    write(folder / "a.xyz", [bulk("Al"), bulk("Al", a=4.1)], format="extxyz")
    write("in/metals.db", [bulk("Ag"), bulk("Au")])
    Path("in/list.csv").write_text("structure\nNi\nstructures/b.xyz\n")
    checked = load(
        campaign(
            """\
            calculator: emt
            steps:
              pattern: {run: static, foreach: structures/*.xyz}
              folder: {run: static, foreach: structures}
              database: {run: static, foreach: metals.db}
              table: {run: static, foreach: list.csv}
              mixed: {run: static, foreach: [metals.db, structures/b.xyz, Cu]}
              numbers:
                run: relax
                foreach: [0.1, 0.05]
                with: {atoms: structures/b.xyz, fmax: "${item}"}
              calculators:
                run: static
                foreach: [{name: emt}, {name: lj, epsilon: 0.1, sigma: 2.3}]
                calculator: ${item}
                with: {atoms: Cu}
              eos: {run: eos, with: {atoms: Cu, points: 5}}
              fields:
                run: relax
                foreach: ${eos.volumes}
                with: {atoms: "${eos.atoms}", fmax: "${item}"}
            """,
            "in/campaign.yml",
        )
    )
    assert checked.counts["fields"] is None
    outcome = run(checked)
    found = in_words(outcome)
    assert {state for items in found.values() for _, state in items} == {"done"}
    names = {step: [name for name, _ in items] for step, items in found.items()}
    assert names == {
        "pattern": ["structures/a.xyz, 1", "structures/a.xyz, 2", "structures/b.xyz"],
        "folder": ["a.xyz, 1", "a.xyz, 2", "b.xyz"],
        "database": ["metals.db, 1", "metals.db, 2"],
        "table": ["Ni", "structures/b.xyz"],
        "mixed": ["metals.db, 1", "metals.db, 2", "structures/b.xyz", "Cu"],
        "numbers": ["0.1", "0.05"],
        "calculators": [
            "{'name': 'emt'}",
            "{'name': 'lj', 'epsilon': 0.1, 'sigma': 2.3}",
        ],
        "eos": [""],
        "fields": ["0", "1", "2", "3", "4"],
    }
    step = checked.campaign.step("database")
    assert [one.summary.split(":")[0] for one in outcome.items(step)] == ["Ag", "Au"]


def test_a_failure_spoils_only_what_needs_it():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.2, seed=1)
    write("far.xyz", atoms, format="extxyz")
    file = campaign(
        """\
        calculator: emt
        steps:
          relax:
            run: relax
            foreach: [Cu, far.xyz]
            with: {steps: 1, fmax: 0.001, require_convergence: true}
          eos: {run: eos, foreach: "${relax}", with: {points: 5}}
          hull: {run: hull, with: {structures: "${relax.atoms}"}}
          after: {run: static, needs: relax, with: {atoms: Cu}}
          other: {run: static, with: {atoms: Al}}
        """
    )
    outcome = run(load(file))
    assert in_words(outcome) == {
        "relax": [("Cu", "done"), ("far.xyz", "failed")],
        "eos": [("Cu", "done"), ("far.xyz", "skipped")],
        "hull": [("", "skipped")],
        "after": [("", "skipped")],
        "other": [("", "done")],
    }
    assert "did not converge" in outcome.items(outcome.campaign.step("relax"))[1].reason
    answer = CliRunner().invoke(app, ["campaign", "run", str(file)])
    assert answer.exit_code == 1
    assert "relax of far.xyz: failed." in answer.stdout
    assert "hull: skipped. 1 of 2 of relax did not end well" in answer.stdout
    assert "tries these again" in answer.stderr


def test_a_structure_that_is_to_come_may_be_more_symmetric():
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=2)
    write("rattled.xyz", atoms, format="extxyz")
    text = """\
        calculator: emt
        steps:
          relax: {run: relax, foreach: rattled.xyz}
          surfaces:
            run: bulk_to_slabs
            foreach: ${relax}
            with: {symmetric_only: true, min_thickness: 4, min_vacuum: 6}
        """
    load(campaign(text))
    with pytest.raises(InputError, match="no slab fits"):
        load(campaign(text.replace("${relax}", "rattled.xyz")))


def test_check_and_show():
    file = campaign(SMALL)
    checked = CliRunner().invoke(app, ["campaign", "check", str(file)])
    assert checked.stdout.endswith(f"{file}: no mistakes; 4 steps, 6 items.\n")
    shown = CliRunner().invoke(app, ["campaign", "show", str(file)])
    assert shown.stdout.splitlines() == [
        "relax: relax with emt, 2 items",
        "   eos: eos with emt, 2 items  ← relax",
        "   hull: hull with emt  ← relax",
        "   other: static with emt  ← relax",
    ]
    drawn = CliRunner().invoke(app, ["campaign", "show", "--mermaid", str(file)])
    assert drawn.stdout.startswith("flowchart TD\n")
    assert "    relax --> eos\n" in drawn.stdout
    assert not any(Store().select())
