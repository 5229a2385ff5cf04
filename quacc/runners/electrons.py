"""Band structures, band gaps, and densities of states, after one energy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from ase import Atoms

from quacc.atoms.convert import StructureLike
from quacc.calculators.code import Code, Place, Spectrum
from quacc.errors import (
    ParameterError,
    StructureError,
    require_bool,
    require_count,
    require_positive,
)
from quacc.runners.calculation import Calculation
from quacc.runners.workdir import CopyFiles
from quacc.schemas import BandsResult, DOSResult


def bands(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    path: str | None = None,
    density: float = 15.0,
    empty: int = 4,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[BandsResult]:
    """Compute the energy, and from its density the bands along a path, with the gap on it.

    The path is ASE's through the special points of the Bravais lattice (Setyawan and Curtarolo,
    Comput. Mater. Sci. 49, 299 (2010)), for the cell as it is given: take a primitive one, or bands
    are folded.

    Parameters
    ----------
    atoms
        A crystal: atoms, the result of a job, the path of a file, or a name such as Si. Relax it
        first.
    path
        Special points such as "GXWKGL,UWLK"; None takes all.
    density
        k-points along the path (per 1/Å, with 2π).
    empty
        Bands above those that hold the electrons.
    """
    require_positive(density=density)
    require_count(empty=empty)
    if path is not None and not isinstance(path, str):
        raise ParameterError(f"path must be special points such as 'GXWKGL', not {path!r}.")
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _bands,
        recipe="bands_job",
        corrected=False,
        parameters={"path": path, "density": float(density), "empty": int(empty)},
        requires=_check_path,
        copy_files=copy_files,
    )


def dos(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    mesh_kspacing: float = 0.02,
    empty: int = 4,
    projected: bool = True,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[DOSResult]:
    """Compute the energy, and from its density the density of states on a finer mesh.

    By the tetrahedron method, without any broadening: with Quantum ESPRESSO that of Kawamura et al.
    (Phys. Rev. B 89, 094515 (2014)), with ABINIT the linear one of Blöchl et al. (Phys. Rev. B 49,
    16223 (1994)).

    Parameters
    ----------
    atoms
        A crystal: atoms, the result of a job, the path of a file, or a name such as Si. Relax it
        first.
    mesh_kspacing
        Distance of the k-points (1/Å, without 2π, as in ASE).
    empty
        Bands above those that hold the electrons.
    projected
        Also by atom and orbital. Quantum ESPRESSO projects on atomic wave functions, which the
        pseudopotentials must have; ABINIT takes what is in a sphere around each atom (``ratsph``),
        and leaves out what is between them.
    """
    require_positive(mesh_kspacing=mesh_kspacing)
    require_count(empty=empty)
    require_bool(projected=projected)
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _dos,
        recipe="dos_job",
        corrected=False,
        parameters={
            "mesh_kspacing": float(mesh_kspacing),
            "empty": int(empty),
            "projected": projected,
        },
        requires=_check_mesh,
        copy_files=copy_files,
    )


def band_gap(spectrum: Spectrum) -> dict[str, Any]:
    """Return the band gap of a spectrum, on its k-points.

    ``gap`` and ``direct_gap`` (eV; zero for a metal), ``valence_maximum`` and
    ``conduction_minimum`` (eV; None for a metal), and the k-points where they are.
    """
    energies = spectrum.energies
    counts = [
        np.full(len(spectrum.kpoints), spectrum.occupied[spin])
        if spectrum.occupied is not None
        else (energies[spin] < spectrum.fermi_energies[spin]).sum(axis=1)
        for spin in range(len(energies))
    ]
    below, above = [], []
    for levels, full in zip(energies, counts, strict=True):
        same = full[0] if (full == full[0]).all() else None
        if same is None:
            return _METAL.copy()
        below.append(levels[:, same - 1] if same else np.full(len(levels), -np.inf))
        above.append(levels[:, same] if same < levels.shape[1] else np.full(len(levels), np.inf))
    top, bottom = np.max(below, axis=0), np.min(above, axis=0)
    if not top.max() < bottom.min():
        return _METAL.copy()
    return {
        "gap": float(bottom.min() - top.max()),
        "direct_gap": float((bottom - top).min()),
        "valence_maximum": float(top.max()),
        "conduction_minimum": float(bottom.min()),
        "valence_kpoint": spectrum.kpoints[int(top.argmax())].round(8).tolist(),
        "conduction_kpoint": spectrum.kpoints[int(bottom.argmin())].round(8).tolist(),
    }


_METAL: dict[str, Any] = {
    "gap": 0.0,
    "direct_gap": 0.0,
    "valence_maximum": None,
    "conduction_minimum": None,
    "valence_kpoint": None,
    "conduction_kpoint": None,
}


def _check_crystal(calculation: Calculation[Any]) -> None:
    pbc = calculation.input_atoms.pbc
    if not pbc.all():
        raise StructureError(
            f"Bands are those of a crystal, but the structure has pbc={pbc.tolist()}."
        )


def _check_mesh(calculation: Calculation[Any]) -> None:
    _check_crystal(calculation)
    projected = calculation.parameters["projected"]
    densities = "projected dos" if projected else "dos"
    calculation.code.check_bands(calculation.calc_parameters, densities)


def _check_path(calculation: Calculation[Any]) -> None:
    _check_crystal(calculation)
    _path(calculation.input_atoms, calculation.parameters)
    calculation.code.check_bands(calculation.calc_parameters, None)


def _path(atoms: Atoms, parameters: Mapping[str, Any]) -> Any:
    path, default = parameters["path"], atoms.cell.bandpath(npoints=0)
    known = sorted(default.special_points, key=len, reverse=True)
    point = "|".join(map(re.escape, known))
    if path is not None and not re.fullmatch(rf"(({point}){{2,}})(,({point}){{2,}})*", path):
        raise ParameterError(
            f"path={path!r} is no path of this lattice: write two or more of its special points "
            f"{', '.join(sorted(known))} after one another, and a comma for a break."
        )
    return atoms.cell.bandpath(path, density=parameters["density"])


def _bands(calculation: Calculation[BandsResult]) -> BandsResult:
    way = _path(calculation.input_atoms, calculation.parameters)

    def after(place: Place, atoms: Atoms) -> Spectrum:
        code, empty = calculation.code, calculation.parameters["empty"]
        return code.bands(calculation.calc_parameters, place, atoms, way.kpts, empty)

    spectrum, made = _after_energy(calculation, after)
    result = cast(BandsResult, {**made, **_described(spectrum)})
    result["warnings"].extend(spectrum.warnings)
    distances, places, labels = way.get_linear_kpoint_axis()
    result["distances"] = distances
    result["special_points"] = [
        {"distance": float(place), "label": label}
        for place, label in zip(places, labels, strict=True)
    ]
    return result


def _dos(calculation: Calculation[DOSResult]) -> DOSResult:
    parameters = calculation.parameters

    def after(place: Place, atoms: Atoms) -> tuple[Spectrum, dict[str, Any]]:
        return calculation.code.density_of_states(
            calculation.calc_parameters,
            place,
            atoms,
            parameters["mesh_kspacing"],
            parameters["empty"],
            parameters["projected"],
        )

    (spectrum, densities), made = _after_energy(calculation, after)
    result = cast(DOSResult, {**made, **_described(spectrum), **densities})
    result["warnings"].extend(spectrum.warnings)
    return result


def _after_energy(
    calculation: Calculation[Any], after: Callable[[Place, Atoms], Any]
) -> tuple[Any, dict[str, Any]]:
    with calculation.run(steps=False) as atoms:
        calculation.evaluate(atoms)
        found = after(calculation.place, atoms)
    return found, dict(calculation.result(atoms))


def _described(spectrum: Spectrum) -> dict[str, Any]:
    gap = band_gap(spectrum)
    fermi = spectrum.fermi_energies.max()
    if gap["gap"]:
        fermi = (gap["valence_maximum"] + gap["conduction_minimum"]) / 2
    return {
        "eigenvalues": spectrum.energies,
        "kpoints": spectrum.kpoints,
        "weights": spectrum.weights,
        "fermi_energy": float(fermi),
        "band_gap": gap,
    }
