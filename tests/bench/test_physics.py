"""Tasks that need no reference: each number beside one that was made in another way."""

import json
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.data import chemical_symbols, covalent_radii, vdw_alvarez
from ase.eos import birchmurnaghan
from ase.md.verlet import VelocityVerlet

from quacc.bench.curves import flips, jump, tortuosity, turns, variation
from quacc.bench.kinds import (
    cold_start,
    consistency,
    diatomics,
    equivariance,
    ev_scan,
    extensivity,
    md_ramp,
    nve_drift,
    speed,
)
from quacc.bench.probe import probe, probe_afresh
from quacc.bench.run import run
from quacc.bench.tasks import gather_jobs, gather_tasks
from quacc.errors import InputError, ParameterError
from quacc.recipes.emt import core as emt
from quacc.settings import change_settings
from tests.potentials import POTENTIALS

EMT_ = {"name": "emt"}
ARGON = {"epsilon": 0.0104, "sigma": 3.4}
DEEP = {"epsilon": 0.1, "sigma": 3.4}
FIELD = 0.3
"""eV/Å, along x."""


def shaken(name="Cu", **kwargs):
    atoms = bulk(name, cubic=True, **kwargs)
    atoms.rattle(0.05, seed=1)
    return atoms


def in_field(structures, *, calculator, forces=True):
    """EMT in a field that pushes all atoms along x: neither turned nor shifted is it the same."""
    found = probe(structures, calculator=calculator)
    found["energies"] = found["energies"] - [
        FIELD * one.positions[:, 0].sum() for one in structures
    ]
    if forces:
        found["forces"] = [one + np.array([FIELD, 0, 0]) for one in found["forces"]]
    return found


# Curves


def test_numbers_of_a_curve_counted_by_hand():
    values = np.array([5.0, 2.0, 2.0005, 2.0, 3.0, 3.0, 1.0, 4.0])
    assert (turns(values), turns(values, 1e-3)) == (5, 3)
    assert jump(values, 1e-3) == pytest.approx((3 + 1) + (1 + 2) + (2 + 3))
    assert variation(values) == pytest.approx(3 + 0.0005 * 2 + 1 + 2 + 3)
    assert tortuosity(values) == pytest.approx(9.001 / (4 + 3))
    assert flips(np.array([1.0, 0.0, -1.0, 0.005, -1.0, 2.0]), 1e-2) == 2
    assert tortuosity(np.ones(5)) is None
    assert (turns(np.ones(5)), jump(np.ones(5))) == (0, 0.0)


def by_loops(distances, energies, forces):
    """The definitions of matbench-discovery, one point after the other."""

    def signed(values, smallest):
        return [one for one in values if abs(one) >= smallest and one != 0]

    def changes(values):
        return [(a, b) for a, b in pairwise(values) if (a > 0) != (b > 0)]

    steps = [b - a for a, b in pairwise(energies)]
    pulls = [b - a for a, b in pairwise(forces)]
    return {
        "energy_jump": sum(abs(a) + abs(b) for a, b in changes(signed(steps, 1e-3))),
        "energy_flips": len(changes(signed(steps, 1e-3))),
        "force_flips": len(changes(signed(forces, 1e-2))),
        "force_total_variation": sum(map(abs, pulls)),
        "force_jump": sum(abs(a) + abs(b) for a, b in changes(signed(pulls, 0))),
        "tortuosity": sum(map(abs, steps))
        / (abs(energies[0] - min(energies)) + abs(energies[-1] - min(energies))),
    }


def test_curve_of_lennard_jones_is_the_analytic_one():
    atoms = Atoms("Ar2", pbc=False)
    found = diatomics.measure(atoms, calculator={"name": "lj", **DEEP}, from_radii=2.5)
    x, energy = (np.array(found["curves"]["energy"][one]) for one in "xy")
    np.testing.assert_array_less(2.5 * covalent_radii[18], x[0])
    np.testing.assert_array_less(x[-1], 3.1 * vdw_alvarez.vdw_radii[18])
    powers = (DEEP["sigma"] / x) ** 6
    expected = 4 * DEEP["epsilon"] * (powers**2 - powers)
    np.testing.assert_allclose(energy, expected - expected[-1], atol=1e-9)
    forces = 24 * DEEP["epsilon"] / x * (2 * powers**2 - powers)
    values = found["values"]
    assert values["energy_flips"] == values["force_flips"] == 1
    assert values["tortuosity"] == pytest.approx(1, abs=1e-9)
    assert values["force_total_variation"] == pytest.approx(
        forces[0] + forces[-1] - 2 * forces.min()
    )
    assert values["energy_jump"] == pytest.approx(by_loops(x, expected, forces)["energy_jump"])
    assert values["conservation"] < 0.01 * np.abs(forces).mean()


