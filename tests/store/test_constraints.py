"""A constraint counts whole: in the key, in the database, and in what comes back."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import ase.constraints
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLength,
    FixBondLengths,
    FixCartesian,
    FixCartesianParametricRelations,
    FixCom,
    FixedLine,
    FixedMode,
    FixedPlane,
    FixInternals,
    FixLinearTriatomic,
    FixParametricRelations,
    FixScaled,
    FixScaledParametricRelations,
    FixSubsetCom,
    FixSymmetry,
    Hookean,
    MirrorForce,
    MirrorTorque,
)
from ase.db import connect
from ase.io.jsonio import decode as ase_decode
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import InputError, StoreError
from quacc.key import calculation_key
from quacc.recipes.emt.core import relax_job
from quacc.store import Store
from quacc.store.codec import SQLITE, decode, plain

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import key_of, make


def key(atoms: Atoms) -> str:
    return calculation_key(
        recipe="x.y_job", version=1, atoms=atoms, parameters={"a": 1}, fingerprint="x 1"
    )


def ethane(*constraints: Any) -> Atoms:
    atoms = molecule("C2H6", vacuum=4.0)
    atoms.rattle(0.02, seed=3)
    atoms.set_constraint([*constraints])
    return atoms


def crystal() -> Atoms:
    return bulk("Cu", cubic=True)


JACOBIAN = np.eye(24)[:, :3]
PARAMETRIC = {
    "indices": [*range(8)], "Jacobian": JACOBIAN, "const_shift": np.linspace(0, 1, 24),
    "params": ["a", "b", "c"], "eps": 1e-12,
}  # fmt: skip
NEW_PARAMETRIC = {
    "indices": [*range(7, -1, -1)], "Jacobian": 2 * JACOBIAN, "const_shift": np.zeros(24),
    "params": ["a", "b", "d"], "eps": 1e-10,
}  # fmt: skip
MODE = np.arange(24.0).reshape(8, 3) ** 0.5

# Of each class: arguments, and for each of its arguments another value.
CLASSES: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {
    ExternalForce: ({"a1": 0, "a2": 1, "f_ext": 0.5}, {"a1": 2, "a2": 3, "f_ext": 0.6}),
    FixAtoms: ({"indices": [0, 3]}, {"indices": [0, 4]}),
    FixBondLengths: (
        {"pairs": [[0, 1]], "tolerance": 1e-12, "bondlengths": [1.6]},
        {"pairs": [[0, 2]], "tolerance": 1e-11, "bondlengths": None},
    ),
    FixCartesian: ({"a": [0, 1], "mask": [1, 0, 0]}, {"a": [0], "mask": [0, 1, 0]}),
    FixCartesianParametricRelations: (
        {**PARAMETRIC, "use_cell": False},
        {**NEW_PARAMETRIC, "use_cell": True},
    ),
    FixCom: ({}, {}),
    FixInternals: (
        {
            "bonds": [[1.5, [0, 1]]],
            "angles_deg": [[110.0, [2, 0, 1]]],
            "dihedrals_deg": [[60.0, [2, 0, 1, 5]]],
            "bondcombos": [[0.1, [[0, 3, 1.0], [0, 4, -1.0]]]],
            "mic": False,
            "epsilon": 1e-7,
        },
        {
            "bonds": [[None, [0, 1]]],
            "angles_deg": [[111.0, [2, 0, 1]]],
            "dihedrals_deg": [[60.0, [3, 0, 1, 5]]],
            "bondcombos": [[0.1, [[0, 3, 1.0], [0, 4, -0.5]]]],
            "mic": True,
            "epsilon": 1e-6,
        },
    ),
    FixLinearTriatomic: ({"triples": [[2, 0, 1]]}, {"triples": [[3, 0, 1]]}),
    FixParametricRelations: (
        {**PARAMETRIC, "use_cell": False},
        {**NEW_PARAMETRIC, "use_cell": True},
    ),
    FixScaled: ({"a": [0, 1], "mask": [1, 0, 0]}, {"a": [0], "mask": [0, 1, 0]}),
    FixScaledParametricRelations: (PARAMETRIC, NEW_PARAMETRIC),
    FixSubsetCom: ({"indices": [0, 1]}, {"indices": [0, 2]}),
    FixSymmetry: (
        {
            "atoms": crystal(), "symprec": 0.01, "adjust_positions": True,
            "adjust_cell": True, "verbose": False,
        },
        {
            "atoms": bulk("Cu", cubic=True, a=3.7), "symprec": 0.02, "adjust_positions": False,
            "adjust_cell": False, "verbose": True,
        },
    ),
    FixedLine: (
        {"indices": [0, 1], "direction": [1, 1, 0.1]},
        {"indices": [0], "direction": [1, 1, 0]},
    ),
    FixedMode: ({"mode": MODE}, {"mode": MODE[::-1]}),
    FixedPlane: (
        {"indices": [0, 1], "direction": [1, 1, 0.1]},
        {"indices": [0], "direction": [1, 1, 0]},
    ),
    Hookean: (
        {"a1": 0, "a2": 1, "k": 5.0, "rt": 1.2},
        {"a1": 2, "a2": (0.1, 0.2, 0.3), "k": 6.0, "rt": 1.3},
    ),
    MirrorForce: (
        {"a1": 0, "a2": 1, "max_dist": 2.5, "min_dist": 1.0, "fmax": 0.1},
        {"a1": 2, "a2": 3, "max_dist": 2.6, "min_dist": 1.1, "fmax": 0.2},
    ),
    MirrorTorque: (
        {"a1": 2, "a2": 0, "a3": 1, "a4": 5, "max_angle": 6.0, "min_angle": 0.1, "fmax": 0.1},
        {"a1": 3, "a2": 4, "a3": 6, "a4": 7, "max_angle": 5.0, "min_angle": 0.2, "fmax": 0.2},
    ),
}  # fmt: skip
MORE = [
    Hookean(0, (0.0, 0, 5.0), k=5, rt=1.2),
    Hookean(0, (0, 0, 1, -7.5), k=5),
    FixBondLengths([[0, 1], [0, 2]]),
    FixBondLengths(np.array([[0, 1]]), bondlengths=np.array([1.53])),
    FixInternals(dihedrals_deg=[[None, (2, 0, 1, 5)]], mic=np.True_),
    FixAtoms([-1, 0]),
    FixAtoms([]),
]
ALL = [kind(**copy.deepcopy(given)) for kind, (given, _) in CLASSES.items()] + MORE


def holder(constraint: Any) -> Atoms:
    """Return a structure that the constraint fits."""
    atoms = crystal() if isinstance(constraint, FixSymmetry) else ethane()
    atoms.set_constraint(copy.deepcopy(constraint))
    return atoms


def test_all_of_ase_is_here() -> None:
    classes = {getattr(ase.constraints, name) for name in ase.constraints.__all__}
    classes = {one for one in classes if isinstance(one, type)}
    assert classes - {ase.constraints.FixConstraint} == CLASSES.keys()


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, new) in CLASSES.items() for name in new]
)
def test_every_argument_counts(kind: Any, name: str) -> None:
    given, new = CLASSES[kind]
    assert given.keys() == new.keys()
    before = kind(**copy.deepcopy(given))
    after = kind(**copy.deepcopy(given | {name: new[name]}))
    assert key(holder(before)) != key(holder(after))
    assert key(holder(before)) == key(holder(kind(**copy.deepcopy(given))))


def physics(constraint: Any) -> list[Any]:
    """Return what a constraint makes of random positions, forces, momenta, stress and cell."""
    atoms = holder(constraint)
    atoms.calc = EMT()
    (constraint,) = atoms.constraints
    rng = np.random.default_rng(1)
    arrays = []
    for name, size in (("positions", 0.02), ("forces", 1.0), ("momenta", 1.0)):
        array = (atoms.positions if name == "positions" else 0) + size * rng.normal(
            size=(len(atoms), 3)
        )
        if type(constraint) is not FixParametricRelations:
            getattr(constraint, f"adjust_{name}")(atoms, array)
        arrays.append(array)
    if hasattr(constraint, "adjust_potential_energy"):
        arrays.append(constraint.adjust_potential_energy(atoms))
    if isinstance(constraint, FixSymmetry):
        stress, cell = rng.normal(size=6), atoms.cell.array + 0.01 * rng.normal(size=(3, 3))
        constraint.adjust_stress(atoms, stress)
        constraint.adjust_cell(atoms, cell)
        arrays += [stress, cell]
    return [*arrays, constraint.get_removed_dof(atoms) if hasattr(constraint, "index") else 0]


def used(constraint: Any) -> Any:
    """Return the constraint after its first use, with other positions, if that leaves a trace."""
    atoms = holder(constraint)
    atoms.calc = EMT()
    if isinstance(constraint, FixBondLengths | FixInternals | FixLinearTriatomic):
        atoms.set_positions(atoms.positions * 1.02, apply_constraint=False)
        atoms.constraints[0].adjust_forces(atoms, np.ones((len(atoms), 3)))
    if isinstance(constraint, FixScaledParametricRelations):
        atoms.constraints[0].adjust_positions(atoms, atoms.positions - atoms.cell.sum(axis=0))
    if isinstance(constraint, FixSymmetry):
        atoms = atoms[[3, 2, 0, 1]]
    return atoms.constraints[0]


def stored(atoms: Atoms, name: str) -> dict[str, Any]:
    """Return a result with this structure, whose constraints have not been used."""
    bare = atoms.copy()
    bare.set_constraint()
    result = make(bare, name)
    return result | {"atoms": atoms, "input_atoms": atoms.copy(), "trajectory": [atoms.copy()]}


def assert_comes_back(store: Store, atoms: Atoms) -> None:
    name = key(atoms)
    store.add([stored(atoms, name)])
    result = store.get(name)
    for found in (result["atoms"], result["input_atoms"], result["trajectory"][0]):
        assert [type(one) for one in found.constraints] == [type(one) for one in atoms.constraints]
        assert key(found) == name
        for one, other in zip(atoms.constraints, found.constraints, strict=True):
            for mine, theirs in zip(physics(one), physics(other), strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("constraint", ALL, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("use", [copy.deepcopy, used])
def test_through_the_database_and_back(tmp_path: Path, constraint: Any, use: Any) -> None:
    assert_comes_back(Store(tmp_path / "results.db"), holder(use(constraint)))


@pytest.mark.postgres
def test_through_postgresql_and_back(url: str) -> None:
    for constraint in ALL:
        for use in (copy.deepcopy, used):
            assert_comes_back(Store(url), holder(use(constraint)))


def test_an_exported_file_has_them_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    store.add([stored(holder(FixBondLengths([[0, 1]], bondlengths=[1.6])), key_of(1))])
    file = tmp_path / "all.json"
    command = ["results", "export", str(file), "--store", str(tmp_path / "results.db")]
    assert CliRunner().invoke(app, command).exit_code == 0
    (result,) = ase_decode(file.read_text(), always_array=False)
    assert result["atoms"].constraints[0].bondlengths == [1.6]


def test_plain_ase_reads_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.db")
    for number, constraint in enumerate(ALL):
        store.add([stored(holder(constraint), key_of(number))])
    database = connect(tmp_path / "results.db")
    for number, constraint in enumerate(ALL):
        row = database.get(unique_id=key_of(number))
        for found in (row.data["atoms"].constraints, row.toatoms().constraints):
            assert [type(one) for one in found] == [type(constraint)]
        if isinstance(constraint, FixBondLengths):
            expected = holder(constraint).constraints[0].bondlengths
            np.testing.assert_array_equal(found[0].bondlengths, expected)


def test_what_it_has_learned_counts() -> None:
    for constraint in ALL:
        after = used(constraint)
        if not np.array_equal(
            np.concatenate([np.ravel(one) for one in physics(constraint)]),
            np.concatenate([np.ravel(one) for one in physics(after)]),
        ):
            assert key(holder(constraint)) != key(holder(after)), constraint


@pytest.mark.parametrize(
    "spelling",
    [[0, 1], [1, 0], (1, 0), np.array([0, 1]), [-8, -7], [0, -7], [True, True, *[False] * 6]],
)
def test_the_same_atoms_are_one_key(spelling: Any) -> None:
    # Of the release before, for [0, 1].
    assert key(molecule_with(FixAtoms(spelling))) == key(molecule_with(FixAtoms([0, 1])))
    for kind in (FixCartesian, FixScaled, FixSubsetCom):
        assert key(molecule_with(kind(spelling))) == key(molecule_with(kind([0, 1])))
    for kind in (FixedLine, FixedPlane):
        same = kind([0, 1], [1, 2, 3])
        assert key(molecule_with(kind(spelling, [1, 2, 3]))) == key(molecule_with(same))


def molecule_with(*constraints: Any) -> Atoms:
    atoms = molecule("C2H6")
    atoms.set_constraint([*constraints])
    return atoms


def test_the_order_of_constraints_counts() -> None:
    # The first may move what the second holds.
    one, other = FixAtoms([0]), FixBondLength(0, 1)
    assert key(ethane(one, other)) != key(ethane(other, one))


class Sticky(FixAtoms):
    """Holds only two directions, but tells the same dictionary."""

    def adjust_forces(self, atoms: Atoms, forces: Any) -> None:
        forces[self.index, :2] = 0


class Foreign:
    def todict(self) -> dict[str, Any]:
        return {"name": "FixAtoms", "kwargs": {"indices": [0]}}

    def adjust_forces(self, atoms: Atoms, forces: Any) -> None: ...


def _patient() -> FixBondLengths:
    constraint = FixBondLengths([[0, 1]])
    constraint.maxiter = 3
    return constraint


@pytest.mark.parametrize(
    ("constraint", "complaint"),
    [
        (Sticky([0]), "Sticky"),
        (Foreign(), "Foreign"),
        (ase.constraints.FixConstraint(), "FixConstraint"),
        (_patient(), "maxiter"),
    ],
)
def test_others_are_refused_by_name(tmp_path: Path, constraint: Any, complaint: str) -> None:
    atoms = crystal()
    atoms._constraints = [constraint]
    with pytest.raises(InputError, match=complaint):
        relax_job(atoms)
    with pytest.raises(StoreError, match=complaint):
        Store(tmp_path / "a.db").add([make(crystal(), key_of(1), trajectory=[atoms])])


def test_it_computes_what_the_key_says(tmp_path: Path) -> None:
    """Ethane with 1.53 and 1.70 Å asked for: two calculations, each with its own length."""
    results = {
        length: relax_job(ethane(FixBondLengths([[0, 1]], bondlengths=[length])), fmax=0.1)
        for length in (1.53, 1.70)
    }
    store = Store(tmp_path / "results.db")
    assert store.add(results.values()) == 2
    for length, result in results.items():
        found = store.get(result["key"])["atoms"]
        assert found.get_distance(0, 1) == pytest.approx(length, abs=1e-6)
        # Whoever goes on from there holds the same length, in ASE and in quacc.
        moved = found.copy()
        moved.rattle(0.01, seed=1)
        moved.set_positions(moved.positions)
        assert moved.get_distance(0, 1) == pytest.approx(length, abs=1e-6)


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        ({"name": "__import__", "kwargs": {}}, "no constraint"),
        ({"name": "FixConstraint", "kwargs": {}}, "no constraint"),
        ({"name": "FixAtoms", "kwargs": {"indices": [0]}, "quacc_state": {"todict": 1}}, "todict"),
    ],
)
def test_a_forged_constraint_is_not_made(described: dict[str, Any], complaint: str) -> None:
    body = plain(crystal())
    body["constraints"] = [described]
    with pytest.raises(ValueError, match=complaint):
        decode(SQLITE.body(body))


KEYS = {
    "none": (crystal(), "e6841df31d3b854f"),
    "slab": (fcc100("Cu", (1, 1, 3), vacuum=5), "f21bbc8f01acf5f0"),
    "one": (molecule_with(FixAtoms([0])), "3baa393eb7bb13fd"),
    "some": (molecule_with(FixAtoms([0, 2, 5])), "983a74d141cce49b"),
    "directions": (molecule_with(FixCartesian([0, 3], (1, 0, 0))), "941b859dbd67aa03"),
    "line": (molecule_with(FixedLine([0], (1, 1, 0)), FixAtoms([3])), "de260d064ecead4b"),
    "spring": (molecule_with(Hookean(0, (0.0, 0.0, 1.0), k=5.0, rt=1.0)), "41d7fa2f4d7a0426"),
    "internals": (molecule_with(FixInternals(bonds=[[1.5, [0, 1]]])), "fcc8436206e960b8"),
    "mode": (molecule_with(FixedMode(MODE)), "25a4447d44774822"),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys_stay_what_they_are(name: str) -> None:
    # Otherwise everybody's results would have to be computed again.
    atoms, expected = KEYS[name]
    assert key(atoms)[:16] == expected
