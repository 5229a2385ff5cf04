"""Keys are what they were: a change here means that nothing stored is ever found again.

The table changes only where the version of a recipe was raised on purpose; write it anew with
``python tests/test_frozen_keys.py``.
"""

import importlib
import inspect
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixBondLengths

from quacc.cache.questions import question
from quacc.calculators import code_names, get_code
from quacc.calculators.potential import Potential
from quacc.calculators.potential_file import FilePotential
from quacc.calculators.weights import Weights
from quacc.key import digest
from quacc.recipes import workflows
from quacc.recipes.emt.core import relax_job
from quacc.runners.job import calculation_of
from tests import emt

TABLE = Path(__file__).with_suffix(".json")
ARGON = {"epsilon": 0.0104, "sigma": 3.4}
HYDROGEN = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 12, "kpts": (2, 1, 1)}


def structures():
    """Return structures by name, which have between them all that a key knows of one."""
    slab = fcc111("Al", (1, 1, 3), vacuum=6.0)
    add_adsorbate(slab, "O", 1.5, "fcc")
    slab.set_constraint(FixAtoms([0, 1]))
    heavy = molecule("CH3OH")
    heavy.set_masses([2.014 if symbol == "H" else None for symbol in heavy.symbols])
    heavy.set_constraint(FixBondLengths([[0, 1]], bondlengths=[1.4]))
    radical = molecule("CH3")
    radical.set_initial_magnetic_moments([1, 0, 0, 0])
    cation = molecule("NH3")
    cation.append("H")
    cation.positions[-1] = [0, 0, 1.2]
    cation.set_initial_charges([0, 0, 0, 0, 1])
    moving = bulk("Cu", cubic=True)
    moving.set_velocities(np.arange(12.0).reshape(4, 3) * 1e-3)
    boxed = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5], pbc=True)
    shared = bulk("Cu", a=3.8)
    shared.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    shared.set_array("spacegroup_kinds", np.array([0]))
    return {
        "Cu": bulk("Cu"),
        "Ar": bulk("Ar", a=5.3),
        "slab": slab,
        "heavy": heavy,
        "radical": radical,
        "cation": cation,
        "moving": moving,
        "boxed": boxed,
        "shared": shared,
        "H2O": molecule("H2O"),
    }


JOBS = {
    "emt": (["Cu", "slab", "heavy", "moving", "H2O"], {}),
    "lj": (["Ar", "moving"], ARGON),
    "mopac": (["H2O", "heavy", "radical", "cation"], {}),
    "tblite": (["H2O", "Cu", "heavy", "radical", "cation"], {}),
    "espresso": (["boxed"], HYDROGEN),
    "abinit": (["boxed"], {"ecut": 8, "kpts": (2, 1, 1)}),
    "nwchem": (["H2O", "heavy", "radical", "cation"], {}),
    "pyscf": (["H2O", "heavy", "radical", "cation"], {}),
    "cp2k": (["boxed", "H2O", "radical", "cation"], {}),
    "chgnet": (["Cu", "H2O"], {"model": "r2scan"}),
    "sevenn": (["Cu"], {}),
    "lammps": (["Cu", "moving"], {"potential": "Cu_mishin1.eam.alloy"}),
    "eam": (["Cu", "moving"], {"potential": "Cu_mishin1.eam.alloy"}),
    "tersoff": (["Cu"], {"potential": "Si.tersoff"}),
    "vasp": (["Cu", "boxed"], {"encut": 300.0}),
    "mace": (["Cu", "H2O"], {"model": "some.model"}),
    "upet": (["Cu", "H2O"], {"model": "some.ckpt"}),
    "matgl": (["Cu", "H2O"], {"model": "some"}),
    "orb": (["Cu", "H2O"], {"model": "some.ckpt", "network": "orb-v3-conservative-inf-omat"}),
    "aims": (["Cu", "H2O", "radical", "cation"], {"xc": "pbesol"}),
    "gaussian": (["H2O", "heavy", "radical", "cation"], {"route": {"SCF": "XQC"}}),
    "orca": (["H2O", "heavy", "radical", "cation"], {"words": "D4"}),
    "qchem": (["H2O", "heavy", "radical", "cation"], {"rem": {"XC_GRID": 3}}),
}
"""For each calculator, structures and keywords."""