def test_a_force_that_is_cut_off_is_not_conservative():
    """At the cutoff the shifted energy has a kink, and the smooth one has none."""
    found = {
        smooth: diatomics.measure(
            Atoms("Ar2"),
            calculator={"name": "lj", **ARGON, "rc": 5.0, "smooth": smooth},
            from_radii=3.3,
            points=400,
        )["values"]
        for smooth in (False, True)
    }
    assert found[False]["conservation"] > 5 * found[True]["conservation"]


def test_where_curves_are_judged():
    names = [one.name for one in gather_tasks(["diatomics"])[0].data.examples]
    assert names == [
        one for one in chemical_symbols[1:93] if one not in ("Po", "At", "Rn", "Fr", "Ra")
    ]
    with pytest.raises(ParameterError, match="distances lie between 0.95 and 5.67"):
        diatomics.measure(Atoms("Ar2"), calculator={"name": "lj"}, longest=1.0)


PLAIN = """
import json, sys
import numpy as np
from ase import Atoms
from chgnet.model.dynamics import CHGNetCalculator

calculator, found = CHGNetCalculator(use_device="cpu"), {}
for symbol, distances in json.loads(sys.argv[1]).items():
    found[symbol] = {"energies": [], "forces": []}
    for distance in distances:
        ends = [[25, 25, 25], [25 + distance, 25, 25]]
        atoms = Atoms([symbol] * 2, ends, cell=[50] * 3, pbc=True)
        atoms.calc = calculator
        found[symbol]["energies"].append(float(atoms.get_potential_energy()))
        found[symbol]["forces"].append(float(atoms.get_forces()[0, 0]))
json.dump(found, open(sys.argv[2], "w"))
"""


@pytest.mark.ml
def test_curves_of_chgnet_are_those_of_matbench_discovery(tmp_path):
    """Its box, its distances and its formulas, without quacc."""
    grid, windows = np.geomspace(0.1, 6.0, 119), {}
    for symbol, number in [("Ne", 10), ("Gd", 64)]:
        low = 0.9 * covalent_radii[number]
        high = min(3.1 * vdw_alvarez.vdw_radii[number], 6.0)
        windows[symbol] = grid[(grid >= low) & (grid <= high)].tolist()
    file = tmp_path / "plain.json"
    command = [POTENTIALS, "-c", PLAIN, json.dumps(windows), file]
    subprocess.run(command, check=True, capture_output=True)
    for symbol, plain in json.loads(file.read_text()).items():
        found = diatomics.measure(Atoms([symbol] * 2), calculator={"name": "chgnet"})["values"]
        expected = by_loops(windows[symbol], plain["energies"], plain["forces"])
        for name, value in expected.items():  # the model computes in single precision
            assert found[name] == pytest.approx(value, rel=1e-3), (symbol, name)


# Derivatives


def test_forces_and_stress_of_emt_are_derivatives():
    found = consistency.measure(shaken(), calculator=EMT_)["values"]
    assert set(found) == set(consistency.METRICS)
    assert found["largest_force"] < 1e-6
    assert found["largest_stress"] < 1e-4
    assert found["relative_force"] < 1e-4
    plain = shaken()
    plain.calc = EMT()
    mean = np.abs(plain.get_forces()).mean()
    assert found["force"] / found["relative_force"] * 100 == pytest.approx(mean, rel=1e-4)


def test_of_large_structures_some_atoms_are_moved():
    atoms, moved = shaken() * (2, 2, 1), []

    def noted(structures, *, calculator):
        moved.extend(
            np.flatnonzero((one.positions != atoms.positions).any(axis=1))
            for one in structures[1:]
            if np.array_equal(one.cell, atoms.cell)
        )
        return probe(structures, calculator=calculator)

    found = consistency.measure(atoms, noted, calculator=EMT_, most=3)["values"]
    assert {*np.concatenate(moved)} == {0, 8, 15}
    assert len(moved) == 3 * 3 * 4
    assert found["largest_force"] < 1e-6


