"""Molecules in the gas phase: thermochemistry, and energies of reactions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.vacuum import VACUUM, is_isolated, least_gap
from quacc.errors import ParameterError, StructureError, require_positive
from quacc.recipes.tools.verbs import Job, Step, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import FREQ, RELAX, finish, keywords
from quacc.schemas import FlowResult

UNITS = {
    "energy": "eV",
    "zero_point_energy": "eV",
    "enthalpy": "eV",
    "entropy": "eV/K",
    "gibbs_energy": "eV",
    "frequencies": "1/cm",
    "reaction_energy": "eV",
    "reaction_zero_point_energy": "eV",
    "reaction_enthalpy": "eV",
    "reaction_entropy": "eV/K",
    "reaction_gibbs_energy": "eV",
}
REFERENCES = ("Cramer2004",)

_KJ_MOL = units.mol / units.kJ


class MoleculeResult(FlowResult):
    """A relaxed molecule as an ideal gas."""

    energy: float
    """Of the relaxed molecule (eV): without vibrations, unless the code's own energy is an
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


class ReactionResult(FlowResult):
    """A reaction; ``atoms`` is its first product."""

    reaction: str
    reaction_energy: float
    """eV; see ``energy`` of :class:`MoleculeResult`."""
    reaction_zero_point_energy: float
    """eV; so the next, and the last."""
    reaction_enthalpy: float
    reaction_entropy: float
    """eV/K."""
    reaction_gibbs_energy: float
    species: list[dict[str, Any]]
    """One each: ``name``, ``coefficient`` (negative for reactants), ``energy``, ``enthalpy``,
    ``gibbs_energy`` (eV), ``entropy`` (eV/K)."""


