"""Molecules in the gas phase: their thermochemistry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.vacuum import VACUUM, is_isolated, least_gap
from quacc.errors import StructureError, require_positive
from quacc.recipes.tools.verbs import Job, Step, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {
    "energy": "eV",
    "zero_point_energy": "eV",
    "enthalpy": "eV",
    "entropy": "eV/K",
    "gibbs_energy": "eV",
    "frequencies": "1/cm",
}
REFERENCES = ("Cramer2004",)


class MoleculeResult(FlowResult):
    """A relaxed molecule as an ideal gas."""

    energy: float
    """Energy of the relaxed molecule (eV): without vibrations, unless the code's own energy is an
    enthalpy at 298.15 K (MOPAC's heat of formation)."""
    zero_point_energy: float
    """eV."""
    enthalpy: float
    """H = energy + zero-point and thermal energy + kT (eV); where the energy is an enthalpy, only
    what these differ from 298.15 K is added."""
    entropy: float
    """eV/K."""
    gibbs_energy: float
    """G = H - TS (eV)."""
    frequencies: NDArray[Any]
    """Wavenumbers (1/cm), imaginary ones negative."""


@workflow
def molecule_flow(
    atoms: StructureLike,
    relax_job: Job = "relax_job",
    freq_job: Job = "freq_job",
    *,
    calculator: Calculator | None = None,
    temperature: float = 298.15,
    pressure: float = 1.0,
    relax_kwargs: Mapping[str, Any] | None = None,
    freq_kwargs: Mapping[str, Any] | None = None,
) -> MoleculeResult:
    """Relax a molecule and compute vibrations, enthalpy, entropy and Gibbs energy.

    The ideal gas of rigid rotors and harmonic oscillators, as ASE has it (Cramer, Essentials of
    Computational Chemistry, 2nd ed., Wiley 2004). Where the code's energy is an enthalpy at
    298.15 K, as MOPAC's heat of formation is, H at 298.15 K is that energy, and zero-point and
    thermal energy are not added again.

    Parameters
    ----------
    atoms
        The molecule, alone or in a periodic box with at least 6 Å of vacuum.
    relax_job, freq_job
        Relax it, and compute its vibrations.
    temperature, pressure
        Of the gas (K, bar).
    relax_kwargs, freq_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.001}`` or ``{"spin": 1}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        A job failed.
    """
    options = options_of(temperature, pressure, relax_kwargs, freq_kwargs)
    given = gas(atoms, "The structure")
    steps = steps_of(relax_job, freq_job, options)
    check_chain(given, *steps)
    (results,) = gather(
        [submit_chain(given, *steps)], [given.get_chemical_formula()], "molecule_flow"
    )
    last = results[-1]
    properties = {**values_of(last), "frequencies": np.array(last["frequencies"])}
    result: MoleculeResult = finish(
        "molecule_flow", last["atoms"], results, options, properties, UNITS
    )
    return result


VALUES = ("energy", "zero_point_energy", "enthalpy", "entropy", "gibbs_energy")


def options_of(
    temperature: float, pressure: float, relax_kwargs: Any, freq_kwargs: Any
) -> dict[str, Any]:
    require_positive(temperature=temperature, pressure=pressure)
    taken = ["temperature", "pressure", "thermo"]
    return {
        "temperature": float(temperature),
        "pressure": float(pressure),
        "relax_kwargs": keywords("relax_kwargs", relax_kwargs, ["relax_cell"]),
        "freq_kwargs": keywords("freq_kwargs", freq_kwargs, taken),
    }


def steps_of(relax: Job, freq: Job, options: Mapping[str, Any]) -> tuple[Step, Step]:
    conditions = {name: options[name] for name in ("temperature", "pressure")}
    thermo = {**conditions, "thermo": "ideal_gas", **options["freq_kwargs"]}
    return (relax, options["relax_kwargs"]), (freq, thermo)


def gas(structure: StructureLike, name: str) -> Any:
    atoms = as_atoms(structure)
    if not is_isolated(atoms):
        raise StructureError(
            f"{name} is periodic with {least_gap(atoms):.1f} Å of vacuum, so it is no molecule of "
            f"a gas. Give a molecule at least {VACUUM:g} Å of vacuum along all periodic "
            "directions, or set atoms.pbc = False."
        )
    return atoms


def values_of(result: Mapping[str, Any]) -> dict[str, float]:
    thermo = {"energy": result["results"]["energy"], **result["thermo"]}
    return {name: float(thermo[name]) for name in VALUES}


def summarise(result: Any) -> str:
    return (
        f"E = {result['energy']:.4f} eV, H = {result['enthalpy']:.4f} eV, "
        f"G = {result['gibbs_energy']:.4f} eV at {result['parameters']['temperature']:g} K and "
        f"{result['parameters']['pressure']:g} bar"
    )


def tabulate(result: Any) -> list[dict[str, Any]]:
    return [{"molecule": result["formula"], **columns(result)}]


def columns(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the thermochemistry of a molecule, or of a reaction, by the names of columns."""
    return {
        "energy (eV)": one["energy"],
        "ZPE (eV)": one["zero_point_energy"],
        "H (eV)": one["enthalpy"],
        "S (meV/K)": one["entropy"] * 1e3,
        "G (eV)": one["gibbs_energy"],
    }


def draw(result: Any, figure: Any) -> None:
    """Draw the vibrations."""
    axes = figure.add_subplot()
    axes.vlines(np.array(result["frequencies"]), 0, 1)
    axes.set(
        xlabel="wavenumber (1/cm), imaginary ones negative",
        yticks=[],
        ylim=(0, 1.2),
        title=f"Vibrations of {result['formula']}",
    )