def test_forces_without_the_field_that_the_energy_has():
    """The energy has -FIELD x for each atom more: a force along x, and a stress."""
    atoms = shaken()
    job = partial(in_field, forces=False)
    found = consistency.measure(atoms, job, calculator=EMT_)["values"]
    assert found["largest_force"] == pytest.approx(FIELD, abs=1e-6)
    assert found["force"] == pytest.approx(FIELD / 3, abs=1e-6)
    stress = FIELD / atoms.get_volume() / units.GPa * np.abs(atoms.positions.sum(axis=0))
    # σ_xx = -f Σx/V, and half of f Σy/V and f Σz/V of the two shears.
    stress[1:] /= 2
    assert found["largest_stress"] == pytest.approx(stress.max(), rel=1e-4)
    assert found["stress"] == pytest.approx(stress.sum() / 6, rel=1e-4)


def test_a_force_that_ends_at_the_cutoff_is_no_derivative_there():
    cutoff, step = 5.0, 0.01
    distance = cutoff - step / 2
    pair = Atoms("Ar2", [[0, 0, 0], [distance, 0, 0]])
    lj = {**DEEP, "rc": cutoff}
    found = consistency.measure(pair, calculator={"name": "lj", **lj}, step=step)["values"]

    def energy(r):
        powers, cut = (DEEP["sigma"] / r) ** 6, (DEEP["sigma"] / cutoff) ** 6
        shifted = 4 * DEEP["epsilon"] * ((powers**2 - powers) - (cut**2 - cut))
        return shifted if r < cutoff else 0.0

    near = [energy(distance + n * step) for n in (-2, -1, 1, 2)]
    slope = np.dot(near, [1 / 12, -2 / 3, 2 / 3, -1 / 12]) / step
    pair.calc = LennardJones(**lj)
    expected = abs(pair.get_forces()[1, 0] + slope)
    assert expected > 1e-3
    assert found["largest_force"] == pytest.approx(expected, rel=1e-4)
    assert "stress" not in found


# Symmetries


def test_emt_does_not_care_how_a_crystal_lies():
    atoms = shaken()
    atoms.symbols[0] = "Au"
    found = equivariance.measure(atoms, calculator=EMT_)["values"]
    assert set(found) == set(equivariance.METRICS)
    assert max(found.values()) < 1e-8


def test_a_field_breaks_rotation_and_translation_but_not_the_order():
    atoms = shaken()
    found = equivariance.measure(atoms, in_field, calculator=EMT_, samples=20)["values"]
    assert found["permutation_energy"] < 1e-8
    assert max(found["translation_force"], found["permutation_force"]) < 1e-8
    # A shift by t is FIELD t for each atom; of 20 up to the cell's length, the largest is long.
    longest = 1e3 * FIELD * atoms.cell.lengths()[0]
    assert 0.7 * longest < found["translation_energy"] <= longest
    # |f - R f| along an axis is up to twice the field.
    assert 1.2 * FIELD < found["rotation_force"] <= 2 * FIELD
    assert found["rotation_energy"] > 1


def test_a_model_that_looks_at_the_first_atom():
    atoms = shaken()
    atoms.symbols[0] = "Au"

    def looks(structures, *, calculator):
        found = probe(structures, calculator=calculator)
        found["energies"] = found["energies"] + [0.01 * one.numbers[0] for one in structures]
        return found

    found = equivariance.measure(atoms, looks, calculator=EMT_)["values"]
    assert found["permutation_energy"] == pytest.approx(1e3 * 0.01 * (79 - 29) / len(atoms))
    assert max(found["rotation_energy"], found["translation_energy"]) < 1e-8


# Extensivity


def test_twice_as_much_has_twice_the_energy():
    for atoms, calculator in [
        (shaken(), EMT_),
        (bulk("Ar", "fcc", 5.31, cubic=True), {"name": "lj"}),
        (bulk("Cu"), EMT_),
    ]:
        found = extensivity.measure(atoms, calculator=calculator)["values"]
        assert set(found) == set(extensivity.METRICS)
        assert max(found.values()) < 1e-8


def test_an_energy_that_grows_with_the_square():
    def squared(structures, *, calculator):
        found = probe(structures, calculator=calculator)
        found["energies"] = found["energies"] + [0.001 * len(one) ** 2 for one in structures]
        return found

    atoms = shaken()
    found = extensivity.measure(atoms, squared, calculator=EMT_)["values"]
    n = len(atoms)
    assert found["supercell_energy"] == pytest.approx(8 * n - n)
    assert found["copies_energy"] == pytest.approx(2 * n - n)


