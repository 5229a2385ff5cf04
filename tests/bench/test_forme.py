"""Which model for these structures?"""

import numpy as np
import pytest
from ase.build import bulk

from quacc.bench.forme import OWN, answer, from_store, own_set, tasks_for
from quacc.bench.models import gather_models
from quacc.bench.run import run
from quacc.errors import InputError
from quacc.local import run as run_workflow
from quacc.recipes.emt.core import relax_job as emt_relax
from quacc.recipes.workflows import batch_flow


def shaken(seed, a=3.61):
    atoms = bulk("Cu", a=a, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture
def stored():
    structures = [shaken(seed) for seed in range(5)]
    run_workflow(batch_flow, structures, "static_job", calculator="emt")
    return structures


def test_stored_results_are_the_test_set(stored, tmp_path):
    own = from_store(["calculator=emt", "recipe=emt.static_job"])
    assert own.has_reference
    assert own.elements == {"Cu"}
    assert own.entry.level == "emt"
    models = gather_models(["emt", "lj"], [_lj(tmp_path)])
    tasks = tasks_for(own, ["eos_bulk"])
    assert [task.name for task in tasks] == [OWN, "eos_bulk"]
    records = run([(task, model) for task in tasks for model in models], elements=own.elements)
    by_name = {(one["task"]["name"], one["model"]["name"]): one for one in records}
    mine, other = by_name[OWN, "emt"], by_name[OWN, "lj"]
    assert mine["metrics"]["force_error"]["n"] == 5
    assert mine["metrics"]["force_error"]["value"] == pytest.approx(0, abs=1e-9)
    # By hand, with ASE alone.
    from ase.calculators.emt import EMT
    from ase.calculators.lj import LennardJones

    errors = []
    for atoms in stored:
        forces = []
        for calculator in (EMT(), LennardJones(epsilon=0.4, sigma=2.3, rc=6.9)):
            copy = atoms.copy()
            copy.calc = calculator
            forces.append(copy.get_forces())
        errors.append(1e3 * np.abs(forces[0] - forces[1]).mean())
    assert other["metrics"]["force_error"]["value"] == pytest.approx(np.mean(errors), rel=1e-6)
    found = answer(records, models)
    assert found.order == ["emt", "lj"]
    assert found.tied == ["emt"]
    assert found.lines[0] == "Take emt."


def _lj(folder):
    file = folder / "lj.yml"
    file.write_text(
        "lj: {title: LJ, calculator: lj, family: pair potential, licence: none needed, "
        "parameters: {epsilon: 0.4, sigma: 2.3, rc: 6.9}}"
    )
    return file


def test_two_levels_of_theory_are_refused(stored):
    from quacc.cache.results import of_process
    from quacc.recipes.lj.core import static_job

    of_process().keep_now(static_job(shaken(9), epsilon=0.4, sigma=2.3))
    with pytest.raises(InputError, match=r"2 levels of theory .* calculator"):
        from_store(["formula=Cu", "limit=50"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (["calculater=emt"], "Did you mean 'calculator'"),
        (["emt"], "asks nothing"),
        (["limit=0"], "no number"),
        (["calculator=nothing"], "No stored result"),
    ],
)
def test_queries_that_make_no_sense(query, message):
    with pytest.raises(InputError, match=message):
        from_store(query)


def test_without_a_reference():
    own = own_set([("Cu", bulk("Cu"), {}), ("Ni", emt_relax("Ni")["atoms"], {})])
    assert not own.has_reference
    tasks = tasks_for(own, ["eos_bulk", "consistency", "interaction"])
    # That of molecules has none of these elements; that of crystals is run on these.
    assert [task.name for task in tasks] == ["eos_bulk", "consistency_of_yours"]
    assert [one.name for one in tasks[1].data.examples] == ["Cu", "Ni"]
    models = gather_models(["emt", "lj"])
    records = run([(task, model) for task in tasks for model in models], elements=own.elements)
    found = answer(records, models)
    assert found.order == ["emt"]
    assert any("nothing of yours to compare with" in line for line in found.lines)
    nobody = answer([one for one in records if one["model"]["name"] == "lj"], models[1:])
    assert nobody.order == []
    assert "No model here" in nobody.lines[0]
