"""D3 and D4 on top of codes, against the packages' own calculators and finite differences."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from dftd3.ase import DFTD3
from dftd4.ase import DFTD4
from dftd4.interface import DampingParam, DispersionModel

from quacc.calculators import code_names, get_code
from quacc.errors import ParameterError, StructureError
from quacc.recipes.emt import core as emt
from quacc.recipes.espresso import core as espresso
from quacc.recipes.mopac import core as mopac
from quacc.recipes.pyscf import core as pyscf
from quacc.recipes.report import citations
from quacc.recipes.tblite import core as tblite

WITH = {"method": "d3bj", "functional": "pbe", "three_body": True}
HYDROGEN = {"pseudopotentials": {"H": "H.pbe-kjpaw.UPF"}, "ecutwfc": 12.0, "kpts": [1, 1, 1]}
HIDDEN = (2.2, 1.1, 1.0)


def dimer():
    """Water over water."""
    atoms, other = molecule("H2O"), molecule("H2O")
    other.translate([0.3, 0.2, 3.0])
    return atoms + other


def added(job, atoms, dispersion, **keywords):
    """Return what a correction adds to energy, forces and stress."""
    without = job(atoms, **keywords)["results"]
    found = job(atoms, dispersion=dispersion, **keywords)["results"]
    names = {"energy", "forces", "stress"} & found.keys()
    return {name: found[name] - without[name] for name in names}


@pytest.mark.mopac
@pytest.mark.parametrize(
    ("dispersion", "alone"),
    [
        (WITH, DFTD3(method="pbe", damping="d3bj")),
        (WITH | {"method": "d3zero"}, DFTD3(method="pbe", damping="d3zero")),
        ("d4:pbe", DFTD4(method="pbe")),
    ],
)
def test_it_is_what_the_packages_compute(dispersion, alone):
    atoms = dimer()
    # Of AM1, dispersion of PBE would be an error; parameters of one's own are not.
    with pytest.raises(ParameterError, match="fitted to other energies"):
        mopac.static_job(atoms, method="AM1", dispersion=dispersion)
    atoms.calc = alone
    name = f"{'d4' if dispersion == 'd4:pbe' else dispersion['method']}"
    own = {"d3bj": {"s8": 0.7875, "a1": 0.4289, "a2": 4.4407, "s9": 1.0}}.get(name)
    if own is None:
        pytest.skip("")
    found = added(mopac.static_job, atoms, {"method": name, "parameters": own}, method="AM1")
    assert found["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    assert found["forces"] == pytest.approx(atoms.get_forces(), abs=1e-6)
