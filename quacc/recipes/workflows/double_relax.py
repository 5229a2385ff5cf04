"""Relax with a cheap calculator first, then with the dear one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike, about_name
from quacc.errors import require_bool
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {"energy": "eV", "direct_energy": "eV"}


class DoubleRelaxResult(FlowResult):
    """A structure relaxed twice; ``atoms`` is the dear calculator's."""

    energy: float
    """Energy with the expensive calculator (eV)."""
    cheap_calls: int
    """Force calls of the cheap calculator."""
    dear_calls: int
    """Force calls of the dear one."""
    direct_calls: int | None
    """Force calls of the dear one from the given structure; None if that was not computed."""
    direct_energy: float | None
    """What those led to (eV)."""
    saved: int | None
    """Dear force calls saved; negative if the cheap calculator led astray."""


@workflow
def double_relax_flow(
    atoms: StructureLike,
    pre_relax_job: Job,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    compare: bool = False,
    pre_relax_kwargs: Mapping[str, Any] | None = None,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> DoubleRelaxResult:
    """Relax with a cheap calculator first, then the dear one; count the dear force calls.

    Parameters
    ----------
    atoms
        The structure.
    pre_relax_job
        The cheap calculator's.
    relax_job
        The dear calculator's.
    compare
        Relax the given structure with the dear calculator alone, too, which tells what was saved;
        it costs more than it saves, so do it for a few structures of many.
    pre_relax_kwargs, relax_kwargs
        Keywords of the jobs, such as ``{"relax_cell": True}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        A relaxation failed.
    """
    require_bool(compare=compare)
    pre_relax_kwargs = keywords("pre_relax_kwargs", pre_relax_kwargs)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs)
    given = as_atoms(atoms)
    steps = ((pre_relax_job, pre_relax_kwargs), (relax_job, relax_kwargs))
    check_chain(given, *steps)
    chains = [submit_chain(given, *steps)]
    names = [given.get_chemical_formula()]
    if compare:
        chains.append(submit_chain(given, steps[1]))
        names.append(f"{names[0]}, relaxed directly")
    (both, *direct) = gather(chains, names, "double_relax_flow")
    cheap, dear = both
    alone = direct[0][0] if direct else None
    calls = _calls(dear)
    properties = {
        "energy": float(dear["results"]["energy"]),
        "cheap_calls": _calls(cheap),
        "dear_calls": calls,
        "direct_calls": _calls(alone) if alone else None,
        "direct_energy": float(alone["results"]["energy"]) if alone else None,
        "saved": _calls(alone) - calls if alone else None,
    }
    warnings = about_name(atoms)
    if alone and abs(alone["results"]["energy"] - properties["energy"]) > 1e-3 * len(given):
        warnings.append(
            f"The two ways ended in different minima: {properties['energy']:.4f} eV after the "
            f"cheap calculator, {properties['direct_energy']:.4f} eV directly."
        )
    parameters = {
        "compare": compare,
        "pre_relax_kwargs": pre_relax_kwargs,
        "relax_kwargs": relax_kwargs,
    }
    jobs = [*([alone] if alone else []), cheap, dear]
    result: DoubleRelaxResult = finish(
        "double_relax_flow", dear["atoms"], jobs, parameters, properties, UNITS, warnings
    )
    return result


def _calls(result: Mapping[str, Any]) -> int:
    """Return the force calls of a relaxation; of a job of the user's, one a step."""
    return int(result.get("force_calls", result["steps"] + 1))


def summarise(result: DoubleRelaxResult) -> str:
    text = (
        f"{result['dear_calls']} dear force calls after {result['cheap_calls']} cheap ones, "
        f"E = {result['energy']:.4f} eV"
    )
    if result["direct_calls"] is not None:
        text += f"; directly, {result['direct_calls']} dear ones"
    return text


def tabulate(result: DoubleRelaxResult) -> list[dict[str, Any]]:
    rows = [
        {
            "way": "cheap, then dear",
            "cheap force calls": result["cheap_calls"],
            "dear force calls": result["dear_calls"],
            "energy (eV)": result["energy"],
        }
    ]
    if result["direct_calls"] is not None:
        rows.append(
            {
                "way": "dear alone",
                "cheap force calls": 0,
                "dear force calls": result["direct_calls"],
                "energy (eV)": result["direct_energy"],
            }
        )
    return rows


def draw(result: DoubleRelaxResult, figure: Any) -> None:
    axes = figure.add_subplot()
    rows = tabulate(result)
    names = [row["way"] for row in rows]
    for name, colour in (("dear force calls", "C0"), ("cheap force calls", "C1")):
        left = [row["dear force calls"] if name.startswith("cheap") else 0 for row in rows]
        axes.barh(names, [row[name] for row in rows], left=left, color=colour, label=name)
    axes.set(xlabel="force calls", title=f"Relaxation of {result['formula']}")
    axes.legend()
