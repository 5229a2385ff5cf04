"""Phonons by density functional perturbation theory: the linear response to displacements."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike, unchecked
from quacc.atoms.modify import repeats_for
from quacc.calculators.code import Code, LinearResponse
from quacc.errors import (
    CalculationError,
    ParameterError,
    StructureError,
    require_positive,
)
from quacc.extras import check_collinear, check_neutral
from quacc.runners.calculation import RELAXED, Calculation
from quacc.runners.deadline import job_end, the_margin
from quacc.runners.lattice_dynamics import harmonic, phonopy_of, temperatures
from quacc.runners.workdir import CopyFiles
from quacc.schemas import DFPTResult

_COULOMB = 14.399645
"""e²/4πε₀ (eV Å)."""
_NOISE = 1.0
"""Acoustic modes at Γ above this (THz) before the sum rule is imposed are told."""
_CHARGE = 0.1
"""A sum of Born charges above this (e) is told."""
_SHARE = 20
"""Ratio of the time between two stops of the program and that for starting it."""


def dfpt(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    qpoints: Sequence[int] | None = None,
    min_length: float = 12.0,
    tr2_ph: float = 1e-14,
    mesh: float = 60.0,
    t_max: float = 1000.0,
    t_step: float = 10.0,
    input_ph: Mapping[str, Any] | None = None,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[DFPTResult]:
    """Compute the energy, and phonons by density functional perturbation theory.

    The response of the electrons to displacements (Baroni et al., Rev. Mod. Phys. 73, 515
    (2001)) on a mesh of q-points gives the force constants of as large a supercell, without one;
    from them, phonopy interpolates bands and densities. An insulator, whose occupations must be
    fixed, also gets Born charges and the dielectric tensor, and with them the splitting of its
    longitudinal and transverse optical modes (Gonze and Lee, Phys. Rev. B 55, 10355 (1997)). The
    acoustic sum rule is imposed, and by how much it was broken is in the result. For phonons from
    displaced atoms, with any calculator, see phonon_flow.

    Parameters
    ----------
    atoms
        A crystal: atoms, the result of a job, the path of a file, or a name such as Si. Relax it
        first, and take its primitive cell.
    qpoints
        Numbers of q-points along the three reciprocal vectors, Γ among them.
    min_length
        Without ``qpoints``: as many as a supercell so wide along each vector holds cells (Å).
    tr2_ph
        Threshold of the response's self-consistency (``tr2_ph`` of ph.x).
    mesh
        Density of the q-points of densities and thermal properties: length (Å) of phonopy's mesh.
    t_max, t_step
        Temperatures of the thermal properties (K).
    input_ph
        Anything else of ph.x, as in its manual, such as ``{"alpha_mix(1)": 0.3}``.
    """
    require_positive(tr2_ph=tr2_ph, mesh=mesh, t_max=t_max, t_step=t_step, min_length=min_length)
    if input_ph is not None and not isinstance(input_ph, Mapping):
        raise ParameterError(
            f"input_ph must be a dictionary of ph.x's own keywords, not {input_ph!r}."
        )
    return Calculation(
        atoms,
        code,
        code.for_response(calc_kwargs),
        _compute,
        recipe="dfpt_job",
        corrected=False,
        parameters={
            "qpoints": _qpoints(unchecked(atoms), qpoints, min_length),
            "tr2_ph": float(tr2_ph),
            "mesh": float(mesh),
            "t_max": float(t_max),
            "t_step": float(t_step),
            "input_ph": dict(input_ph or {}),
        },
        requires=_check,
        copy_files=copy_files,
    )


def _qpoints(atoms: Atoms, given: Sequence[int] | None, min_length: float) -> list[int]:
    if atoms.cell.rank < 3:
        return [1, 1, 1]  # which is refused later
    try:
        found = repeats_for(atoms, given, min_length)
    except ParameterError as error:
        raise ParameterError(str(error).replace("supercell", "qpoints")) from None
    if given is None and not _has_symmetry(atoms, found):
        return [max(found)] * 3
    return found


def _has_symmetry(atoms: Atoms, qpoints: Sequence[int]) -> bool:
    """Return whether the symmetry of the crystal maps the mesh of q-points onto itself."""
    from spglib import get_symmetry

    if len(set(qpoints)) == 1:
        return True
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    numbers = np.array(qpoints)
    found = get_symmetry(cell, symprec=1e-5)
    rotations = np.array(found["rotations"] if found else [np.eye(3)])
    # A rotation W of positions takes q = m / n, in reciprocal vectors, to transposed(W) q.
    turned = numbers[:, None] * rotations.transpose(0, 2, 1) / numbers[None, :]
    return bool(np.allclose(turned, turned.round(), atol=1e-6))


def _check(calculation: Calculation[DFPTResult]) -> None:
    atoms, qpoints = calculation.input_atoms, calculation.parameters["qpoints"]
    if not atoms.pbc.all():
        raise StructureError(
            "Phonons by perturbation theory are those of a crystal, periodic in three directions, "
            f"but the structure has pbc={atoms.pbc.tolist()}."
        )
    if atoms.constraints:
        raise StructureError(
            "Phonons by perturbation theory are of all atoms: remove the constraints with "
            "atoms.set_constraint(), or take phonon_flow, which leaves out fixed atoms."
        )
    check_neutral(atoms, "a phonon calculation")
    check_collinear(atoms)
    if atoms.cell.handedness < 0:
        raise StructureError("The cell is left-handed: turn one of its vectors around.")
    if len(atoms) * np.prod(qpoints) == 1:
        raise StructureError(
            "With one atom and Γ alone, nothing moves against anything. Take more qpoints."
        )
    if not _has_symmetry(atoms, qpoints):
        raise ParameterError(
            f"The mesh of qpoints={qpoints} has not the symmetry of the crystal, so that it cannot "
            f"be completed from its irreducible points. Take {[max(qpoints)] * 3}, or equal "
            "numbers along equivalent vectors."
        )
    calculation.code.check_response(
        atoms, calculation.calc_parameters, calculation.parameters["input_ph"]
    )


def _compute(calculation: Calculation[DFPTResult]) -> DFPTResult:
    code, parameters = calculation.code, calculation.calc_parameters
    with calculation.run() as atoms:
        _respond(calculation, atoms)
        found = code.response(parameters, calculation.place, atoms)
    calculation.warnings += found.warnings
    result = cast(DFPTResult, calculation.result(atoms))
    result |= cast(DFPTResult, _phonons(calculation, atoms, found))
    largest = float(np.linalg.norm(result["results"]["forces"], axis=1).max())
    if largest > RELAXED:
        result["warnings"].append(
            f"The crystal is not relaxed: there are forces of {largest:.2g} eV/Å on its atoms, "
            "which make the harmonic approximation doubtful. Relax it first, with a smaller fmax."
        )
    return result


def _respond(calculation: Calculation[DFPTResult], atoms: Atoms) -> None:
    """Compute the energy, and the response to displacements; a checkpoint now and then."""
    from quacc.settings import get_settings

    code, checkpoint, place = calculation.code, calculation.checkpoint, calculation.place
    own, folder = calculation.parameters, place.folder
    assert folder is not None and code.program is not None  # noqa: PT018
    kept = [folder / name for name in code.program.restart]

    def fits(saved: Mapping[str, Any]) -> None:
        np.array(saved["results"]["forces"], float).reshape(len(atoms), 3)
        float(saved["results"]["energy"])
        float(saved["seconds"])
        int(saved["steps"])
        if not all(one.exists() for one in kept):
            raise LookupError("its restart files are not there")

    seconds = get_settings().checkpoint_interval
    saved = checkpoint.resume(fits)
    if saved:
        atoms.calc.results = dict(saved["results"])
        steps, seconds = saved["steps"], saved["seconds"]
        calculation.warnings[:] = saved["warnings"]
    else:
        calculation.evaluate(atoms)
        steps = 1
    scf = dict(atoms.calc.results)
    told = list(calculation.warnings)
    first = 0.0

    def state() -> dict[str, Any]:
        return {"results": scf, "warnings": told, "steps": steps, "seconds": seconds}

    while True:
        checkpoint.step(steps, state)
        allowed = seconds
        if (end := job_end()) is not None:  # so that it stops by itself before it is killed
            allowed = max(1.0, min(seconds, end - time.time() - the_margin() - first))
        reached = code.respond(
            calculation.calc_parameters,
            place,
            own["qpoints"],
            own["tr2_ph"],
            own["input_ph"],
            allowed,
            steps > 1,
        )
        if reached.done:
            return
        steps += 1
        first = max(first, reached.first or 0.0)
        # Else it would begin over and over again, and come to nothing.
        seconds = max(seconds, _SHARE * first if reached.first else 2 * seconds)


def _phonons(
    calculation: Calculation[DFPTResult], atoms: Atoms, found: LinearResponse
) -> dict[str, Any]:
    own, warnings = calculation.parameters, calculation.warnings
    phonopy = phonopy_of(atoms, own["qpoints"])
    if len(found.force_constants) != len(phonopy.supercell):
        raise CalculationError(
            f"{calculation.title}: there are force constants of {len(found.force_constants)} atoms "
            f"in a supercell of {len(phonopy.supercell)}."
        )
    phonopy.force_constants = found.force_constants
    before = _at_gamma(phonopy)
    residual = float(np.sort(np.abs(before))[:3].max())
    more: dict[str, Any] = {"born_charges": None, "born_sum_rule": None, "dielectric_tensor": None}
    if found.born_charges is not None and found.dielectric_tensor is not None:
        excess = found.born_charges.sum(axis=0)
        born = found.born_charges - excess / len(atoms)
        cells = phonopy.supercell
        sites = [cells.u2u_map[cells.s2u_map[one]] for one in phonopy.primitive.p2s_map]
        phonopy.nac_params = {
            "born": born[sites],
            "dielectric": found.dielectric_tensor,
            "factor": _COULOMB,
        }
        broken = float(np.abs(excess).max())
        more = {
            "born_charges": born,
            "born_sum_rule": broken,
            "dielectric_tensor": found.dielectric_tensor,
        }
        if broken > _CHARGE:
            warnings.append(
                f"The Born charges add up to {broken:.2g} e, not to zero, which was imposed: they "
                "and the dielectric tensor are not converged. Take more k-points, then a larger "
                "cutoff."
            )
    made = harmonic(phonopy, own["mesh"], temperatures(own["t_max"], own["t_step"]))
    if residual > _NOISE:
        warnings.append(
            f"The acoustic modes at Γ had frequencies up to {residual:.2f} THz before the sum "
            "rule was imposed: take a larger cutoff of the density, or a smaller tr2_ph."
        )
    if not made["stable"]:
        warnings.append(
            f"There are imaginary modes, down to {made['lowest_frequency']:.2f} THz: the structure "
            "is no minimum of the energy, or q-points or k-points are too few. They are left out "
            "of the thermal properties."
        )
    gamma = {"gamma_frequencies": _at_gamma(phonopy), "acoustic_residual": residual}
    return {"supercell": own["qpoints"], **made, **gamma, **more}


def _at_gamma(phonopy: Any) -> NDArray[Any]:
    return np.array(phonopy.run_qpoints([[0.0, 0.0, 0.0]]).frequencies[0])