@pytest.mark.tblite
@pytest.mark.long
def test_one_k_point_is_not_extensive():
    """tblite has Γ alone: its bands of a small cell are those of no crystal."""
    from tblite.ase import TBLite

    atoms = bulk("Si")
    calculator = {"name": "tblite", "method": "GFN1-xTB"}
    found = extensivity.measure(atoms, calculator=calculator)["values"]
    energies = []
    for one in (atoms, atoms * 2):
        one.calc = TBLite(method="GFN1-xTB", verbosity=0)
        energies.append(one.get_potential_energy() / len(one))
    assert found["supercell_energy"] == pytest.approx(1e3 * abs(energies[1] - energies[0]))
    assert found["supercell_energy"] > 10


# Dynamics


def test_drift_is_that_of_plain_ase():
    options = {"repeat": 1, "steps": 100, "timestep": 5.0, "seed": 3, "temperature": 600.0}
    found = nve_drift.measure(shaken(), calculator="emt", **options)
    start = emt.md_job(shaken(), steps=1, timestep=5.0, seed=3, temperature=600.0, trajectory=True)[
        "trajectory"
    ][0]
    start.calc = EMT()
    energies = []
    dynamics = VelocityVerlet(start, 5 * units.fs)
    dynamics.attach(lambda: energies.append(1e3 * start.get_total_energy() / 4), interval=5)
    dynamics.run(100)
    times = 0.025 * np.arange(21)
    slope, offset = np.polyfit(times, energies, 1)
    scatter = np.std(np.array(energies) - offset - slope * times)
    assert found["values"]["drift"] == pytest.approx(slope, rel=1e-5)
    assert found["values"]["fluctuation"] == pytest.approx(scatter, rel=1e-5)
    assert nve_drift.errors({"drift": -2.0}, {}) == {"drift": 2.0}
    assert len(found["jobs"]) == 1


def test_a_potential_with_a_kink_does_not_keep_the_energy():
    """Neighbours in hot argon cross a cutoff that is close to them, where the force jumps."""
    argon = shaken("Ar", crystalstructure="fcc", a=5.31)
    found = {
        smooth: nve_drift.measure(
            argon,
            calculator={"name": "lj", **ARGON, "rc": 4.0, "ro": 3.0, "smooth": smooth},
            steps=200,
            timestep=2.0,
            temperature=80.0,
        )["values"]["drift"]
        for smooth in (False, True)
    }
    assert abs(found[False]) > 10 * abs(found[True])


def test_copper_survives_a_ramp_and_too_long_a_step_does_not():
    options = {"stages": 3, "steps": 20, "sample_every": 5, "hottest": 900.0, "repeat": 1}
    calm = md_ramp.measure(shaken(), calculator="emt", **options)
    assert calm["values"] == {"survived": 100.0}
    assert not calm["warnings"]
    assert len(calm["jobs"]) == 3
    assert calm["curves"]["temperature"]["x"][-1] == 60.0
    wild = md_ramp.measure(shaken(), calculator="emt", timestep=60.0, **options)
    (why,) = wild["warnings"]
    # The same stages without the workflow, looked at by ASE's distances.
    atoms, survived = shaken(), 0
    for number, temperature in enumerate((300.0, 600.0, 900.0)):
        result = emt.md_job(
            atoms,
            dynamics="Langevin",
            steps=20,
            sample_every=5,
            timestep=60.0,
            temperature=temperature,
            seed=number,
            trajectory=True,
        )
        ended = False
        for frame, hot in zip(
            result["trajectory"][1:], result["history"]["temperature"][1:], strict=True
        ):
            distances = frame.get_all_distances(mic=True)[np.triu_indices(4, 1)]
            if ended := bool(hot > 5 * temperature or distances.min() < covalent_radii[29]):
                break
            survived += 5
        if ended:
            break
        atoms = result["atoms"]
    assert ended
    assert wild["values"]["survived"] == pytest.approx(100 * survived / 60)
    assert f"At {temperature:.0f} K, after {survived} steps" in why


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hottest": 200.0}, "goes up"),
        ({"sample_every": 7}, "cannot be looked at every 7"),
        ({"stages": 1}, "stages"),
    ],
)
def test_a_ramp_that_makes_no_sense(options, message):
    with pytest.raises(ParameterError, match=message):
        md_ramp.measure(shaken(), calculator="emt", **options)


# Energy against volume


