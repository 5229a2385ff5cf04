"""Equation of state: equilibrium volume, bulk modulus and its derivative, from E(V)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.modify import in_cell
from quacc.errors import (
    CalculationError,
    ParameterError,
    require_bool,
    require_choice,
    require_count,
    require_positive,
)
from quacc.extras import check_free
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.schemas import FlowResult

FORMS = ("birchmurnaghan", "murnaghan", "vinet", "pouriertarantola", "birch")
"""The forms of the equation of state, under ASE's names."""

UNITS = {
    "volume": "Å³",
    "energy": "eV",
    "bulk_modulus": "GPa",
    "volumes": "Å³",
    "energies": "eV",
    "uncertainties": "units of the property, one standard error",
}
REFERENCES = ("Birch1947", "Vinet1989", "Larsen2017")


class EOSResult(FlowResult):
    """An equation of state; ``atoms`` has the equilibrium volume."""

    volume: float
    """V0 of the cell (Å³)."""
    energy: float
    """E0 of the cell (eV)."""
    bulk_modulus: float
    """B0 (GPa)."""
    bulk_modulus_derivative: float
    """B' = dB/dp at zero pressure."""
    uncertainties: dict[str, float]
    """Standard errors of these four, from the fit."""
    fits: list[dict[str, Any]]
    """The same for every form, and the root mean square ``residual`` (eV)."""
    volumes: NDArray[Any]
    energies: NDArray[Any]


