"""Harmonic vibrations from finite differences of forces, and thermochemistry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Literal, cast

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms

from quacc.atoms.convert import StructureLike
from quacc.atoms.rotations import symmetry_number
from quacc.atoms.vacuum import VACUUM, in_one_piece, is_crowded_molecule, is_isolated, least_gap
from quacc.calculators.code import Code, doublet
from quacc.errors import (
    CalculationError,
    ParameterError,
    StructureError,
    require_choice,
    require_count,
    require_number,
    require_positive,
)
from quacc.extras import check_spin
from quacc.runners import adsorbate
from quacc.runners.calculation import RELAXED, Calculation
from quacc.runners.workdir import CopyFiles
from quacc.schemas import VibResult

_LINEAR = 1e-4
"""A molecule is linear if its smallest moment of inertia is below this part of the largest."""

THERMO = ("ideal_gas", "harmonic", "hindered")
LOW_MODES = ("harmonic", "grimme", "truhlar")

SMALLEST, LARGEST = 1e-4, 0.5
"""Displacements that make sense (Å)."""

_LOW = 100.0
"""The wavenumber (1/cm) below which a harmonic oscillator's entropy is doubtful."""

_STANDARD = 298.15
"""Where an energy that is an enthalpy has its zero-point and thermal energy from (K)."""


def freq(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    displacement: float = 0.01,
    thermo: str = "ideal_gas",
    temperature: float = 298.15,
    pressure: float = 1.0,
    symmetry_number: int | None = None,
    spin: float | None = None,
    low_modes: str = "harmonic",
    translation_barrier: float | None = None,
    rotation_barrier: float | None = None,
    rotational_minima: int | None = None,
    site_area: float | None = None,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[VibResult]:
    """Compute the vibrations of all atoms that are not fixed, and thermochemistry.

    A molecule in a periodic box with at least 6 Å of vacuum around it is free: its three
    translations and its rotations are no vibrations.

    The Hessian is the symmetrised central difference of the forces; modes and thermochemistry
    are ASE's (``VibrationsData``, ``IdealGasThermo``, ``HarmonicThermo``; for a hindered adsorbate
    the formulae of its ``HinderedThermo``). Imaginary modes are left
    out of the thermochemistry, which a warning says.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as H2O. Relax it first.
    displacement
        How far each atom is displaced to both sides (Å).
    thermo
        ``ideal_gas`` for a free molecule, ``harmonic`` for everything else; ``hindered`` for an
        adsorbate on a slab whose atoms are all fixed, whose three lowest modes are two hindered
        translations along the surface and a hindered rotation about its normal (Sprowl et al., J.
        Phys. Chem. C 120, 9719 (2016)). Of an atom, or a molecule that stands upright, only the two
        lowest, since nothing turns.
    temperature, pressure
        Temperature (K) and pressure (bar). Harmonic thermochemistry knows no pressure.
    symmetry_number
        The symmetry number of a molecule; None counts the rotations that map it onto itself.
    spin
        Total electronic spin S of a molecule; None takes that of the code's ``multiplicity``,
        where it is given, or half the sum of the initial magnetic moments; without either, 1/2 for
        an odd number of electrons, and 0 for an even one.
    low_modes
        Entropy of modes of low wavenumber, which in a harmonic oscillator has no bound:
        ``harmonic``; ``grimme``, of a free molecule, goes over to a free rotor around 100/cm
        (Chem. Eur. J. 18, 9955 (2012)); ``truhlar`` takes those below 100/cm for 100/cm (Ribeiro et
        al., J. Phys. Chem. B 115, 14556 (2011)). Enthalpies stay harmonic.
    translation_barrier, rotation_barrier
        Of a hindered adsorbate: what it takes to get to the next site, and to turn (eV).
    rotational_minima
        How many equivalent minima a hindered adsorbate passes in a whole turn, such as 6. As in
        ASE, the entropy counts one of them; ``symmetry_number``, 1 if it is None, divides it.
    site_area
        The area of the surface for each site of a hindered adsorbate (Å²). Its entropy has the
        standard concentration of ASE's ``HinderedThermo``, that of the gas at 1 bar.
    """
    require_positive(displacement=displacement, temperature=temperature, pressure=pressure)
    if not SMALLEST <= displacement <= LARGEST:
        raise ParameterError(
            f"displacement must be between {SMALLEST} and {LARGEST} Å, not {displacement!r}: "
            "smaller ones drown in rounding errors, larger ones leave the harmonic region."
        )
    require_choice("thermo", thermo, THERMO)
    require_choice("low_modes", low_modes, LOW_MODES)
    if low_modes == "grimme" and thermo != "ideal_gas":
        raise ParameterError(
            "low_modes='grimme' is for free molecules, whose modes it takes for free rotors. Use "
            f"low_modes='truhlar' with thermo={thermo!r}."
        )
    hindered = {
        "translation_barrier": translation_barrier,
        "rotation_barrier": rotation_barrier,
        "rotational_minima": rotational_minima,
        "site_area": site_area,
    }
    hindered = {name: value for name, value in hindered.items() if value is not None}
    if hindered and thermo != "hindered":
        raise ParameterError(
            f"{', '.join(hindered)}: of thermo='hindered' alone. Leave out, or pass that."
        )
    if thermo == "hindered" and not {"translation_barrier", "site_area"} <= hindered.keys():
        raise ParameterError(
            "thermo='hindered' needs translation_barrier (eV) and site_area (Å² for each site)."
        )
    if ("rotation_barrier" in hindered) != ("rotational_minima" in hindered):
        raise ParameterError("rotation_barrier and rotational_minima belong together: pass both.")
    if rotational_minima is not None:
        require_count(rotational_minima=rotational_minima)
    require_positive(
        **{name: value for name, value in hindered.items() if name != "rotational_minima"}
    )
    if symmetry_number is not None:
        require_count(symmetry_number=symmetry_number)
    if spin is not None:
        require_number(spin=spin)
        if spin < 0 or (2 * spin) % 1:
            raise ParameterError(f"spin must be 0, 0.5, 1, 1.5, …, not {spin!r}.")
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="freq_job",
        version=5,
        parameters={
            "displacement": float(displacement),
            "thermo": thermo,
            "temperature": float(temperature),
            "pressure": float(pressure),
            "symmetry_number": symmetry_number,
            "spin": spin,
        }
        | ({} if low_modes == "harmonic" else {"low_modes": low_modes})
        | hindered,
        requires=_check_structure,
        copy_files=copy_files,
    )