def molecule_flow(
    atoms: StructureLike,
    relax_job: Job = RELAX,
    freq_job: Job = FREQ,
    *,
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
        K, bar.
    relax_kwargs, freq_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.001}`` or ``{"spin": 1}``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        A job failed.
    """
    options = _options(temperature, pressure, relax_kwargs, freq_kwargs)
    given = _molecule(atoms, "The structure")
    steps = _steps(relax_job, freq_job, options)
    check_chain(given, *steps)
    (results,) = gather(
        [submit_chain(given, *steps)], [given.get_chemical_formula()], "molecule_flow"
    )
    last = results[-1]
    properties = {**_values(last), "frequencies": np.array(last["frequencies"])}
    result: MoleculeResult = finish(
        "molecule_flow", last["atoms"], results, options, properties, UNITS
    )
    return result


def reaction_flow(
    reaction: str,
    relax_job: Job = RELAX,
    freq_job: Job = FREQ,
    *,
    structures: Mapping[str, StructureLike] | None = None,
    temperature: float = 298.15,
    pressure: float = 1.0,
    relax_kwargs: Mapping[str, Any] | None = None,
    freq_kwargs: Mapping[str, Any] | None = None,
) -> ReactionResult:
    """Compute energy, enthalpy and Gibbs energy of a reaction of gases from its equation.

    Parameters
    ----------
    reaction
        Such as ``"N2 + 3 H2 -> 2 NH3"``.
    relax_job, freq_job, temperature, pressure, relax_kwargs, freq_kwargs
        See :func:`molecule_flow`; every gas has this pressure. The keywords hold for all gases,
        so that charge, multiplicity, spin and symmetry number cannot be among them.
    structures
        What the names stand for, where they are not names that quacc knows, or where they need
        magnetic moments (their spin) or charges.

    Raises
    ------
    InputError
        Before anything is computed: the equation cannot be read, or does not balance.
    JobsFailedError
        Some molecules failed; carries the results of the others.
    """
    options = _options(temperature, pressure, relax_kwargs, freq_kwargs)
    _refuse_common(options)
    coefficients = parse(reaction, structures or {})
    molecules = {name: _molecule((structures or {}).get(name, name), name) for name in coefficients}
    _check_balance(reaction, coefficients, molecules)
    steps = _steps(relax_job, freq_job, options)
    for molecule in molecules.values():
        check_chain(molecule, *steps)
    chains = [submit_chain(molecule, *steps) for molecule in molecules.values()]
    results = gather(chains, list(molecules), "reaction_flow")
    species: list[dict[str, Any]] = [
        {"name": name, "coefficient": float(coefficients[name]), **_values(chain[-1])}
        for name, chain in zip(molecules, results, strict=True)
    ]
    properties: dict[str, Any] = {"reaction": reaction, "species": species}
    for name in _VALUES:
        properties[f"reaction_{name}"] = sum(one["coefficient"] * one[name] for one in species)
    product = max(coefficients, key=lambda name: coefficients[name])
    last = results[list(molecules).index(product)][-1]
    jobs = [result for chain in results for result in chain]
    parameters = {"reaction": reaction, **options}
    result: ReactionResult = finish(
        "reaction_flow", last["atoms"], jobs, parameters, properties, UNITS
    )
    return result


_OF_ONE = ("charge", "multiplicity", "spin", "symmetry_number")
"""Keywords of jobs that belong to one molecule."""

_VALUES = ("energy", "zero_point_energy", "enthalpy", "entropy", "gibbs_energy")


def _options(
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


def _refuse_common(options: Mapping[str, Any]) -> None:
    for job in ("relax_kwargs", "freq_kwargs"):
        for name in _OF_ONE:
            if options[job].get(name) is not None:
                raise ParameterError(
                    f"{job} of a reaction cannot hold {name!r}: it would apply to all molecules. "
                    "Spin and charge of each come from the initial magnetic moments and charges of "
                    "its structure: pass structures={'O2': atoms}. Symmetry numbers are found. "
                    "Where that is not enough, run molecule_flow for each molecule."
                )


def _steps(relax: Job, freq: Job, options: Mapping[str, Any]) -> tuple[Step, Step]:
    conditions = {name: options[name] for name in ("temperature", "pressure")}
    thermo = {**conditions, "thermo": "ideal_gas", **options["freq_kwargs"]}
    return (relax, options["relax_kwargs"]), (freq, thermo)


def _molecule(structure: StructureLike, name: str) -> Any:
    atoms = as_atoms(structure)
    if not is_isolated(atoms):
        raise StructureError(
            f"{name} is periodic with {least_gap(atoms):.1f} Å of vacuum, so it is no molecule of "
            f"a gas. Give a molecule at least {VACUUM:g} Å of vacuum along all periodic "
            "directions, or set atoms.pbc = False."
        )
    return atoms


def _values(result: Mapping[str, Any]) -> dict[str, float]:
    thermo = {"energy": result["results"]["energy"], **result["thermo"]}
    return {name: float(thermo[name]) for name in _VALUES}


def parse(reaction: str, structures: Mapping[str, Any]) -> dict[str, Fraction]:
    """Return the coefficients of an equation, negative for reactants.

    Raises
    ------
    ParameterError
        It cannot be read.
    """
    sides = re.split(r"->|→|=", reaction) if isinstance(reaction, str) else []
    if len(sides) != 2:
        raise ParameterError(
            f"{reaction!r} is no reaction. Write reactants -> products, such as "
            "'N2 + 3 H2 -> 2 NH3'."
        )
    found: dict[str, Fraction] = {}
    for sign, side in zip((-1, 1), sides, strict=True):
        for term in re.split(r"\s\+\s", f" {side.strip()} "):
            match = re.fullmatch(r"(?:(\d+(?:\.\d+|/\d+)?)\s+)?(\S+)", term.strip())
            if match is None:
                raise ParameterError(
                    f"{term.strip()!r} in {reaction!r} is no number and name with a space between, "
                    "such as 3 H2."
                )
            number, name = match.groups()
            if name not in structures and number is None:
                number, name = re.fullmatch(r"(\d+(?=[A-Z]))?(.+)", name).groups()  # type: ignore[union-attr]
            try:
                found[name] = found.get(name, Fraction(0)) + sign * Fraction(number or 1)
            except ZeroDivisionError:
                raise ParameterError(f"{number} in {reaction!r} is no number.") from None
    found = {name: number for name, number in found.items() if number}
    if not found:
        raise ParameterError(f"Nothing happens in {reaction!r}.")
    return found


def _check_balance(
    reaction: str, coefficients: Mapping[str, Fraction], molecules: Mapping[str, Any]
) -> None:
    balance: dict[str, Fraction] = {}
    for name, number in coefficients.items():
        for symbol in molecules[name].symbols:
            balance[symbol] = balance.get(symbol, Fraction(0)) + number
    wrong = {symbol: str(number) for symbol, number in balance.items() if number}
    if wrong:
        listed = ", ".join(f"{symbol} {number}" for symbol, number in wrong.items())
        raise ParameterError(
            f"{reaction!r} does not balance: products less reactants are {listed}. Correct the "
            "coefficients."
        )


def summarise(result: Any) -> str:
    kelvin = result["parameters"]["temperature"]
    if "reaction" in result:
        return (
            f"{result['reaction']}: ΔE = {result['reaction_energy']:.3f} eV, "
            f"ΔH = {result['reaction_enthalpy']:.3f} eV "
            f"({result['reaction_enthalpy'] * _KJ_MOL:.1f} kJ/mol), "
            f"ΔG = {result['reaction_gibbs_energy']:.3f} eV at {kelvin:g} K"
        )
    return (
        f"E = {result['energy']:.4f} eV, H = {result['enthalpy']:.4f} eV, "
        f"G = {result['gibbs_energy']:.4f} eV at {kelvin:g} K and "
        f"{result['parameters']['pressure']:g} bar"
    )


def tabulate(result: Any) -> list[dict[str, Any]]:
    if "reaction" in result:
        whole = {name: result[f"reaction_{name}"] for name in _VALUES}
        rows = [*result["species"], {"name": "reaction", "coefficient": None, **whole}]
    else:
        rows = [{"name": result["formula"], **{name: result[name] for name in _VALUES}}]
    return [
        {
            "molecule": one["name"],
            **({"coefficient": one["coefficient"]} if "coefficient" in one else {}),
            "energy (eV)": one["energy"],
            "ZPE (eV)": one["zero_point_energy"],
            "H (eV)": one["enthalpy"],
            "S (meV/K)": one["entropy"] * 1e3,
            "G (eV)": one["gibbs_energy"],
        }
        for one in rows
    ]


def draw(result: Any, figure: Any) -> None:
    """Draw the energies of a reaction, or the vibrations of a molecule."""
    axes = figure.add_subplot()
    if "reaction" in result:
        names = {"ΔE": "energy", "ΔH": "enthalpy", "ΔG": "gibbs_energy"}
        values = [result[f"reaction_{name}"] for name in names.values()]
        bars = axes.bar(list(names), values, color=["C0", "C1", "C2"])
        axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.axhline(0, color="black", linewidth=0.5)
        axes.margins(y=0.15)
        axes.set(ylabel="eV", title=result["reaction"].replace("->", "→"))
        return
    frequencies = np.array(result["frequencies"])
    axes.vlines(frequencies, 0, 1)
    axes.set(
        xlabel="wavenumber (1/cm), imaginary ones negative",
        yticks=[],
        ylim=(0, 1.2),
        title=f"Vibrations of {result['formula']}",
    )