def test_a_perfect_scan_and_one_with_a_bump():
    volumes = np.linspace(0.6, 1.6, 21) * 12
    energies = birchmurnaghan(volumes, -3.0, 0.9, 5.0, 12.0)
    perfect = {"flips": 1.0, "compression": -1.0, "tension": 1.0, "tortuosity": 1.0}
    assert ev_scan.judged(energies) == pytest.approx(perfect)
    bumpy = energies.copy()
    bumpy[-1] = energies[-3]
    found = ev_scan.judged(bumpy)
    assert found["flips"] == 2
    # Ranks of the 13 on the right: the last has fallen by 1.5 places, and shares one.
    ranks = [*range(10), 10.5, 12, 10.5]
    assert found["tension"] == pytest.approx(np.corrcoef(range(13), ranks)[0, 1])
    way = energies[0] + energies[-2] - 2 * energies.min() + energies[-2] - energies[-3]
    assert found["tortuosity"] == pytest.approx(
        way / (energies[0] + energies[-3] - 2 * energies.min())
    )
    assert ev_scan.judged(-volumes)["tension"] == 0.0  # no minimum, so no order beyond it


def test_scan_of_copper_is_that_of_plain_ase():
    atoms = bulk("Cu", cubic=True)
    found = ev_scan.measure(atoms, calculator=EMT_, points=11)
    energies = []
    for scale in np.linspace(0.6, 1.6, 11):
        one = atoms.copy()
        one.set_cell(atoms.cell * scale ** (1 / 3), scale_atoms=True)
        one.calc = EMT()
        energies.append(one.get_potential_energy() / 4)
    energy = found["curves"]["energy"]
    np.testing.assert_allclose(energy["y"], np.array(energies) - min(energies), atol=1e-9)
    np.testing.assert_allclose(energy["x"], np.linspace(0.6, 1.6, 11) * atoms.get_volume() / 4)
    assert found["values"]["compression"] == pytest.approx(-1)
    with pytest.raises(InputError, match="Only a crystal"):
        ev_scan.measure(Atoms("Cu2", [[0, 0, 0], [2, 0, 0]]), calculator=EMT_)


# Costs


def test_times_grow_with_the_number_of_atoms():
    found = speed.measure(shaken(), calculator=EMT_, repeats=(1, 4), calls=2)
    values, time_ = found["values"], found["curves"]["time"]
    assert time_["x"] == [4, 256]
    assert time_["y"] == [values["smallest"], values["largest"]]
    assert values["largest"] > 3 * values["smallest"] > 0
    assert values["per_atom"] == pytest.approx(1e3 * values["largest"] / 256)
    assert values["power"] == pytest.approx(
        np.log(values["largest"] / values["smallest"]) / np.log(64)
    )
    assert 20 < values["memory"] < 4000
    assert "together" not in values  # EMT computes one after the other
    assert gather_tasks(["speed"])[0].kind.alone


@pytest.mark.ml
def test_several_at_once_take_no_longer_than_one_after_the_other():
    """A generous factor: beside other tests, on a processor."""
    found = speed.measure(
        bulk("Si"), calculator={"name": "chgnet"}, repeats=(1, 2), calls=2, at_once=4
    )["values"]
    assert 0 < found["together"] < 5 * found["smallest"]
    assert found["memory"] > 200  # of the Python that has the weights


@pytest.mark.parametrize("repeats", [[2], [2, 1], [1, 1], [0, 1]])
def test_sizes_that_make_no_sense(repeats):
    with pytest.raises(ParameterError, match="repeats"):
        speed.measure(shaken(), calculator=EMT_, repeats=repeats)


def test_the_first_energy_takes_all_that_starting_takes():
    begun = time.monotonic()
    found = cold_start.measure(shaken(), calculator=EMT_, calls=3)["values"]
    whole = time.monotonic() - begun
    assert found["first"] == pytest.approx(found["start"] + found["later"])
    assert whole > found["first"] + 2 * found["later"]  # two of three are no quicker
    assert found["first"] > found["later"]


def test_a_new_process_has_the_settings_and_the_errors_of_this_one():
    pair = Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    here = probe([pair, pair], calculator=EMT_)
    with change_settings(environments={"emt": sys.executable}):
        there = probe_afresh([pair, pair], calculator=EMT_)
    np.testing.assert_array_equal(there["energies"], here["energies"])
    np.testing.assert_array_equal(there["forces"], here["forces"])
    assert len(there["seconds"]) == 2
    assert there["memory"] > 20
    with pytest.raises(ParameterError, match="Lennard-Jones needs epsilon"):
        probe_afresh([pair], calculator={"name": "lj"})


# Together


def test_tasks_without_a_reference_are_run(tmp_path):
    names = ["consistency", "equivariance", "extensivity", "ev_scan", "cold_start"]
    with change_settings(results_dir=tmp_path):
        records = run(gather_jobs(["lj"], names), elements=["Ar"])
    assert [one["state"] for one in records] == ["complete"] * len(names)
    for record in records:
        assert all(one["value"] is not None for one in record["metrics"].values())