def _check_structure(calculation: Calculation[VibResult]) -> None:
    indices = moving(calculation.input_atoms)
    if calculation.parameters["thermo"] == "ideal_gas":
        _check_molecule(calculation.input_atoms, indices)
        calculation.warnings += _check_spin(calculation, calculation.parameters["spin"])
    if calculation.parameters["thermo"] == "hindered":
        if calculation.code.energy_is_enthalpy:
            raise ParameterError(
                f"The energy of {calculation.code.title} is an enthalpy at 298.15 K, from which "
                "that of hindered motions cannot be told: use thermo='harmonic'."
            )
        adsorbate.check(calculation.input_atoms, indices, calculation.parameters)


def _compute(calculation: Calculation[VibResult]) -> VibResult:
    code, parameters = calculation.code, calculation.parameters
    displacement, thermo = parameters["displacement"], parameters["thermo"]
    temperature, pressure = parameters["temperature"], parameters["pressure"]
    indices = moving(calculation.input_atoms)
    with calculation.run() as atoms:
        hessian = _hessian(calculation, atoms, indices, displacement)
        atoms.positions = calculation.input_atoms.positions
        calculation.evaluate(atoms)
    result = cast(VibResult, calculation.result(atoms))
    result["hessian"] = hessian
    largest = float(np.linalg.norm(result["results"]["forces"][indices], axis=1).max())
    if largest > RELAXED:
        result["warnings"].append(
            f"The structure is not relaxed: the largest force is {largest:.3g} eV/Å. Relax it "
            "before computing vibrations."
        )
    squares, alone = squared_energies(atoms, hessian, indices)
    if is_crowded_molecule(atoms):
        result["warnings"].append(
            f"The molecule has only {least_gap(atoms):.1f} Å of vacuum around it: its rotations "
            f"are hindered, and count as vibrations. Give it at least {VACUUM:g} Å, or set "
            "atoms.pbc = False."
        )
    atoms = alone
    energies = np.sqrt(np.abs(squares))
    result["frequencies"] = np.sign(squares) * energies / units.invcm
    if thermo == "hindered":
        number = adsorbate.rigid_modes(parameters)
        part = adsorbate.rigid_part(result["atoms"], hessian, indices, number)
        result["warnings"] += adsorbate.warning(part, number)
        squares = np.sort(squares[np.argsort(np.abs(squares))[number:]])
        energies = np.sqrt(np.abs(squares))
    if (squares <= 0).any():
        result["warnings"].append(
            f"{int((squares <= 0).sum())} imaginary or zero modes, up to "
            f"{-result['frequencies'][0]:.0f}i 1/cm, are left out of the thermochemistry: the "
            "structure is not a minimum."
        )
    real = energies[squares > 0]
    if thermo == "harmonic" and not len(real):
        raise CalculationError(
            f"{calculation.title}: no mode has a real frequency, so there "
            "is no thermochemistry. The structure is not a minimum; relax it first.",
            atoms=result["atoms"],
        )
    describe = {"ideal_gas": _ideal_gas, "harmonic": _harmonic, "hindered": _hindered}[thermo]
    with np.errstate(all="ignore"):
        energy = result["results"]["energy"]
        thermo_data = describe(atoms, real, energy, parameters, code)
    wrong = [name for name, value in thermo_data.items() if not np.isfinite(_number(value))]
    if wrong:
        raise CalculationError(
            f"{calculation.title}: {', '.join(wrong)} at {temperature:g} K "
            f"and {pressure:g} bar are not finite numbers. Choose another temperature or pressure.",
            atoms=result["atoms"],
        )
    result["thermo"] = thermo_data
    return result


