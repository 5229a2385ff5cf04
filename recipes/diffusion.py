"""Diffusion against temperature, with error bars.

    python recipes/diffusion.py                            liquid argon, with Lennard-Jones
    python recipes/diffusion.py liquid.extxyz --temperatures 900 --calculator chgnet

Needs: a liquid, or a solid in which something moves, in a periodic cell of its density, and a
calculator with forces. The default is a test of the method: argon of 1.374 g/cm³ at 94.4 K has
2.43·10⁻⁵ cm²/s (Rahman, Phys. Rev. 136, A405 (1964)); a cell of 108 atoms makes it a fifth too slow
(Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004)). A hundred times --steps make error bars ten
times smaller.
"""

from typing import Any

from ase import Atoms, units
from ase.build import bulk
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import as_flow, fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import md_flow

TEMPERATURES = [94.4, 130.0]
D, ERROR = "diffusion (cm²/s)", "standard error (cm²/s)"


@flow
def diffusion(
    structure: str = "argon",
    temperatures: list[float] = TEMPERATURES,
    calculator: str = "lj epsilon=0.01034 sigma=3.4",
    timestep: float = 8.0,
    steps: int = 1500,
) -> list[dict[str, Any]]:
    """Return the diffusion of each element (cm²/s) at each temperature.

    Parameters
    ----------
    structure
        A file, or argon.
    temperatures
        K.
    calculator
        Its name, and its keywords.
    timestep
        fs.
    steps
        Of each run; half as many before them equilibrate.
    """
    results = fan_out(
        as_flow(at),
        temperatures,
        structure=argon() if structure == "argon" else structure,
        timestep=timestep,
        steps=steps,
        equilibration=steps // 2,
        calculator=calculator_of(calculator),
    ).results()
    rows = [
        {"element": element, "T (K)": temperature, D: found["value"], ERROR: found["error"]}
        for temperature, result in zip(temperatures, results, strict=True)
        for element, found in result["diffusion_by_element"].items()
    ]
    show_table(rows, key="diffusion", description="Diffusion")
    return rows


def at(temperature: float, structure: Any, **more: Any) -> Any:
    """Run the dynamics at one temperature."""
    return md_flow(structure, temperature=temperature, **more)


def argon() -> Atoms:
    """Return 108 atoms of argon with 1.374 g/cm³, on an fcc lattice that melts."""
    a = (4 * 39.948 * units._amu / 1374) ** (1 / 3) * 1e10
    return bulk("Ar", "fcc", a=a, cubic=True) * 3


if __name__ == "__main__":
    script(diffusion)
