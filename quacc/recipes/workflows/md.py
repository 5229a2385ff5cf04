"""Molecular dynamics: structure, diffusion and drift of a run in equilibrium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.check import heights
from quacc.atoms.convert import StructureLike, about_name
from quacc.errors import ParameterError, require_choice, require_count, require_positive
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

THERMOSTATS = ("Langevin", "Bussi", "NPT")

UNITS = {
    "temperature": "K",
    "temperature_error": "K",
    "energy_drift": "eV per atom and ps",
    "diffusion": "cm²/s",
    "diffusion_error": "cm²/s",
    "diffusion_by_element": "cm²/s",
    "msd": "times fs, values Å²",
    "msd_by_element": "Å²",
    "rdf": "distances Å",
    "time": "fs",
    "total_energy": "eV",
    "temperatures": "K",
}
REFERENCES = ("Allen2017", "Flyvbjerg1989", "Gilvarry1956")

_CM2_PER_S = 0.1
"""cm²/s in an Å²/fs."""
_LINDEMANN = 0.15
"""A crystal that vibrates by more than this part of the distance between neighbours melts."""
_LINEAR = (0.7, 1.3)
"""Powers of the time that the mean square displacement may grow with: diffusion has 1, motion
without collisions 2, vibrations 0."""
_FAR = 0.05
"""A mean temperature farther from the one asked for, in parts of it, is told."""


class MDFlowResult(FlowResult):
    """A run in equilibrium; ``atoms`` is its end."""

    temperature: float
    """Mean (K)."""
    temperature_error: float
    """Standard error, from blocks (K)."""
    energy_drift: float | None
    """Slope of the total energy (eV per atom and ps), the error of the integration; None where a
    thermostat changes the energy."""
    diffusion: float | None
    """Self-diffusion (cm²/s), from the slope of the mean square displacement; None where this does
    not grow linearly (``warnings`` tell why), and of more than one element."""
    diffusion_error: float | None
    """Standard error, from blocks (cm²/s)."""
    diffusion_by_element: dict[str, dict[str, float | None]]
    """``value`` and ``error`` of each element (cm²/s)."""
    msd: dict[str, NDArray[Any]]
    """``times`` (fs) and ``values`` (Å²), a mean over all atoms and time origins."""
    msd_by_element: dict[str, NDArray[Any]]
    """Values of each element, at the same times (Å²)."""
    rdf: dict[str, NDArray[Any]] | None
    """``distances`` (Å) and ``values``, one far away in a liquid; None without a periodic cell."""
    first_peak: float | None
    """Where the radial distribution function has its first maximum (Å)."""
    time: NDArray[Any]
    """fs."""
    total_energy: NDArray[Any]
    temperatures: NDArray[Any]


@workflow
def md_flow(
    atoms: StructureLike,
    md_job: Job = "md_job",
    *,
    calculator: Calculator | None = None,
    temperature: float = 300.0,
    timestep: float = 1.0,
    equilibration: int = 1000,
    steps: int = 5000,
    thermostat: str = "Langevin",
    production: str = "NVE",
    sample_every: int = 10,
    blocks: int = 5,
    seed: int = 0,
    md_kwargs: Mapping[str, Any] | None = None,
) -> MDFlowResult:
    """Equilibrate, then run: radial distribution, diffusion with error bars, energy drift.

    Diffusion is Einstein's, a sixth of the slope of the mean square displacement in the second
    half of a block; its standard error is that of the mean of the blocks (Allen and Tildesley,
    Computer Simulation of Liquids, 2nd ed., Oxford 2017; Flyvbjerg and Petersen, J. Chem. Phys. 91,
    461 (1989)). Each element has its own. None is given unless the mean square displacement grows
    linearly, beyond what atoms vibrate by in a crystal at its melting point (Lindemann's criterion;
    Gilvarry, Phys. Rev. 102, 308 (1956)). A small periodic cell slows diffusion down; no correction
    is made.

    Parameters
    ----------
    atoms
        Where to start.
    md_job
        Runs the dynamics.
    temperature
        Of the equilibration (K).
    timestep
        Length of a step (fs).
    equilibration, steps
        Steps with the thermostat, and of the run that is analysed.
    thermostat, production
        Dynamics of the two; see :func:`quacc.runners.md.md`.
    sample_every
        Steps between two samples.
    blocks
        Parts of the run whose scatter gives the error bars.
    seed
        Of the random numbers.
    md_kwargs
        Other keywords of both runs.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        A run failed.
    """
    require_positive(temperature=temperature, timestep=timestep)
    require_count(equilibration=equilibration, steps=steps, sample_every=sample_every)
    require_count(minimum=2, blocks=blocks)
    require_choice("thermostat", thermostat, THERMOSTATS)
    taken = ["dynamics", "steps", "timestep", "temperature", "seed", "sample_every", "trajectory"]
    md_kwargs = keywords("md_kwargs", md_kwargs, taken)
    if steps // sample_every < 4 * blocks:
        raise ParameterError(
            f"{steps} steps with a sample every {sample_every} are too few for {blocks} blocks of "
            "at least four samples. Run longer, or sample more often."
        )
    given = as_atoms(atoms)
    common = {"timestep": timestep, "temperature": temperature, "seed": seed, **md_kwargs}
    first = {
        **common,
        "dynamics": thermostat,
        "steps": equilibration,
        "sample_every": equilibration,
    }
    second = {
        **common,
        "dynamics": production,
        "steps": steps,
        "sample_every": sample_every,
        "trajectory": True,
    }
    runs = ((md_job, first), (md_job, second))
    check_chain(given, *runs)
    (results,) = gather([submit_chain(given, *runs)], [given.get_chemical_formula()], "md_flow")
    run = results[-1]
    properties, warnings = _analyse(run, timestep * sample_every, blocks, production == "NVE")
    warnings += about_name(atoms)
    off = abs(properties["temperature"] - temperature)
    if off > max(_FAR * temperature, 2 * properties["temperature_error"]):
        warnings.append(
            f"The mean temperature is {properties['temperature']:.0f} ± "
            f"{properties['temperature_error']:.0f} K, where {temperature:g} K were asked for: all "
            "properties are those at the mean. Equilibrate longer, take a larger cell, or keep a "
            "thermostat with production='Bussi'."
        )
    if production == "Langevin":
        warnings.append(
            "Langevin's friction slows diffusion down. Take production='NVE' or 'Bussi' for it."
        )
    parameters = {
        "temperature": float(temperature),
        "timestep": float(timestep),
        "equilibration": equilibration,
        "steps": steps,
        "thermostat": thermostat,
        "production": production,
        "sample_every": sample_every,
        "blocks": blocks,
        "seed": seed,
        "md_kwargs": md_kwargs,
    }
    result: MDFlowResult = finish(
        "md_flow", run["atoms"], results, parameters, properties, UNITS, warnings
    )
    return result


def _analyse(
    run: Mapping[str, Any], interval: float, blocks: int, conserved: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the properties of a run, and warnings; ``conserved``: its energy must not change."""
    history = {name: np.array(values) for name, values in run["history"].items()}
    frames = run["trajectory"]
    total = history["energy"] + history["kinetic_energy"]
    slope = np.polyfit(history["time"], total, 1)[0] if len(total) > 1 else 0.0
    means = [part.mean() for part in np.array_split(history["temperature"], blocks)]
    paths = np.array([frame.positions for frame in frames])  # never wrapped into the cell
    masses = frames[0].get_masses()
    paths = paths - np.einsum("tai,a->ti", paths, masses)[:, None] / masses.sum()
    symbols = np.array(frames[0].get_chemical_symbols())
    near = _nearest(frames[0])
    of_element = {symbol: paths[:, symbols == symbol] for symbol in np.unique(symbols).tolist()}
    diffusion, warnings = {}, []
    for symbol, some in of_element.items():
        value, error, reason = _diffuses(some, interval, blocks, near[symbols == symbol].mean())
        if not frames[0].pbc.all():
            reason = "the structure is not periodic in three directions"
        known = reason is None
        diffusion[symbol] = {"value": value if known else None, "error": error if known else None}
        if reason:
            warnings.append(f"There is no diffusion coefficient of {symbol}: {reason}.")
    unknown = {"value": None, "error": None}
    single = next(iter(diffusion.values())) if len(diffusion) == 1 else unknown
    lags, msd = mean_square_displacement(paths)
    rdf = radial_distribution(frames)
    properties = {
        "temperature": float(history["temperature"].mean()),
        "temperature_error": _error(means),
        "energy_drift": float(slope * 1e3 / len(frames[0])) if conserved else None,
        "diffusion": single["value"],
        "diffusion_error": single["error"],
        "diffusion_by_element": diffusion,
        "msd": {"times": lags * interval, "values": msd},
        "msd_by_element": {
            symbol: mean_square_displacement(some)[1] for symbol, some in of_element.items()
        },
        "rdf": rdf,
        "first_peak": _peak(rdf) if rdf else None,
        "time": history["time"],
        "total_energy": total,
        "temperatures": history["temperature"],
    }
    return properties, warnings