def moving(atoms: Atoms) -> np.ndarray:
    fixed = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise StructureError(
                f"Vibrations cannot respect the constraint {type(constraint).__name__}; only "
                "FixAtoms, whose atoms are left out. Remove it, or fix whole atoms."
            )
        fixed[constraint.index] = True
    if fixed.all():
        raise StructureError("All atoms are fixed, so nothing can vibrate.")
    return np.flatnonzero(~fixed)


def _check_molecule(atoms: Atoms, indices: np.ndarray) -> None:
    if not is_isolated(atoms):
        raise StructureError(
            "Ideal-gas thermochemistry is for free molecules, but the structure is periodic with "
            f"{least_gap(atoms):.1f} Å of vacuum. Use thermo='harmonic' for a crystal or a "
            f"surface; for a molecule, give its box at least {VACUUM:g} Å of vacuum along all "
            "periodic directions, or set atoms.pbc = False."
        )
    if len(indices) < len(atoms):
        raise StructureError(
            "Ideal-gas thermochemistry is for free molecules, but the structure has fixed atoms. "
            "Use thermo='harmonic'."
        )


def _spin(atoms: Atoms, code: Code, parameters: Mapping[str, Any]) -> float:
    """Return the total electronic spin."""
    if (spin := parameters["spin"]) is not None:
        return float(spin)
    unpaired = code.unpaired(atoms, parameters)
    if unpaired is None:
        unpaired = code.electron_count(atoms, parameters) % 2 if code.electrons else 0
    return unpaired / 2


def _check_spin(calculation: Calculation, given: float | None) -> list[str]:
    """Refuse a spin that the number of electrons excludes; return warnings about one assumed."""
    atoms, code, parameters = calculation.input_atoms, calculation.code, calculation.parameters
    if not code.electrons:
        return []
    electrons = code.electron_count(atoms, parameters)
    spin = _spin(atoms, code, parameters)
    check_spin(electrons, round(2 * spin), atoms.get_chemical_formula())
    if given is None and code.unpaired(atoms, parameters) is None and spin:
        text = doublet(atoms, electrons)
        return [] if text in calculation.warnings else [text]
    return []


def _hessian(
    calculation: Calculation, atoms: Atoms, indices: np.ndarray, displacement: float
) -> np.ndarray:
    checkpoint = calculation.checkpoint

    def fits(saved: Mapping[str, Any]) -> None:
        np.array(saved["forces"], dtype=float).reshape(-1, 3 * len(indices))

    saved = checkpoint.resume(fits)
    done: list[np.ndarray] = saved["forces"] if saved else []

    def save() -> None:
        checkpoint.step(len(done), lambda: {"forces": done})

    return differences(calculation, atoms, indices, displacement, done, save)


def differences(
    calculation: Calculation,
    atoms: Atoms,
    indices: np.ndarray,
    displacement: float,
    done: list[np.ndarray],
    save: Callable[[], None],
) -> np.ndarray:
    """Return the Hessian (eV/Å²) of some atoms, the symmetrised central difference of forces.

    Parameters
    ----------
    displacement
        How far each atom is displaced to both sides (Å).
    done
        Forces of the displaced structures that are known already; those computed are added.
    save
        Called after each.
    """
    start = atoms.positions.copy()
    displaced = list(product(indices, range(3), (1, -1)))
    for index, axis, sign in displaced[len(done) :]:
        atoms.positions = start
        atoms.positions[index, axis] += sign * displacement
        calculation.evaluate(atoms)
        done.append(atoms.calc.results["forces"][indices].ravel().copy())
        save()
    atoms.positions = start
    forces = np.array(done)
    hessian = (forces[1::2] - forces[::2]) / (2 * displacement)
    return (hessian + hessian.T) / 2


def squared_energies(
    atoms: Atoms, hessian: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, Atoms]:
    """Return the squares of the energies of vibrations (eV²), and a molecule without its box.

    Ascending, without the translations and rotations that cost no energy.
    """
    from ase.vibrations import VibrationsData

    data = VibrationsData.from_2d(atoms, hessian, indices=indices.tolist())
    squares = np.sort((data.get_energies() ** 2).real)
    if is_isolated(atoms):
        atoms = in_one_piece(atoms, (0, 1, 2))
        atoms.pbc = False
    if len(indices) == len(atoms):  # then the smallest are translations and rotations
        squares = np.sort(squares[np.argsort(np.abs(squares))[_count_free(atoms) :]])
    return squares, atoms