@workflow
def eos_flow(
    atoms: StructureLike,
    relax_job: Job | None = "relax_job",
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    points: int = 7,
    step: float = 0.01,
    form: str = "birchmurnaghan",
    relax_positions: bool = False,
    relax_shape: bool = False,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> EOSResult:
    """Fit an equation of state: equilibrium volume and energy, bulk modulus, its derivative.

    The cell is scaled in all directions alike, and the energies are fitted by least squares
    (Birch, Phys. Rev. 71, 809 (1947); Vinet et al., J. Phys.: Condens. Matter 1, 1941 (1989); the
    forms are those of ``ase.eos``). More points with the same step compute only what is new.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes the crystal; None takes every structure as it is.
    static_job
        Computes the energy at each volume.
    points
        Number of volumes; an odd number has the relaxed volume in the middle.
    step
        Between two volumes, as a part of the length of the cell vectors.
    form
        The form that the properties come from: birchmurnaghan, murnaghan, vinet,
        pouriertarantola or birch. The others are fitted, too.
    relax_positions
        Relax the positions at each volume; needed where symmetry does not hold them.
    relax_shape
        Relax the shape of the cell at each volume, and the positions; needed for crystals that are
        not cubic.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.005}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed, or the form does not fit the energies.
    JobsFailedError
        Some volumes failed; carries the results of the others.
    """
    require_count(minimum=5, points=points)
    require_positive(step=step)
    require_bool(relax_positions=relax_positions, relax_shape=relax_shape)
    require_choice("form", form, FORMS)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    if step * (points - 1) / 2 > 0.3:
        raise ParameterError(
            f"{points} points with a step of {step} stretch the cell by more than 30 %, where no "
            "equation of state holds. Take smaller steps."
        )
    if (relax_positions or relax_shape) and relax_job is None:
        raise ParameterError("relax_positions=True and relax_shape=True need a relax_job.")
    given = check_start(atoms, relax_job, relax_kwargs)
    relaxes = relax_positions or relax_shape
    if relax_job is not None and (relaxes or not isinstance(atoms, Mapping)):
        check_free(given, "an equation of state of relaxed crystals")
    # A pressure makes the reference; each volume is held.
    at_volume = {name: value for name, value in relax_kwargs.items() if name != "pressure"}
    if relax_shape:
        at_volume["relax_cell"] = "constant_volume"
    steps = (
        (relax_job, at_volume) if relaxes and relax_job is not None else None,
        (static_job, static_kwargs),
    )
    check_chain(given, *steps)
    reference, jobs = start(atoms, relax_job, relax_kwargs)

    strains = step * (np.arange(points) - (points - 1) / 2)
    chains = [
        submit_chain(in_cell(reference, reference.cell * (1 + float(strain))), *steps)
        for strain in strains
    ]
    names = [f"{reference.get_chemical_formula()} strained by {strain:+.3f}" for strain in strains]
    results = gather(chains, names, "eos_flow", jobs)
    ends = [chain[-1] for chain in results]

    volumes = np.array([end["atoms"].get_volume() for end in ends])
    energies = np.array([end["results"]["energy"] for end in ends])
    fits = [fit(volumes, energies, one) for one in FORMS]
    best = next(one for one in fits if one["form"] == form)
    if "failed" in best:
        raise CalculationError(
            f"{form} does not fit the energies of {reference.get_chemical_formula()}: "
            f"{best['failed']}. Look at them: {np.array2string(energies, precision=4)} eV at "
            f"{np.array2string(volumes, precision=2)} Å³. Take smaller steps, or another form.",
            atoms=reference,
        )
    warnings = []
    if not volumes.min() < best["volume"] < volumes.max():
        warnings.append(
            f"The equilibrium volume, {best['volume']:.2f} Å³, lies outside the volumes that were "
            f"computed, {volumes.min():.2f} to {volumes.max():.2f} Å³. Relax the cell first, or "
            "take more points."
        )
    properties = {
        **{name: best[name] for name in _PROPERTIES},
        "uncertainties": {name: best[f"{name}_error"] for name in _PROPERTIES},
        "fits": fits,
        "volumes": volumes,
        "energies": energies,
    }
    parameters = {
        "points": points,
        "step": float(step),
        "form": form,
        "relax_positions": relax_positions,
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
        # Not in the keys of what was computed before it could be.
        **({"relax_shape": True} if relax_shape else {}),
    }
    scale = (best["volume"] / reference.get_volume()) ** (1 / 3)
    jobs += [result for chain in results for result in chain]
    final = in_cell(reference, reference.cell * scale)
    result: EOSResult = finish("eos_flow", final, jobs, parameters, properties, UNITS, warnings)
    return result


_PROPERTIES = ("volume", "energy", "bulk_modulus", "bulk_modulus_derivative")


def fit(volumes: NDArray[Any], energies: NDArray[Any], form: str) -> dict[str, Any]:
    """Fit one form; returns the properties, their standard errors and the residual.

    Parameters
    ----------
    volumes, energies
        Å³ and eV, at least five.
    form
        One of :data:`FORMS`.
    """
    from scipy.optimize import curve_fit

    function = _function(form)
    # A parabola is a start that all forms come from.
    curvature, slope, _ = np.polyfit(volumes, energies, 2)
    if curvature <= 0:
        return {"form": form, "failed": "the energies have no minimum"}
    v0 = -slope / (2 * curvature)
    if v0 <= 0:
        return {"form": form, "failed": "the energies have no minimum at a positive volume"}
    guess = [float(np.polyval([curvature, slope, _], v0)), 2 * curvature * v0, 4.0, v0]
    try:
        found, covariance = curve_fit(function, volumes, energies, guess, maxfev=10000)
    except RuntimeError as error:
        return {"form": form, "failed": str(error)}
    errors = np.sqrt(np.diag(covariance))
    energy, modulus, derivative, volume = map(float, found)
    residual = function(volumes, *found) - energies
    gpa = 1 / units.GPa
    return {
        "form": form,
        "volume": volume,
        "energy": energy,
        "bulk_modulus": modulus * gpa,
        "bulk_modulus_derivative": derivative,
        "volume_error": float(errors[3]),
        "energy_error": float(errors[0]),
        "bulk_modulus_error": float(errors[1] * gpa),
        "bulk_modulus_derivative_error": float(errors[2]),
        "residual": float(np.sqrt(np.mean(residual**2))),
    }


def _function(form: str) -> Callable[..., Any]:
    """Return E(V, E0, B0, B', V0)."""
    import ase.eos

    return getattr(ase.eos, form)


def summarise(result: EOSResult) -> str:
    errors = result["uncertainties"]
    return (
        f"V0 = {_with_error(result['volume'], errors['volume'])} Å³, "
        f"B0 = {_with_error(result['bulk_modulus'], errors['bulk_modulus'])} GPa, B' = "
        f"{_with_error(result['bulk_modulus_derivative'], errors['bulk_modulus_derivative'])}"
    )


def _with_error(value: float, error: float) -> str:
    """Return both with no more digits than have a meaning; an error that is none is left out."""
    if error < 1e-4:
        return f"{value:.4f}"
    digits = max(0, -int(np.floor(np.log10(error)))) if np.isfinite(error) else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def tabulate(result: EOSResult) -> list[dict[str, Any]]:
    return [
        {
            "form": one["form"],
            "V0 (Å³)": one.get("volume"),
            "E0 (eV)": one.get("energy"),
            "B0 (GPa)": one.get("bulk_modulus"),
            "± (GPa)": one.get("bulk_modulus_error"),
            "B'": one.get("bulk_modulus_derivative"),
            "±": one.get("bulk_modulus_derivative_error"),
            "residual (meV)": one["residual"] * 1e3 if "residual" in one else None,
        }
        for one in result["fits"]
    ]


def draw(result: EOSResult, figure: Any) -> None:
    axes = figure.add_subplot()
    volumes, energies = np.array(result["volumes"]), np.array(result["energies"])
    fine = np.linspace(volumes.min(), volumes.max(), 200)
    found = (result["energy"], result["bulk_modulus"] * units.GPa)
    curve = _function(result["parameters"]["form"])(
        fine, *found, result["bulk_modulus_derivative"], result["volume"]
    )
    axes.plot(fine, curve - result["energy"], label=result["parameters"]["form"])
    axes.plot(volumes, energies - result["energy"], "o", label="computed")
    axes.axvline(result["volume"], color="grey", linestyle=":")
    axes.set(
        xlabel="volume (Å³)",
        ylabel="energy above the minimum (eV)",
        title=f"{result['formula']}: B₀ = {result['bulk_modulus']:.1f} GPa",
    )
    axes.legend()
