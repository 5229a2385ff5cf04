"""Results to store, made with plain ASE."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength


def key_of(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make(atoms: Atoms, key: str, *, formula: str = "Cu", **more: Any) -> dict[str, Any]:
    """A result as a job returns it, computed with plain ASE."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    results: dict[str, Any] = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    atoms.calc = None
    return {
        "name": "emt.static_job",
        "formula": formula,
        "key": key,
        "calculator": {"name": "emt", "version": "3.29", "fingerprint": "f"},
        "parameters": {"asap_cutoff": False},
        "input_atoms": atoms.copy(),
        "atoms": atoms,
        "results": results,
        "provenance": {"host": "login1", "pid": 7, "job_id": None, "wall_seconds": 0.1 + 0.2},
        "directory": None,
        "warnings": [],
        **more,
    }


def everything() -> dict[str, Any]:
    """A result with every kind of value that a result may hold."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6, periodic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_momenta(np.random.default_rng(2).normal(size=(12, 3)))
    atoms.set_constraint([FixAtoms([0, 1, 2]), FixBondLength(4, 5)])
    atoms.set_initial_magnetic_moments(np.linspace(-1, 1, 12))
    atoms.set_array("site", np.array([f"s{i}" for i in range(12)]))
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.info["note"] = {"from": ["a", None, True], "x": 1e-300, "t": (1, (2.0,))}
    odd = [0.0, -0.0, 1e16, -1.5e300, 5e-324, 1 / 3, float("inf"), float("nan")]
    return make(
        atoms,
        key_of("everything"),
        converged=True,
        odd=odd,
        array=np.array(odd),
        big=2**70,
        whole=1.0,
        one=1,
        nothing=None,
        truth=[True, False],
        text="Å · \"'%s ? {}",
        nested=[[1, [2.0, ["x"]]], {}, []],
        empty=np.empty((0, 3)),
        scalar=np.array(2.5),
        single=np.arange(3, dtype=np.float32) / 3,
        integers=np.arange(6, dtype=np.int64).reshape(2, 3),
        flags=np.array([[True], [False]]),
        waves=np.array([1 + 2j, complex(-0.0, np.inf)]),
        transposed=np.arange(6.0).reshape(2, 3).T,
        swapped=np.arange(3, dtype=">f8"),
        number=np.float64(0.1),
        count=np.int64(3),
        yes=np.bool_(True),
        trajectory=[bulk("Cu"), molecule("H2O")],
    )


def assert_same(left: Any, right: Any, where: str = "result") -> None:
    """Same type (NumPy scalars may become Python's), same bits."""
    if isinstance(left, np.generic):
        left = left.item()
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            assert_same(left[name], right[name], f"{where}.{name}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(left, np.ndarray):
        assert left.shape == right.shape, where
        assert left.dtype.newbyteorder("=") == right.dtype, where
        assert left.astype(right.dtype).tobytes() == right.tobytes(), where
        assert right.flags.writeable, where
    elif isinstance(left, Atoms):
        assert right.calc is None
        assert_same(dict(left.arrays), dict(right.arrays), where)
        assert_same(left.cell.array, right.cell.array, where)
        assert_same(left.pbc, right.pbc, where)
        assert_same(left.info, right.info, where)
        assert_same(left.get_celldisp(), right.get_celldisp(), where)
        assert [c.todict() for c in left.constraints] == [c.todict() for c in right.constraints]
    elif isinstance(left, float):
        assert left.hex() == right.hex(), where
    else:
        assert left == right, where


def written_by_ase(location: str, results: list[dict[str, Any]]) -> None:
    """Store results with nothing but ASE."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    database = connect(location, use_lock_file=False)
    for result in results:
        atoms = result["atoms"].copy()
        atoms.calc = SinglePointCalculator(atoms, **result["results"])
        atoms.calc.name = result["calculator"]["name"]
        pairs = {"recipe": result["name"], "reduced_formula": result["formula"]}
        if "converged" in result:
            pairs["converged"] = result["converged"]
        database.write(atoms, key_value_pairs=pairs)


def assert_same_tables(ours: Any, from_ase: Any) -> None:
    """Compare two open databases, but for the keys, times and the column ``data``."""
    from ase.db.sqlite import SQLite3Database, all_tables

    own = {"id", "unique_id", "ctime", "mtime", "data"}
    columns = [name for name in SQLite3Database.columnnames if name not in own]
    for table in all_tables:
        names = ", ".join(columns) if table == "systems" else "*"
        found = []
        for connection in (ours, from_ase):
            cursor = connection.cursor()
            cursor.execute(f"SELECT {names} FROM {table} ORDER BY id")
            found.append(cursor.fetchall())
        assert found[0]
        if table == "systems":
            for one, other in zip(*found, strict=True):
                both = [dict(zip(columns, row, strict=True)) for row in (one, other)]
                for row in both:  # ASE's own loses the lengths
                    row["constraints"] = re.sub(
                        r', "bondlengths": [^}]*', "", row["constraints"] or ""
                    )
                assert both[0] == both[1]
        else:
            assert sorted(found[0]) == sorted(found[1])


def cases() -> list[dict[str, Any]]:
    """Results that differ in what they fill."""
    charged = molecule("CO")
    charged.set_initial_charges([0.5, -0.25])
    charged.set_masses([13.0, 18.0])
    magnetic = make(bulk("Ni"), key_of("Ni"), formula="Ni")
    magnetic["results"] |= {"magmoms": np.array([0.6]), "magmom": 0.6, "free_energy": -1.0}
    wire = bulk("Cu")
    wire.pbc = [False, True, True]
    wire.set_tags([3])
    return [
        everything(),
        make(charged, key_of("CO"), formula="CO"),
        magnetic,
        make(wire, key_of("wire"), converged=False),
        *workflow()["slabs"],
    ]


def workflow(prefix: str = "w", *, converged: bool = True) -> dict[str, Any]:
    parent = make(bulk("Cu", cubic=True), key_of(prefix, "bulk"))
    slabs = [
        make(
            fcc111("Cu", (1, 1, n), vacuum=5, periodic=True),
            key_of(prefix, n),
            name="emt.relax_job",
            converged=converged,
        )
        for n in (3, 4)
    ]
    return {
        "name": "emt.bulk_to_slabs_flow",
        "formula": "Cu",
        "key": key_of(prefix, "flow"),
        "atoms": parent["atoms"],
        "parameters": {"max_index": 1},
        "surfaces": [
            {
                "miller": [1, 1, 1],
                "termination": i,
                "natoms": len(slab["atoms"]),
                "area": 5.6,
                "energy_per_atom": slab["results"]["energy"] / len(slab["atoms"]),
                "surface_energy": 1.25 if i == 0 else None,
                "symmetric": True,
                "converged": converged,
                "steps": 3,
                "key": slab["key"],
            }
            for i, slab in enumerate(slabs)
        ],
        "bulk": parent,
        "slabs": slabs,
        "deeper": {"first": [slabs[0]]},
        "jobs": [parent["key"], *(slab["key"] for slab in slabs)],
        "warnings": [],
    }