LICENSED = ("aims", "gaussian", "orca", "qchem", "vasp")
"""Programs that tests cannot have, nor their potentials."""

CHANGED = {
    "relax_job": {"fmax": 0.02, "steps": 7, "optimizer": "FIRE"},
    "md_job": {"dynamics": "Langevin", "steps": 3, "temperature": 11.0, "seed": 5},
    "freq_job": {"displacement": 0.02, "thermo": "harmonic", "temperature": 77.0},
    "neb_job": {"images": 3, "climb": False, "fmax": 0.2},
    "ts_job": {"fmax": 0.02, "steps": 9},
    "static_job": {},
    "bands_job": {"path": "GX", "density": 9.0, "empty": 2},
    "work_function_job": {},
    "dos_job": {"mesh_kspacing": 0.05, "empty": 2, "projected": False},
    "dfpt_job": {"qpoints": [2, 1, 1], "tr2_ph": 1e-12, "input_ph": {"niter_ph": 50}},
}
"""Keywords beside a job's defaults."""

ALLOY = bulk("Cu", "fcc", a=3.8, cubic=True)
ALLOY.symbols[0] = "Au"

AS_IT_IS = {"fmax": 100.0}
"""Relaxes nothing, so that all keys stand on numbers that are the same on every machine."""

MARKS = {
    name: getattr(pytest.mark, name)
    for name in ("abinit", "cp2k", "espresso", "nwchem", "pyscf", "tblite")
}

FLOWS = {
    "adsorption": [("adsorption_flow", ("Cu", "CO"), {"min_thickness": 4.0, "min_lateral": 4.0})],
    "batch": [("batch_flow", (["Cu", "Au"],), {})],
    "defects": [("defects_flow", ("Cu",), {"supercell": (2, 2, 2)})],
    "double_relax": [("double_relax_flow", ("Cu", relax_job), {"compare": True})],
    "elastic": [("elastic_flow", ("Cu",), {"relax_positions": False})],
    "eos": [("eos_flow", ("Cu",), {}), ("eos_flow", ("Cu",), {"points": 5, "step": 0.02})],
    "hull": [("hull_flow", (["Cu", "Au", ALLOY],), {})],
    "magnetic_order": [
        (
            "magnetic_order_flow",
            ("boxed",),
            {"moments": {"H": 1}, "cells": 1, "calculator": {"name": "espresso", **HYDROGEN}},
        )
    ],
    "md": [("md_flow", ("moving",), {"equilibration": 2, "steps": 20, "sample_every": 1})],
    "molecules": [
        ("molecule_flow", ("H2O",), {}),
        ("reaction_flow", ("2 H2 + O2 -> 2 H2O",), {}),
    ],
    "neb": [("neb_flow", ("end", "other end"), {"neb_kwargs": {"images": 3, **AS_IT_IS}})],
    "order": [("order_flow", ("shared",), {})],
    "phonons": [("phonon_flow", ("Cu",), {"supercell": (2, 2, 2)})],
    "qha": [("qha_flow", ("Cu",), {"supercell": (2, 2, 2)})],
    "slabs": [("bulk_to_slabs_flow", ("Cu",), {"min_thickness": 5.0, "min_vacuum": 8.0})],
    "stacking_fault": [("stacking_fault_flow", ("Cu",), {"points": 4, "min_thickness": 8.0})],
    "ts": [("ts_flow", ("end",), {"ts_kwargs": AS_IT_IS})],
    "vacancy": [
        ("vacancy_flow", ("Cu",), {"supercell": (2, 2, 2), "neb_kwargs": {"images": 1, **AS_IT_IS}})
    ],
}
"""For each file, its workflows with arguments and keywords."""

