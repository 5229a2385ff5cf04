"""Quasi-harmonic approximation: thermal expansion and G(T, p) from phonons at several volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.modify import in_cell, repeats_for
from quacc.errors import (
    CalculationError,
    ParameterError,
    require_choice,
    require_count,
    require_number,
    require_positive,
)
from quacc.extras import check_free
from quacc.recipes.tools.verbs import Job, check, check_state, gather, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.recipes.workflows.phonon import Lattice, check_crystal
from quacc.schemas import FlowResult

FORMS = ("vinet", "birch_murnaghan", "murnaghan")
"""Equations of state, as phonopy names them."""

UNITS = {
    "temperatures": "K",
    "gibbs_energy": "eV per primitive cell",
    "volume": "Å³ per primitive cell",
    "thermal_expansion": "1/K, of the volume",
    "bulk_modulus": "GPa",
    "heat_capacity": "eV/K per primitive cell, at constant pressure",
    "volumes": "Å³ per primitive cell",
    "helmholtz_energy": "eV per primitive cell",
}
REFERENCES = ("Togo2010", "Togo2023a", "Togo2023b")


class QHAResult(FlowResult):
    """Thermodynamics at one pressure; arrays over ``temperatures`` have its length."""

    temperatures: NDArray[Any]
    """K."""
    gibbs_energy: NDArray[Any]
    """eV per primitive cell."""
    volume: NDArray[Any]
    """Equilibrium volumes (Å³ per primitive cell)."""
    thermal_expansion: NDArray[Any]
    """Thermal expansion of the volume (1/K)."""
    bulk_modulus: NDArray[Any]
    """Isothermal (GPa)."""
    heat_capacity: NDArray[Any]
    """At constant pressure (eV/K per primitive cell)."""
    gruneisen: NDArray[Any]
    """Thermodynamic Grüneisen parameter; not a number at 0 K."""
    volumes: NDArray[Any]
    """At which phonons were computed (Å³ per primitive cell)."""
    helmholtz_energy: NDArray[Any]
    """(temperatures, volumes), the static energy included (eV per primitive cell)."""


@workflow
def qha_flow(
    atoms: StructureLike,
    relax_job: Job | None = "relax_job",
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    points: int = 7,
    step: float = 0.01,
    pressure: float = 0.0,
    form: str = "vinet",
    supercell: Sequence[int] | None = None,
    min_length: float = 12.0,
    displacement: float = 0.01,
    mesh: float = 60.0,
    t_max: float = 1000.0,
    t_step: float = 10.0,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> QHAResult:
    """Compute G(T, p), thermal expansion and the Grüneisen parameter.

    The quasi-harmonic approximation with phonopy (Togo et al., Phys. Rev. B 81, 174301 (2010)):
    static energies and phonons at several volumes, at each of which the positions are relaxed, and
    an equation of state at each temperature.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes the crystal, and the positions at each volume; None takes all as they are.
    static_job
        Computes energies, and the forces of every displaced supercell.
    points, step
        Number of volumes, and the step between them as a part of the length of the cell vectors;
        two thirds of them are larger than the relaxed volume, where the crystal expands to.
    pressure
        On the crystal (GPa).
    form
        One of :data:`FORMS`.
    supercell, min_length, displacement, mesh
        See :func:`quacc.recipes.workflows.phonon.phonon_flow`.
    t_max, t_step
        Temperatures (K).
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
        The crystal itself failed, a volume has imaginary modes, or the form does not fit.
    JobsFailedError
        Some jobs failed; carries the results of the others.
    """
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    require_count(minimum=5, points=points)
    require_positive(step=step, displacement=displacement, mesh=mesh, t_max=t_max, t_step=t_step)
    require_number(pressure=pressure)
    require_choice("form", form, FORMS)
    if step * points > 0.3:
        raise ParameterError(
            f"{points} points with a step of {step} stretch the cell too much; take smaller steps."
        )
    given = check_start(atoms, relax_job, relax_kwargs)
    check_crystal(given)
    check_free(given, "a crystal that expands", symmetry=False)
    repeats = repeats_for(given, supercell, min_length)
    relaxation = None if relax_job is None else check(relax_job, given, **relax_kwargs)
    first = Lattice(given, repeats, displacement).displaced[0]
    calculation = check(static_job, first, **static_kwargs)
    check_state(relaxation, calculation)
    if calculation and calculation.code.energy_is_enthalpy:
        raise ParameterError(
            f"The energies of {calculation.code.title} are enthalpies at 298.15 K, with the energy "
            "of vibrations in them, which the quasi-harmonic approximation would add again."
        )
    reference, jobs = start(atoms, relax_job, relax_kwargs)

    smaller = (points - 1) // 3
    strains = [step * (i - smaller) for i in range(points)]
    cells: list[Any] = [in_cell(reference, reference.cell * (1 + strain)) for strain in strains]
    formula = reference.get_chemical_formula()
    names = [f"{formula} strained by {strain:+.3f}" for strain in strains]
    if relax_job is not None:
        futures = [submit(relax_job, cell, **relax_kwargs) for cell in cells]
        relaxed = gather_each(futures, names, "qha_flow", jobs)
        jobs += relaxed
        cells = [result["atoms"] for result in relaxed]
    lattices = [Lattice(cell, repeats, displacement) for cell in cells]
    chains = [
        [submit(static_job, one, **static_kwargs) for one in [cell, *lattice.displaced]]
        for cell, lattice in zip(cells, lattices, strict=True)
    ]
    results = gather(chains, names, "qha_flow", jobs)
    jobs += [result for chain in results for result in chain]

    steps = round(t_max / t_step)
    temperatures = t_step * np.arange(steps + 3)  # derivatives need two more
    energies, volumes, thermal = [], [], []
    for cell, lattice, chain, name in zip(cells, lattices, results, names, strict=True):
        found = lattice.solve(chain[1:], mesh, temperatures)
        if not found["stable"]:
            raise CalculationError(
                f"qha_flow: {name} has imaginary modes, down to {found['lowest_frequency']:.2f} "
                "THz, so that its free energy is not known. Take fewer points or smaller steps, a "
                "larger supercell, or a structure that is a minimum of the energy.",
                atoms=cell,
            )
        share = len(found["primitive"]) / len(cell)
        energies.append(chain[0]["results"]["energy"] * share)
        volumes.append(cell.get_volume() * share)
        thermal.append(found["thermal"])
    properties = _solve(
        np.array(volumes), np.array(energies), thermal, temperatures, pressure, form, steps + 1
    )
    warnings = []
    if not min(volumes) < properties["volume"].min() <= properties["volume"].max() < max(volumes):
        warnings.append(
            f"The equilibrium volumes, {properties['volume'].min():.2f} to "
            f"{properties['volume'].max():.2f} Å³, leave those that were computed, "
            f"{min(volumes):.2f} to {max(volumes):.2f} Å³. Take more points, or a lower t_max."
        )
    parameters = {
        "points": points,
        "step": float(step),
        "pressure": float(pressure),
        "form": form,
        "supercell": repeats,
        "displacement": float(displacement),
        "mesh": float(mesh),
        "t_max": float(t_max),
        "t_step": float(t_step),
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
    }
    result: QHAResult = finish("qha_flow", reference, jobs, parameters, properties, UNITS, warnings)
    return result


def _solve(
    volumes: NDArray[Any],
    energies: NDArray[Any],
    thermal: Sequence[Mapping[str, NDArray[Any]]],
    temperatures: NDArray[Any],
    pressure: float,
    form: str,
    count: int,
) -> dict[str, Any]:
    from phonopy import PhonopyQHA

    per_mole = units.kJ / units.mol  # phonopy's units

    def column(name: str, unit: float) -> NDArray[Any]:
        return np.array([one[name] for one in thermal]).T / unit

    qha = PhonopyQHA(
        volumes=volumes,
        electronic_energies=energies,
        temperatures=temperatures,
        free_energy=column("free_energy", per_mole),
        cv=column("heat_capacity", per_mole / 1e3),
        entropy=column("entropy", per_mole / 1e3),
        pressure=float(pressure),
        eos=form,
        t_max=float(temperatures[count - 1]),
    )
    if len(qha.volume_temperature) < count:  # phonopy leaves them out
        raise CalculationError(
            f"qha_flow: {form} does not fit the free energies at some temperatures. Take more "
            "points, smaller steps, or another form."
        )
    helmholtz = energies + column("free_energy", 1.0)

    def over(values: Any) -> NDArray[Any]:
        return np.array(values, dtype=float)[:count]

    return {
        "temperatures": temperatures[:count],
        "gibbs_energy": over(qha.gibbs_temperature),
        "volume": over(qha.volume_temperature),
        "thermal_expansion": over(qha.thermal_expansion),
        "bulk_modulus": over(qha.bulk_modulus_temperature),
        "heat_capacity": over(qha.heat_capacity_P_numerical) * per_mole / 1e3,
        "gruneisen": over(qha.gruneisen_temperature),
        "volumes": volumes,
        "helmholtz_energy": helmholtz[:count],
    }


def _at(result: QHAResult, temperature: float) -> int:
    return int(np.argmin(np.abs(np.array(result["temperatures"]) - temperature)))


def summarise(result: QHAResult) -> str:
    i = _at(result, 300)
    return (
        f"at {result['temperatures'][i]:.0f} K: V = {result['volume'][i]:.3f} Å³ per primitive "
        f"cell, thermal expansion {result['thermal_expansion'][i] * 1e6:.1f}·10⁻⁶/K, bulk modulus "
        f"{result['bulk_modulus'][i]:.1f} GPa, Grüneisen parameter {result['gruneisen'][i]:.2f}"
    )


def tabulate(result: QHAResult) -> list[dict[str, Any]]:
    last = float(result["temperatures"][-1])
    wanted = sorted({0.0, *(t for t in (100.0, 300.0, 500.0, 1000.0) if t <= last), last})
    return [
        {
            "temperature (K)": float(result["temperatures"][i]),
            "G (eV)": float(result["gibbs_energy"][i]),
            "volume (Å³)": float(result["volume"][i]),
            "expansion (10⁻⁶/K)": float(result["thermal_expansion"][i] * 1e6),
            "B (GPa)": float(result["bulk_modulus"][i]),
            "Cp (kB)": float(result["heat_capacity"][i] / units.kB),
            "Grüneisen": float(result["gruneisen"][i]),
        }
        for i in (_at(result, temperature) for temperature in wanted)
    ]


def draw(result: QHAResult, figure: Any) -> None:
    figure.set_size_inches(6.0, 4.4)
    (left, right), (lower, last) = figure.subplots(2, 2, sharex="col")
    temperatures = np.array(result["temperatures"])
    left.plot(temperatures, result["volume"])
    left.set(ylabel="volume (Å³)")
    right.plot(temperatures, np.array(result["thermal_expansion"]) * 1e6)
    right.set(ylabel="expansion (10⁻⁶/K)")
    lower.plot(temperatures, result["bulk_modulus"])
    lower.set(xlabel="temperature (K)", ylabel="bulk modulus (GPa)")
    last.plot(temperatures, np.array(result["heat_capacity"]) / units.kB)
    last.set(xlabel="temperature (K)", ylabel="heat capacity (kB)")
    figure.suptitle(f"{result['formula']} at {result['parameters']['pressure']:g} GPa")
