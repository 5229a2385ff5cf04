"""Potentials that are trained on stored results, and what may be in their data."""

import copy
import shlex
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.units import GPa
from typer.testing import CliRunner

from quacc.calculators import snap
from quacc.cli.main import app
from quacc.errors import InputError, ParameterError, StructureError
from quacc.local import run
from quacc.recipes.chgnet.core import static_job as chgnet_job
from quacc.recipes.emt.core import md_job, relax_job, static_job
from quacc.recipes.espresso.core import static_job as espresso_job
from quacc.recipes.lammps.core import static_job as lammps_job
from quacc.recipes.lj.core import static_job as lj_job
from quacc.recipes.mopac.core import static_job as mopac_job
from quacc.recipes.report import citations, plot, summary, table
from quacc.recipes.tblite.core import static_job as tblite_job
from quacc.recipes.tools.training_data import collect, families
from quacc.recipes.train import Training, train_job
from quacc.recipes.workflows import batch_flow, eos_flow
from quacc.store import Store
from quacc.store.checksum import checksum

QUICK = {"twojmax": 4, "cutoff": 4.5, "alpha": 1e-8}


def cells(count, seed=0, rattle=0.08):
    """Return rattled and strained cells of copper."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * (1 + rng.uniform(-0.04, 0.04)))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.rattle(rattle, seed=seed + number)
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def copper():
    return [static_job(atoms) for atoms in cells(24)]


@pytest.fixture
def potential(copper):
    return train_job(copper, test=0.2, **QUICK)


def changed(result, **numbers):
    """Return a result with other numbers, as if they had been computed."""
    result = copy.deepcopy(result)
    result["results"].update(numbers)
    result["provenance"]["checksum"] = checksum(result["results"], result["atoms"])
    return result


@pytest.mark.lammps
def test_the_fit_is_that_of_least_squares(copper):
    training = Training(copper, test=0.2, **{**QUICK, "alpha": 0.0})
    result = training.compute()
    frames = training.data.frames
    designs = snap.designs([one.atoms for one in frames], ["Cu"], training.options)

    def rows(indices):
        left, right = [], []
        for one in indices:
            design, frame, natoms = designs[one], frames[one], len(frames[one].atoms)
            left += [design.energy[None] / natoms / 1e-3, design.forces / 0.05]
            left += [design.stress / (0.2 * GPa)]
            right += [[frame.energy / natoms / 1e-3], frame.forces.ravel() / 0.05]
            right += [frame.stress / (0.2 * GPa)]
        return np.vstack(left), np.concatenate(right)

    left, right = rows(training.parts["train"])
    expected = np.linalg.solve(left.T @ left, left.T @ right)  # normal equations
    test = training.parts["test"]
    assert len(test) == 5
    assert not {*test} & {*training.parts["train"]}
    energies, forces, stresses = [], [], []
    for one in test:
        design, frame = designs[one], frames[one]
        energies.append((design.energy @ expected - frame.energy) / len(frame.atoms))
        forces.append(design.forces @ expected - frame.forces.ravel())
        stresses.append(design.stress @ expected - frame.stress)
    found = result["errors"]["test"]
    for name, values, unit in (
        ("energy", energies, 1e-3),
        ("forces", np.concatenate(forces), 1e-3),
        ("stress", np.concatenate(stresses), GPa),
    ):
        values = np.array(values) / unit
        assert found[name]["n"] == len(values)
        assert found[name]["mae"] == pytest.approx(abs(values).mean(), rel=1e-5)
        assert found[name]["rmse"] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-5)


@pytest.mark.lammps
def test_lammps_runs_what_was_fitted(copper, potential):
    """The errors of the record are those of the potential as jobs compute it."""
    own = {name: one for name, one in potential["calculator"].items() if name != "name"}
    test = [one for one in copper if one["key"] in potential["split"]["test"]]
    found = [lammps_job(one["atoms"], **own) for one in test]
    pairs = list(zip(test, found, strict=True))
    for name, unit in (("forces", 1e-3), ("stress", GPa)):
        differences = [(b["results"][name] - a["results"][name]) / unit for a, b in pairs]
        assert potential["errors"]["test"][name]["mae"] == pytest.approx(
            np.mean(np.abs(differences)), rel=1e-6
        )
    energies = [(b["results"]["energy"] - a["results"]["energy"]) / 4e-3 for a, b in pairs]
    assert potential["errors"]["test"]["energy"]["mae"] == pytest.approx(np.mean(np.abs(energies)))
    assert potential["calculators"][-1] == found[0]["calculator"]
    assert Path(own["potential"][0]).name in found[0]["calculator"]["fingerprint"]

    atoms = test[0]["atoms"]
    step = 1e-4
    for atom, axis in ((0, 0), (3, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(lammps_job(moved, **own)["results"]["energy"])
        numerical = -(ends[0] - ends[1]) / (2 * step)
        assert found[0]["results"]["forces"][atom, axis] == pytest.approx(numerical, abs=1e-5)


@pytest.mark.lammps
def test_workflows_take_the_potential(potential):
    found = eos_flow("Cu", calculator=potential["calculator"])
    expected = eos_flow("Cu", calculator="emt")
    assert (found["volume"] / expected["volume"]) ** (1 / 3) == pytest.approx(1, abs=0.01)
    assert found["bulk_modulus"] == pytest.approx(expected["bulk_modulus"], rel=0.15)


@pytest.mark.lammps
def test_the_same_data_and_options_are_the_same_potential(copper, potential):
    again = train_job(copper[::-1], test=0.2, **QUICK)
    assert again["key"] == potential["key"]
    assert again["calculator"] == potential["calculator"]
    np.testing.assert_array_equal(
        again["details"]["coefficients"], potential["details"]["coefficients"]
    )
    keys = {potential["key"]}
    keys.add(Training(copper, test=0.2, seed=1, **QUICK).key)
    keys.add(Training(copper, test=0.2, **{**QUICK, "alpha": 1e-7}).key)
    keys.add(Training(copper[1:], test=0.2, **QUICK).key)
    assert len(keys) == 4
    # The energies count, not the keys of the results.
    other = changed(copper[0], energy=copper[0]["results"]["energy"] + 0.01)
    assert Training([other, *copper[1:]], test=0.2, **QUICK).data.hash != potential["data_hash"]


@pytest.mark.lammps
def test_alloys_and_molecules():
    """Energies, forces and stresses of two elements, fitted and as LAMMPS has them."""
    rng = np.random.default_rng(1)
    found = []
    for atoms in cells(15, seed=3):
        atoms.symbols[: rng.integers(0, 4)] = "Au"
        found.append(static_job(atoms))
    for number in range(4):
        atoms = Atoms("CuAu", [[0, 0, 0], [0.3, 0.2, 2.2 + 0.1 * number]])
        found.append(static_job(atoms))
    with pytest.raises(ParameterError, match="weights must have a number of its own for each of"):
        Training(found, **QUICK)
    result = train_job(found, weights={"Au": 1.0, "Cu": 0.8}, **QUICK)
    assert any("periodic in 0 and 3 directions" in text for text in result["warnings"])
    own = {name: one for name, one in result["calculator"].items() if name != "name"}
    (key, *_) = result["split"]["test"]
    one = next(one for one in found if one["key"] == key)
    design = snap.designs([one["atoms"]], ["Au", "Cu"], result["parameters"])[0]
    expected = snap.predicted(design, result["details"]["coefficients"])
    numbers = lammps_job(one["atoms"], **own)["results"]
    assert numbers["energy"] == pytest.approx(expected.energy)
    np.testing.assert_allclose(numbers["forces"], expected.forces, atol=1e-8)
    if expected.stress is not None:
        np.testing.assert_allclose(numbers["stress"], expected.stress, atol=1e-8)
    alone = Atoms("Cu", cell=[12] * 3, pbc=True)
    energy = lammps_job(alone, **own)["results"]["energy"]
    assert energy == pytest.approx(result["reference_energies"]["Cu"])


@pytest.mark.lammps
def test_reference_energies_may_be_given(copper):
    result = train_job(copper, reference_energies={"Cu": -3.0}, **QUICK)
    assert result["reference_energies"] == {"Cu": -3.0}
    with pytest.raises(ParameterError, match="reference_energies must be given for Cu"):
        Training(copper, reference_energies={"Au": 0.0}, **QUICK)


@pytest.mark.lammps
def test_what_is_said_of_too_little():
    few = [static_job(atoms) for atoms in cells(5)]
    result = train_job(few, twojmax=6, forces_error=None, stress_error=None)
    assert any("are few for 31 coefficients" in text for text in result["warnings"])
    compounds = []
    for atoms in cells(6):
        atoms.symbols[:2] = "Au"
        compounds.append(static_job(atoms))
    result = train_job(compounds, weights={"Au": 1.0, "Cu": 0.8}, **QUICK)
    assert any("do not tell the reference energies of Au, Cu" in one for one in result["warnings"])


def test_other_calculators_and_settings_are_not_mixed(copper):
    argon = {"epsilon": 0.0104, "sigma": 3.4}
    lj = lj_job(cells(1, seed=50)[0], **argon)
    with pytest.raises(ParameterError, match="cannot be in one fit: they differ in calculator"):
        Training([*copper, lj])
    other = lj_job(cells(1, seed=51)[0], **{**argon, "epsilon": 0.0105})
    with pytest.raises(ParameterError, match="differ in epsilon: 0.0104 and 0.0105"):
        Training([lj, other, other])
    dense = copy.deepcopy(copper[:3])
    for spacing, one in zip((0.2, 0.2, 0.3), dense, strict=True):
        one["parameters"]["kspacing"] = spacing
    with pytest.raises(ParameterError, match="different k-points, kspacing: 0.2, 0.3"):
        Training(dense)


@pytest.mark.espresso
def test_pseudopotentials_count_by_element():
    """Results of other elements have other pseudopotentials; those of common ones must agree."""
    quick = {"ecutwfc": 10, "kpts": (1, 1, 1)}
    silicon, carbon = {"Si": "Si.pbe-rrkj.UPF"}, {"C": "C.pbe-rrkjus.UPF"}
    both = bulk("SiC", "zincblende", a=4.4)
    fine = [
        espresso_job(bulk("C"), pseudopotentials=carbon, **quick),
        espresso_job(both, pseudopotentials={**silicon, **carbon}, **quick),
    ]
    assert len(collect(fine).frames) == 2
    assert collect(fine).settings["calculator"] == "espresso"
    vanderbilt = {"C": "C.pbe-van_bm.UPF", **silicon}
    other = espresso_job(both, pseudopotentials=vanderbilt, **quick)
    with pytest.raises(ParameterError, match="cannot be in one fit: they differ in .*van_bm"):
        collect([fine[0], other])
    finer = espresso_job(bulk("C"), pseudopotentials=carbon, **{**quick, "ecutwfc": 12})
    with pytest.raises(ParameterError, match="differ in ecutwfc: 10 and 12"):
        collect([fine[0], finer])


@pytest.mark.tblite
def test_charges_are_refused():
    cation = molecule("NH3")
    cation.append("H")
    cation.positions[-1] = [0, 0, 1.2]
    cation.set_initial_charges([0, 0, 0, 0, 1])
    with pytest.raises(StructureError, match=r"it has the charge \+1, of which the potential"):
        collect([tblite_job("NH3"), tblite_job(cation)])


@pytest.mark.mopac
def test_enthalpies_are_refused():
    with pytest.raises(StructureError, match="MOPAC.* energy is an enthalpy"):
        collect([mopac_job("H2O")])


def test_what_a_potential_cannot_know_is_refused(copper):
    magnetic = changed(copper[0], magmoms=np.ones(4))
    with pytest.raises(StructureError, match="several magnetic states"):
        Training([magnetic, *copper[1:]])
    flipped = [changed(one, magmoms=np.array([1, -1, 1, -1.0])) for one in copper]
    with pytest.raises(StructureError, match="several magnetic states"):
        Training([magnetic, *flipped[1:]])
    assert any("moments in both directions" in one for one in Training(flipped).warnings)

    without = copy.deepcopy(copper[0])
    del without["results"]["forces"]
    without["provenance"]["checksum"] = checksum(without["results"], without["atoms"])
    with pytest.raises(StructureError, match="cannot be trained on: it has no forces"):
        Training([without, *copper[1:]])
    forged = copy.deepcopy(copper[0])
    forged["results"]["energy"] += 1.0
    with pytest.raises(StructureError, match="its numbers are not those that were computed"):
        Training([forged, *copper[1:]])
    energy = copper[0]["results"]["energy"] + 0.1
    twice = changed(copper[0], energy=energy, free_energy=energy)
    with pytest.raises(StructureError, match="are of one structure, Cu4, but have the energies"):
        Training([twice, *copper])


def test_smeared_energies(copper):
    def smeared(one):
        return changed(one, free_energy=one["results"]["energy"] - 0.02)

    training = Training([smeared(one) for one in copper])
    assert training.data.target == "free_energy"
    (frame,) = [one for one in training.data.frames if one.key == copper[0]["key"]]
    assert frame.energy == pytest.approx(copper[0]["results"]["energy"] - 0.02)
    assert any("up to 5.0 meV per atom" in text for text in training.warnings)
    without = copy.deepcopy(copper[1])
    del without["results"]["free_energy"]
    without["provenance"]["checksum"] = checksum(without["results"], without["atoms"])
    with pytest.raises(ParameterError, match="has none"):
        Training([smeared(copper[0]), without, copper[2]])


def test_elements_are_all_trained_on(copper):
    gold = static_job(bulk("Au"))
    refused = 0
    for seed in range(12):
        try:
            Training([*copper, gold], seed=seed, weights={"Au": 1.0, "Cu": 0.9}, **QUICK)
        except StructureError as error:
            assert "Au is in no structure of the training set" in str(error)
            refused += 1
    assert 0 < refused < 12


def test_families_do_not_straddle_the_split():
    """Steps of one relaxation, and near-duplicates, are in one set."""
    results = [relax_job(one, trajectory=True) for one in cells(6, rattle=0.2)]
    results.append(static_job(results[0]["atoms"]))  # of a relaxed structure
    near = cells(1, rattle=0.2)[0]
    near.rattle(0.01, seed=99)
    results.append(static_job(near))  # of the first one's start
    others = cells(4, seed=70)
    for atoms in others[:2]:
        atoms.info["family"] = "mine"
    results += [static_job(atoms) for atoms in others]
    training = Training(results, validation=0.2, test=0.2, seed=3, **QUICK)
    frames = training.data.frames
    assert len(frames) > 30
    groups = families(frames)
    sets = {name: {groups[one] for one in part} for name, part in training.parts.items()}
    assert sum(map(len, sets.values())) == len({*groups})
    assert sorted(n for part in training.parts.values() for n in part) == list(range(len(frames)))
    by_key = {
        key: {groups[n] for n, one in enumerate(frames) if one.key == key}
        for key in {one.key for one in frames}
    }
    assert all(len(found) == 1 for found in by_key.values())
    first, *_ = by_key[results[0]["key"]]
    assert by_key.get(results[6]["key"], {first}) == {first}
    assert by_key[results[7]["key"]] == {first}
    assert by_key[results[8]["key"]] == by_key[results[9]["key"]] != by_key[results[10]["key"]]
    relaxed = next(one for one in frames if one.key == results[1]["key"] and one.stress is None)
    assert any(
        np.array_equal(step.arrays["forces"], relaxed.forces) for step in results[1]["trajectory"]
    )

    with pytest.raises(StructureError, match="are of 1 family"):
        Training(results[:1], **QUICK)
    alone = Training(results[:1], split_by="structure", **QUICK)
    assert any("near-duplicates of structures" in text for text in alone.warnings)


def test_constrained_atoms_have_their_forces():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    free = static_job(atoms)["results"]["forces"]
    atoms.set_constraint(FixAtoms([0, 1]))
    held = relax_job(atoms, trajectory=True, steps=2)
    frames = collect([held]).frames
    (start,) = [one for one in frames if np.allclose(one.atoms.positions, atoms.positions)]
    np.testing.assert_allclose(start.forces, free, atol=1e-12)
    assert abs(start.forces[0]).max() > 0.1
    assert not start.atoms.constraints


def test_molecular_dynamics_keeps_no_forces():
    moving = md_job(cells(1)[0], steps=4, trajectory=True, temperature=300.0)
    found = collect([moving])
    assert len(found.frames) == 1
    assert found.warnings == ["Steps of molecular dynamics were left out: they keep no forces."]


@pytest.mark.lammps
def test_the_command(tmp_path):
    batch = run(batch_flow, cells(12), calculator="emt")
    run(batch_flow, [molecule("H2O")], calculator="emt")
    command = ["train", "--formula", "Cu", "--of", "emt", "--twojmax", "4", "--cutoff", "4.5"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    (row,) = Store().select(recipe="lammps.train_job")
    stored = Store().get(row.key)
    assert sorted(stored["jobs"]) == sorted(batch["jobs"])
    file = Path(stored["calculator"]["potential"][0])
    before = file.stat().st_mtime_ns
    assert CliRunner().invoke(app, command).output == found.output
    assert file.stat().st_mtime_ns == before  # it is known
    file.unlink()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert file.read_text() == stored["details"]["files"][file.name]
    # Of a workflow: its jobs.
    again = CliRunner().invoke(app, ["train", batch["key"], "--twojmax", "4", "--cutoff", "4.5"])
    assert row.key[:10] in again.output

    (line,) = [one for one in found.output.splitlines() if one.startswith("Use it:")]
    words = shlex.split(line.partition("quacc ")[2].replace("STRUCTURE", "Cu"))
    used = CliRunner().invoke(app, words)
    assert used.exit_code == 0, used.output
    assert "7 jobs" in used.output or "8 jobs" in used.output

    assert "SNAP for lammps, errors of 1 structures" in summary(stored)
    assert [one["set"] for one in table(stored)] == ["train", "validation", "test"]
    plot(stored, tmp_path / "errors.png")
    assert "Thompson2015" in citations(stored)
    assert "Thompson2022" in citations(stored)  # LAMMPS
    shown = CliRunner().invoke(app, ["results", "show", row.key])
    assert shown.exit_code == 0, shown.output
    assert "--stress-error" in CliRunner().invoke(app, ["train", "-h"]).output
    for words, text in (
        (["train"], "Say what to train on"),
        (["train", "--formula", "Xe"], "No results of jobs"),
        ([*command, "--twojmacks", "4"], "Did you mean 'twojmax'?"),
        (["train", "--formula", "Cu", "--twojmax", "5"], "an even number"),
    ):
        failed = CliRunner().invoke(app, words)
        assert isinstance(failed.exception, InputError), failed.output
        assert text in str(failed.exception)


def test_a_query_leaves_out_what_it_cannot_use(copper):
    without = copy.deepcopy(copper[0])
    del without["results"]["forces"]
    without["provenance"]["checksum"] = checksum(without["results"], without["atoms"])
    Store().add([without, *copper[1:]])
    training = Training({"formula": "Cu", "calculator": "emt"})
    assert len(training.data.frames) == len(copper) - 1
    assert any("was left out: it has no forces" in text for text in training.warnings)
    assert Training([one["key"] for one in copper[1:]]).data.hash == training.data.hash
    with pytest.raises(ParameterError, match="Did you mean 'formula'"):
        Training({"formla": "Cu"})
    for wrong in ("Cu", 3, [3], [{"energy": 1.0}]):
        with pytest.raises(ParameterError):
            Training(wrong)


@pytest.mark.ml
def test_chgnet_is_fine_tuned():
    rng = np.random.default_rng(0)
    copper = []
    for number in range(12):
        atoms = bulk("Cu", a=3.6 * (1 + rng.uniform(-0.06, 0.06))) * (2, 1, 1)
        atoms.rattle(0.1, seed=number)
        copper.append(static_job(atoms))
    options = {"epochs": 6, "batch_size": 3, "learning_rate": 3e-3, "device": "cpu"}
    result = train_job(copper, calculator="chgnet", validation=0.2, test=0.2, **options)
    before, after = result["details"]["errors"]["before"], result["errors"]
    assert 0 < result["details"]["epoch"] <= 6
    assert len(result["details"]["history"]["energy"]["validation"]) == 6
    for kind in ("forces", "stress"):
        assert after["validation"][kind]["mae"] < before["validation"][kind]["mae"]
    # CHGNet's zero is that of PBE, EMT's is the crystal.
    assert result["reference_energies"]["Cu"] == pytest.approx(4.09, abs=0.1)
    model = result["calculator"]["model"]
    frames = collect(copper).frames
    one = chgnet_job(frames[0].atoms, model=model)
    assert Path(model).name in one["calculator"]["fingerprint"]
    assert one["calculator"] == result["calculators"][-1]
    assert one["provenance"]["model"]["functional"] == "calculator emt"
    # The errors of the record are those of the weights as jobs load them.
    test = [one for one in copper if one["key"] in result["split"]["test"]]
    found = [chgnet_job(each["atoms"], model=model) for each in test]
    forces = [
        b["results"]["forces"] - a["results"]["forces"] for a, b in zip(test, found, strict=True)
    ]
    assert after["test"]["forces"]["mae"] == pytest.approx(np.mean(np.abs(forces)) * 1e3, rel=1e-3)
    stress = [
        b["results"]["stress"] - a["results"]["stress"] for a, b in zip(test, found, strict=True)
    ]
    assert after["test"]["stress"]["mae"] == pytest.approx(np.mean(np.abs(stress)) / GPa, rel=1e-3)

    with pytest.raises(StructureError, match="was not trained on Na"):
        chgnet_job(bulk("Na"), model=model)
    about = Path(f"{model}.json")
    about.unlink()
    with pytest.raises(ParameterError, match=f"{about.name} is missing"):
        chgnet_job(frames[0].atoms, model=model)
    with pytest.raises(ParameterError, match="There are no weights"):
        chgnet_job(frames[0].atoms, model="/nowhere/weights.pth.tar")
    with pytest.raises(ParameterError, match="unknown"):
        chgnet_job(frames[0].atoms, model="0.4.0")
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])
    with pytest.raises(StructureError, match="CHGNet is trained on crystals"):
        Training([static_job(dimer), *copper[:3]], calculator="chgnet")
