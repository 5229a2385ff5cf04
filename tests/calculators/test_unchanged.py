"""Whether a calculator notices every change, and computes nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS

from quacc.calculators.code import Place
from quacc.calculators.codes import emt, lj

PARAMETERS = {"emt": {}, "lj": {"epsilon": 1.0, "sigma": 1.0}}  # as plain ASE has them
CODES = pytest.mark.parametrize(
    ("code", "plain"), [(emt.CODE, EMT), (lj.CODE, LennardJones)], ids=["emt", "lj"]
)


def counting(calculator: Any) -> tuple[Any, list[int]]:
    calls: list[int] = []
    calculate = calculator.calculate

    def count(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        calculate(*args, **kwargs)

    calculator.calculate = count
    return calculator, calls


def _built(code: Any) -> Any:
    return code.build(code.complete(PARAMETERS[code.name]), Place())


def rattled() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


@CODES
def test_a_relaxation_takes_the_force_calls_of_plain_ase(
    code: Any, plain: Callable[[], Any]
) -> None:
    ends = []
    for calculator in (_built(code), plain()):
        atoms = rattled()
        atoms.calc, calls = counting(calculator)
        BFGS(atoms, logfile=None).run(fmax=0.01, steps=20)
        ends.append((len(calls), atoms.get_potential_energy(), atoms.positions.tolist()))
    assert ends[0] == ends[1]


def _move(atoms: Atoms) -> None:
    atoms.positions[1, 2] += 1e-12


def _strain(atoms: Atoms) -> None:
    atoms.cell[0, 0] *= 1 + 1e-12


def _swap(atoms: Atoms) -> None:
    atoms.numbers[0] = 47


def _open(atoms: Atoms) -> None:
    atoms.pbc[2] = False


def _charge(atoms: Atoms) -> None:
    atoms.set_initial_charges([1.0] * len(atoms))


def _magnetise(atoms: Atoms) -> None:
    atoms.set_initial_magnetic_moments([1.0] * len(atoms))


@CODES
@pytest.mark.parametrize("change", [_move, _strain, _swap, _open, _charge, _magnetise])
def test_every_change_is_noticed_as_plain_ase_does(
    code: Any, plain: Callable[[], Any], change: Callable[[Atoms], None]
) -> None:
    atoms = rattled()
    both = [_built(code), plain()]
    for calculator in both:
        calculator.get_property("energy", atoms)
        assert calculator.check_state(atoms) == []
    change(atoms)
    assert both[0].check_state(atoms)
    assert sorted(both[0].check_state(atoms)) == sorted(both[1].check_state(atoms))


@CODES
def test_what_is_no_part_of_the_question_computes_nothing(
    code: Any, plain: Callable[[], Any]
) -> None:
    atoms = rattled()
    atoms.calc, calls = counting(_built(code))
    atoms.get_potential_energy()
    before = len(calls)
    atoms.set_momenta(atoms.positions)
    atoms.set_tags(1)
    atoms.get_forces()
    assert len(calls) == before
