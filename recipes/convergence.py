"""Converge cutoff and k-points until a property stays as it is.

    python recipes/convergence.py                          lattice and bulk modulus of Al, with pw.x
    python recipes/convergence.py my.cif --cutoffs 40 --cutoffs 60 --cutoffs 80 --tolerance 0.5

Needs: a crystal, and pw.x with its pseudopotentials (see the setting pseudopotentials.espresso).
First the cutoff is raised with the coarsest k-points, then their number at the best cutoff.
"""

from typing import Any

from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect.show.artifacts import show_table
from quacc.prefect.workflows import eos_flow
from quacc.recipes.workflows import converge

CUTOFFS, MESHES = [12.0, 16.0, 24.0], ["6 6 6", "9 9 9", "12 12 12"]
MODULUS, OFF = "bulk modulus (GPa)", "off the last (GPa)"
ALUMINIUM = "espresso pseudopotentials.Al=Al.pz-vbc.UPF input_data.degauss=0.05"


@flow
def convergence(
    crystal: str = "Al",
    cutoffs: list[float] = CUTOFFS,
    meshes: list[str] = MESHES,
    calculator: str = ALUMINIUM,
    tolerance: float = 2.0,
) -> list[dict[str, Any]]:
    """Return the bulk modulus (GPa) at each setting, and the first setting that is enough.

    Parameters
    ----------
    crystal
        A file such as CIF or POSCAR, or an element.
    cutoffs
        Of the wave functions (Ry), the best last.
    meshes
        Of k-points, the finest last; the same at all volumes.
    calculator
        Its name, and its keywords.
    tolerance
        Of the bulk modulus (GPa).
    """
    rows = []
    kpts = [[int(number) for number in mesh.split()] for mesh in meshes]
    fixed: dict[str, Any] = {"kpts": kpts[0]}
    for keyword, values in (("ecutwfc", cutoffs), ("kpts", kpts)):
        others = {name: value for name, value in fixed.items() if name != keyword}
        result = converge(
            eos_flow,
            f"static_kwargs.{keyword}",
            values,
            crystal,
            of="bulk_modulus",
            tolerance=tolerance,
            relax_job=None,
            calculator=calculator_of(calculator),
            static_kwargs=others,
        )
        fixed[keyword] = values[-1]
        best = result["properties"][-1]["bulk_modulus"]
        rows += [
            {keyword: str(value), MODULUS: found["bulk_modulus"], OFF: found["bulk_modulus"] - best}
            for value, found in zip(values, result["properties"], strict=True)
        ]
        rows[-1]["enough"] = str(result["enough"])
    show_table(rows, key="convergence", description=f"Convergence of {crystal}")
    return rows


if __name__ == "__main__":
    script(convergence)
