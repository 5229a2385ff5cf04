"""Reactions of gases: their energies from an equation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ase import units

from quacc.atoms.convert import StructureLike
from quacc.errors import ParameterError
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, finish, workflow
from quacc.recipes.workflows.molecule import VALUES, columns, gas, options_of, steps_of, values_of
from quacc.schemas import FlowResult

UNITS = {
    "reaction_energy": "eV",
    "reaction_zero_point_energy": "eV",
    "reaction_enthalpy": "eV",
    "reaction_entropy": "eV/K",
    "reaction_gibbs_energy": "eV",
}
REFERENCES = ("Cramer2004",)

_KJ_MOL = units.mol / units.kJ


class ReactionResult(FlowResult):
    """A reaction; ``atoms`` is its first product."""

    reaction: str
    reaction_energy: float
    """eV; see ``energy`` of :class:`quacc.recipes.workflows.molecule.MoleculeResult`."""
    reaction_zero_point_energy: float
    """eV; so the next, and the last."""
    reaction_enthalpy: float
    reaction_entropy: float
    """eV/K."""
    reaction_gibbs_energy: float
    species: list[dict[str, Any]]
    """One each: ``name``, ``coefficient`` (negative for reactants), ``energy``, ``enthalpy``,
    ``gibbs_energy`` (eV), ``entropy`` (eV/K)."""


@workflow
def reaction_flow(
    reaction: str,
    relax_job: Job = "relax_job",
    freq_job: Job = "freq_job",
    *,
    calculator: Calculator | None = None,
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
        See :func:`quacc.recipes.workflows.molecule.molecule_flow`; every gas has this pressure.
        The keywords hold for all gases, so that charge, multiplicity, spin and symmetry number
        cannot be among them.
    structures
        What the names stand for, where they are not names that quacc knows, or where they need
        magnetic moments (their spin) or charges.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed: the equation cannot be read, or does not balance.
    JobsFailedError
        Some molecules failed; carries the results of the others.
    """
    options = options_of(temperature, pressure, relax_kwargs, freq_kwargs)
    _refuse_common(options)
    coefficients = parse(reaction, structures or {})
    molecules = {name: gas((structures or {}).get(name, name), name) for name in coefficients}
    _check_balance(reaction, coefficients, molecules)
    steps = steps_of(relax_job, freq_job, options)
    for molecule in molecules.values():
        check_chain(molecule, *steps)
    chains = [submit_chain(molecule, *steps) for molecule in molecules.values()]
    results = gather(chains, list(molecules), "reaction_flow")
    species: list[dict[str, Any]] = [
        {"name": name, "coefficient": float(coefficients[name]), **values_of(chain[-1])}
        for name, chain in zip(molecules, results, strict=True)
    ]
    properties: dict[str, Any] = {"reaction": reaction, "species": species}
    for name in VALUES:
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
    return (
        f"{result['reaction']}: ΔE = {result['reaction_energy']:.3f} eV, "
        f"ΔH = {result['reaction_enthalpy']:.3f} eV "
        f"({result['reaction_enthalpy'] * _KJ_MOL:.1f} kJ/mol), "
        f"ΔG = {result['reaction_gibbs_energy']:.3f} eV "
        f"at {result['parameters']['temperature']:g} K"
    )


def tabulate(result: Any) -> list[dict[str, Any]]:
    whole = {name: result[f"reaction_{name}"] for name in VALUES}
    rows = [*result["species"], {"name": "reaction", "coefficient": None, **whole}]
    return [
        {"molecule": one["name"], "coefficient": one["coefficient"], **columns(one)} for one in rows
    ]


def draw(result: Any, figure: Any) -> None:
    """Draw the energies."""
    axes = figure.add_subplot()
    names = {"ΔE": "energy", "ΔH": "enthalpy", "ΔG": "gibbs_energy"}
    values = [result[f"reaction_{name}"] for name in names.values()]
    bars = axes.bar(list(names), values, color=["C0", "C1", "C2"])
    axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.margins(y=0.15)
    axes.set(ylabel="eV", title=result["reaction"].replace("->", "→"))