def _geometry(atoms: Atoms) -> Literal["monatomic", "linear", "nonlinear"]:
    if len(atoms) == 1:
        return "monatomic"
    moments = atoms.get_moments_of_inertia()
    return "linear" if moments.min() < _LINEAR * moments.max() else "nonlinear"


def _count_free(atoms: Atoms) -> int:
    """Return how many translations and rotations cost no energy."""
    if atoms.pbc.any():
        return 3 if atoms.pbc.sum() > 1 else 4  # a wire turns about its axis
    return {"monatomic": 3, "linear": 5, "nonlinear": 6}[_geometry(atoms)]


def _ideal_gas(
    atoms: Atoms, energies: np.ndarray, potential: float, parameters: dict[str, Any], code: Code
) -> dict[str, Any]:
    from ase.thermochemistry import IdealGasThermo

    spin = _spin(atoms, code, parameters)
    sigma = parameters["symmetry_number"] or symmetry_number(atoms)
    geometry = _geometry(atoms)
    gas = IdealGasThermo(
        energies.tolist(),
        geometry,
        potentialenergy=potential,
        atoms=atoms,
        symmetrynumber=sigma,
        spin=spin,
        vib_selection="all",  # the translations and rotations are gone already
    )
    kelvin, pascal = parameters["temperature"], parameters["pressure"] * 1e5
    enthalpy = float(gas.get_enthalpy(kelvin, verbose=False))
    if code.energy_is_enthalpy:
        enthalpy -= float(gas.get_enthalpy(_STANDARD, verbose=False)) - potential
    entropy = float(gas.get_entropy(kelvin, pascal, verbose=False))
    entropy += _more_entropy(energies, atoms, parameters)
    return {
        "model": "ideal_gas",
        "temperature": kelvin,
        "pressure": parameters["pressure"],
        "geometry": geometry,
        "symmetry_number": int(sigma),
        "spin": spin,
        "zero_point_energy": float(energies.sum() / 2),
        "enthalpy": enthalpy,
        "entropy": entropy,
        "gibbs_energy": enthalpy - kelvin * entropy,
    }


def _more_entropy(energies: np.ndarray, atoms: Atoms, parameters: Mapping[str, Any]) -> float:
    """Return how much more entropy the modes have (eV/K) than harmonic ones."""
    from ase.thermochemistry import HarmonicMode, RRHOMode

    low_modes, kelvin = parameters.get("low_modes"), parameters["temperature"]
    if low_modes is None:
        return 0.0
    inertia = float(np.mean(atoms.get_moments_of_inertia()))
    more = 0.0
    for energy in energies.tolist():  # ASE's gas leaves out modes that it is given
        other = (
            RRHOMode(energy, inertia, tau=_LOW)
            if low_modes == "grimme"
            else HarmonicMode(max(energy, _LOW * units.invcm))
        )
        more += cast(float, other.get_entropy(kelvin, False))
        more -= HarmonicMode(energy).get_vib_entropy_contribution(kelvin)
    return more


def _harmonic(
    atoms: Atoms, energies: np.ndarray, potential: float, parameters: dict[str, Any], code: Code
) -> dict[str, Any]:
    from ase.thermochemistry import HarmonicThermo

    solid = HarmonicThermo(energies.tolist(), potentialenergy=potential)
    kelvin = parameters["temperature"]
    internal = float(solid.get_internal_energy(kelvin, verbose=False))
    if code.energy_is_enthalpy:  # pV of a solid is nothing
        internal -= float(solid.get_internal_energy(_STANDARD, verbose=False)) - potential
    entropy = float(solid.get_entropy(kelvin, verbose=False))
    entropy += _more_entropy(energies, atoms, parameters)
    return {
        "model": "harmonic",
        "temperature": kelvin,
        "zero_point_energy": float(energies.sum() / 2),
        "internal_energy": internal,
        "entropy": entropy,
        "helmholtz_energy": internal - kelvin * entropy,
    }


def _hindered(
    atoms: Atoms, energies: np.ndarray, potential: float, parameters: dict[str, Any], code: Code
) -> dict[str, Any]:
    found = _harmonic(atoms, energies, potential, parameters, code)
    zero, thermal, entropy = adsorbate.contributions(atoms, moving(atoms), parameters)
    found["model"] = "hindered"
    found["zero_point_energy"] += zero
    found["internal_energy"] += zero + thermal
    found["entropy"] += entropy
    found["helmholtz_energy"] = (
        found["internal_energy"] - parameters["temperature"] * found["entropy"]
    )
    return found


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0