FROM_MODES = ("ts_flow",)
"""Their second jobs start from vibrations, whose last digits are the machine's."""


def _frozen(code):
    """Return a version, and weights, that stay when the program is another one."""
    same = {"version": lambda self: "frozen"}
    if code.name in LICENSED:
        same |= {"missing": lambda self: None, "files": lambda self, parameters: []}
    if isinstance(code, Potential | FilePotential):
        same["files"] = lambda self, parameters: []
    if isinstance(code, Weights):
        said = {"elements": ["H", "O", "Cu"], "heads": ["pbe"], "variants": ["pbe"], "state": []}
        said["stress"] = True
        same["described"] = lambda self, parameters: said
    return patch.multiple(type(code), **same)


def job_keys(name):
    """Return the keys of all jobs of a calculator: with their defaults, and with other keywords."""
    core = importlib.import_module(f"quacc.recipes.{name}.core")
    names, keywords = JOBS[name]
    found, known = {}, structures()
    with _frozen(get_code(name)):
        for job, changed in CHANGED.items():
            if not hasattr(core, job):
                continue
            for structure in names:
                more = {}
                if job == "neb_job":
                    more["final"] = known[structure].copy()
                    more["final"].positions[-1] += 0.3
                forms = {"": {}, " changed": changed} if changed else {"": {}}
                if job == "relax_job" and known[structure].pbc.all():
                    forms[" with its cell"] = {"relax_cell": True}
                for label, given in forms.items():
                    kwargs = keywords | more | given
                    calculation = calculation_of(getattr(core, job), (known[structure],), kwargs)
                    found[f"{name}.{job} {structure}{label}"] = calculation.key
    return found


def flow_keys(file):
    """Return the keys of what the workflows of a file are asked for, and of their results."""
    known = structures() | ends()
    found = {}
    with _frozen(get_code("emt")), _frozen(get_code("espresso")):
        for number, (name, given, kwargs) in enumerate(FLOWS[file]):
            flow = getattr(emt, name)
            args = [known.get(one, one) if isinstance(one, str) else one for one in given]
            if "relax_kwargs" in inspect.signature(flow).parameters:
                kwargs = kwargs | {"relax_kwargs": AS_IT_IS}
            found[f"{name} {number} asked"] = question(flow, args, kwargs)
            if name in FROM_MODES:
                continue
            result = flow(*args, **kwargs)
            found[f"{name} {number}"] = result["key"]
            found[f"{name} {number} jobs"] = digest(result["jobs"])
    return found


def ends():
    """Return both ends of a hop of an atom on a surface."""
    initial = fcc111("Cu", (2, 1, 3), vacuum=6.0)
    initial.set_constraint(FixAtoms(range(6)))
    final = initial.copy()
    add_adsorbate(initial, "Au", 1.9, "fcc")
    add_adsorbate(final, "Au", 1.9, "hcp")
    return {"end": initial, "other end": final}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, [])) for name in code_names()]
)
def test_keys_of_jobs(name):
    assert job_keys(name) == json.loads(TABLE.read_text())["jobs"][name]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=MARKS["espresso"] if file == "magnetic_order" else [])
        for file in sorted(FLOWS)
    ],
)
def test_keys_of_workflows(file):
    assert flow_keys(file) == json.loads(TABLE.read_text())["flows"][file]


def test_no_job_and_no_workflow_is_missing():
    core = {name: importlib.import_module(f"quacc.recipes.{name}.core") for name in code_names()}
    jobs = {name for one in core.values() for name in vars(one) if name.endswith("_job")}
    assert jobs == set(CHANGED)
    flows = {name for each in FLOWS.values() for name, *_ in each}
    assert flows == {name for name in workflows.__all__ if name.endswith("_flow")}


if __name__ == "__main__":
    table = {
        "jobs": {name: job_keys(name) for name in code_names()},
        "flows": {file: flow_keys(file) for file in sorted(FLOWS)},
    }
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