def _nearest(atoms: Atoms) -> NDArray[Any]:
    """Return the distance of each atom to its nearest neighbour (Å), at most 5."""
    from ase.neighborlist import neighbor_list

    nearest = np.full(len(atoms), 5.0)
    first, distances = neighbor_list("id", atoms, 5.0)
    np.minimum.at(nearest, first, distances)
    return nearest


def _diffuses(
    paths: NDArray[Any], interval: float, blocks: int, neighbour: float
) -> tuple[float | None, float | None, str | None]:
    """Return a diffusion coefficient, its error, and why it is none, if it is none.

    ``neighbour``: the distance of the atoms to their nearest neighbours (Å).
    """
    parts = np.array_split(paths, blocks)
    values = [diffusion(part, interval) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < blocks:
        return None, None, "the run is too short"
    shortest = min(len(part) for part in parts)
    curves = [mean_square_displacement(part[:shortest])[1] for part in parts]
    squares = np.mean(curves, axis=0)
    late = np.arange(len(squares)) >= len(squares) // 2
    moved = float(np.sqrt(squares[-1]))
    value, error = float(np.mean(known)), _error(known)
    if moved <= np.sqrt(2) * _LINDEMANN * neighbour:
        return value, error, f"atoms moved by {moved:.2g} Å only, as vibrations move them"
    power = float(np.polyfit(np.log(np.flatnonzero(late)), np.log(squares[late]), 1)[0])
    if not _LINEAR[0] <= power <= _LINEAR[1]:
        grows = f"the mean square displacement grows with the time to the power of {power:.2f}"
        return value, error, f"{grows}, and not linearly. Run longer, or sample more seldom"
    if value <= 2 * error:
        return value, error, f"({value:.1e} ± {error:.0e}) cm²/s is not above its error. Run longer"
    return value, error, None


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def mean_square_displacement(paths: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return lags, up to half of the run, and the mean square displacement at each.

    Parameters
    ----------
    paths
        (frames, atoms, 3) positions that are not wrapped into the cell.
    """
    lags = np.arange(len(paths) // 2 + 1)
    values = [((paths[lag:] - paths[: len(paths) - lag]) ** 2).sum(axis=2).mean() for lag in lags]
    return lags, np.array(values)


def diffusion(paths: NDArray[Any], interval: float) -> float | None:
    """Return the diffusion coefficient (cm²/s); None where the run is too short.

    By Einstein's relation, a sixth of the slope of the mean square displacement in the second half,
    where motion is no longer ballistic.

    Parameters
    ----------
    paths
        (frames, atoms, 3) positions (Å) that are not wrapped into the cell.
    interval
        Time between frames (fs).
    """
    lags, values = mean_square_displacement(paths)
    late = lags >= len(lags) // 2
    if late.sum() < 2:
        return None
    return float(np.polyfit(lags[late] * interval, values[late], 1)[0] / 6 * _CM2_PER_S)


def radial_distribution(frames: Sequence[Atoms]) -> dict[str, NDArray[Any]] | None:
    """Return the radial distribution function up to half of the cell's width, at most 10 Å.

    None for what is not periodic, or is one atom.

    Parameters
    ----------
    frames
        Of one run; a hundred of them are taken.

    Returns
    -------
    ``distances`` (Å) and ``values``, arrays; 1 where there is no order.
    """
    from ase.neighborlist import neighbor_list

    cell = frames[0].cell
    if not frames[0].pbc.all() or len(frames[0]) < 2:
        return None
    reach = min(float(heights(cell.array).min()) / 2, 10.0)
    edges = np.linspace(0, reach, max(20, int(reach / 0.05)) + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    some = frames[:: max(1, len(frames) // 100)]
    values = np.zeros(len(shells))
    for frame in some:
        distances = neighbor_list("d", frame, reach)
        density = len(frame) / frame.get_volume()
        values += np.histogram(distances, edges)[0] / (len(frame) * density * shells)
    return {"distances": (edges[1:] + edges[:-1]) / 2, "values": values / len(some)}


def _peak(rdf: Mapping[str, NDArray[Any]]) -> float | None:
    """Return the first maximum that stands out from the noise, between bins."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    values, distances = rdf["values"], rdf["distances"]
    smooth = gaussian_filter1d(values, _SMOOTH, mode="nearest")
    peaks, _ = find_peaks(smooth, prominence=_PROMINENT * smooth.max())
    if not len(peaks):
        return None
    near = range(max(1, peaks[0] - _SMOOTH), min(len(values) - 1, peaks[0] + _SMOOTH + 1))
    top = max(near, key=lambda bin: values[bin])
    a, b, _ = np.polyfit(distances[top - 1 : top + 2], values[top - 1 : top + 2], 2)
    return float(np.clip(-b / (2 * a), distances[top - 1], distances[top + 1]))


_SMOOTH = 2
"""Bins that noise is averaged over."""
_PROMINENT = 0.1
"""A peak rises above the valleys beside it by this part of the highest value."""


def summarise(result: MDFlowResult) -> str:
    text = f"{result['temperature']:.0f} ± {result['temperature_error']:.0f} K"
    for symbol, one in result["diffusion_by_element"].items():
        if one["value"] is not None:
            name = "D" if len(result["diffusion_by_element"]) == 1 else f"D({symbol})"
            text += f", {name} = ({one['value']:.2e} ± {one['error']:.0e}) cm²/s"
    if result["first_peak"] is not None:
        text += f", first peak of g(r) at {result['first_peak']:.2f} Å"
    if result["energy_drift"] is not None:
        text += f", energy drift {result['energy_drift'] * 1e3:.3f} meV per atom and ps"
    return text


def tabulate(result: MDFlowResult) -> list[dict[str, Any]]:
    drift = result["energy_drift"]
    rows = [
        ("temperature (K)", result["temperature"], result["temperature_error"]),
        *(
            (f"diffusion of {symbol} (cm²/s)", one["value"], one["error"])
            for symbol, one in result["diffusion_by_element"].items()
        ),
        ("first peak of g(r) (Å)", result["first_peak"], None),
        ("energy drift (meV per atom and ps)", None if drift is None else drift * 1e3, None),
    ]
    return [{"quantity": name, "value": value, "±": error} for name, value, error in rows]


def draw(result: MDFlowResult, figure: Any) -> None:
    figure.set_size_inches(6.0, 4.4)
    (left, right), (lower, last) = figure.subplots(2, 2)
    picoseconds = np.array(result["time"]) / 1e3
    left.plot(picoseconds, result["temperatures"], linewidth=0.8)
    left.set(xlabel="time (ps)", ylabel="temperature (K)")
    energy = np.array(result["total_energy"])
    right.plot(picoseconds, 1e3 * (energy - energy[0]) / len(result["atoms"]), linewidth=0.8)
    right.set(xlabel="time (ps)", ylabel="ΔE (meV/atom)")
    for symbol, values in result["msd_by_element"].items():
        lower.plot(np.array(result["msd"]["times"]) / 1e3, values, label=symbol)
    lower.legend()
    lower.set(xlabel="lag (ps)", ylabel="MSD (Å²)")
    if result["rdf"]:
        last.plot(result["rdf"]["distances"], result["rdf"]["values"])
        last.axhline(1, color="grey", linestyle=":")
        last.set(xlabel="r (Å)", ylabel="g(r)")
    else:
        last.set_axis_off()
    figure.suptitle(f"{result['formula']} at {result['temperature']:.0f} K")
