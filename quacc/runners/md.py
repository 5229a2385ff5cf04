"""Molecular dynamics with ASE's integrators."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from ase import Atoms, units

from quacc.atoms.convert import StructureLike
from quacc.calculators.code import Code
from quacc.errors import (
    ParameterError,
    StructureError,
    require_bool,
    require_choice,
    require_count,
    require_number,
    require_positive,
)
from quacc.runners.calculation import Calculation
from quacc.runners.state import (
    check,
    check_atoms,
    move_atoms,
    pack_atoms,
    pack_frames,
    restore,
    snapshot,
    unpack_frames,
)
from quacc.runners.workdir import CopyFiles
from quacc.schemas import MDResult

DYNAMICS = ("NVE", "Langevin", "Bussi", "NPT")
_BAR = 1e5 * units.Pascal


def md(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    dynamics: str = "NVE",
    steps: int = 1000,
    timestep: float = 1.0,
    temperature: float = 300.0,
    pressure: float = 0.0,
    friction: float = 0.01,
    thermostat_time: float = 100.0,
    barostat_time: float = 1000.0,
    seed: int = 0,
    sample_every: int = 1,
    trajectory: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[MDResult]:
    """Run molecular dynamics, with a thermostat or barostat if asked.

    Temperatures are of the motion relative to the centre of mass, of 3N - 3 degrees of freedom,
    where nothing but the atoms' own forces holds them; with constraints or of one atom, of all
    degrees of freedom that are left. Velocities made here, Bussi and NPT leave the centre of mass
    at rest; NVE keeps its velocity, and Langevin moves it as it moves the atoms.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    dynamics
        - ``NVE``: velocity Verlet.
        - ``Langevin``: NVT (Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006)).
        - ``Bussi``: NVT by stochastic velocity rescaling (Bussi et al., J. Chem. Phys. 126,
          014101 (2007)).
        - ``NPT``: isotropic (Martyna et al., J. Chem. Phys. 101, 4177 (1994)).
    steps, timestep
        Number of steps, and the length of one (fs).
    temperature
        Temperature of the thermostat, and of the Maxwell-Boltzmann velocities that a structure
        without momenta gets (K).
    pressure
        Pressure of the barostat (bar).
    friction
        Friction of the Langevin thermostat (1/fs).
    thermostat_time, barostat_time
        Time constants of Bussi and NPT (fs).
    seed
        Seed of all random numbers.
    sample_every
        Number of steps between two entries of the history.
    trajectory
        Return the structure of every sample.
    """
    require_choice("dynamics", dynamics, DYNAMICS)
    require_count(steps=steps, sample_every=sample_every)
    require_positive(
        timestep=timestep,
        temperature=temperature,
        friction=friction,
        thermostat_time=thermostat_time,
        barostat_time=barostat_time,
    )
    require_number(pressure=pressure)
    require_bool(trajectory=trajectory)
    require_count(minimum=0, seed=seed)
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="md_job",
        version=2,
        parameters={
            "dynamics": dynamics,
            "steps": int(steps),
            "timestep": float(timestep),
            "temperature": float(temperature),
            "pressure": float(pressure),
            "friction": float(friction),
            "thermostat_time": float(thermostat_time),
            "barostat_time": float(barostat_time),
            "seed": int(seed),
            "sample_every": int(sample_every),
            "trajectory": trajectory,
        },
        requires=_check_structure,
        copy_files=copy_files,
        momenta=True,
    )


def _check_structure(calculation: Calculation[MDResult]) -> None:
    if calculation.input_atoms.get_number_of_degrees_of_freedom() < 1:
        raise StructureError("All atoms are fixed, so nothing can move.")
    if calculation.parameters["dynamics"] == "NPT":
        _check_npt(calculation.input_atoms, calculation.code)


def _compute(calculation: Calculation[MDResult]) -> MDResult:
    parameters = calculation.parameters
    dynamics, steps, timestep = (parameters[one] for one in ("dynamics", "steps", "timestep"))
    sample_every, trajectory = parameters["sample_every"], parameters["trajectory"]
    rng = np.random.default_rng(parameters["seed"])
    samples: list[dict[str, float]] = []
    frames: list[Atoms] = []
    with calculation.run() as atoms:
        if not atoms.get_momenta().any():
            _thermalise(atoms, parameters["temperature"], rng)
        if dynamics in ("Bussi", "NPT"):
            _stop_drift(atoms)  # else they would scale it like heat, which it never becomes
        integrator = _integrator(atoms, parameters, rng)
        checkpoint = calculation.checkpoint

        def fits(saved: dict[str, Any]) -> None:
            check(integrator, saved["integrator"])
            check_atoms(atoms, saved["atoms"])
            np.array([*saved["history"].values()], dtype=float)
            unpack_frames(saved["frames"], atoms)

        if saved := checkpoint.resume(fits):
            restore(integrator, saved["integrator"])
            move_atoms(atoms, saved["atoms"])
            columns = [column.tolist() for column in saved["history"].values()]
            samples += [
                dict(zip(saved["history"], row, strict=True)) for row in zip(*columns, strict=True)
            ]
            frames += unpack_frames(saved["frames"], atoms)

        def state() -> dict[str, Any]:
            return {
                "integrator": snapshot(integrator),
                "atoms": pack_atoms(atoms),
                "history": _columns(samples),
                "frames": pack_frames(frames),
            }

        calculation.evaluate(atoms)
        for finished in integrator.irun(steps - integrator.nsteps):
            calculation.check_finite(atoms)
            if len(samples) * sample_every == integrator.nsteps:
                samples.append(_sample(atoms, integrator.nsteps * timestep))
                if trajectory:
                    frames.append(atoms.copy())
            if not finished:
                checkpoint.step(integrator.nsteps, state)
    result = cast(MDResult, calculation.result(atoms))
    result["steps"] = steps
    result["history"] = _columns(samples)
    if trajectory:
        result["trajectory"] = frames
    return result


def _check_npt(atoms: Atoms, code: Code) -> None:
    if not atoms.pbc.all():
        raise StructureError(
            "NPT dynamics needs a structure that is periodic in three directions; this one has "
            f"pbc={atoms.pbc.tolist()}."
        )
    if atoms.constraints:
        raise StructureError("NPT dynamics cannot keep constraints; remove them first.")
    if "stress" not in code.properties:
        raise ParameterError(f"NPT dynamics needs the stress, which {code.title} has not.")


def _thermalise(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    from ase.md.velocitydistribution import thermalize_momenta

    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    _stop_drift(atoms)


def _can_drift(atoms: Atoms) -> bool:
    """Return whether the centre of mass moves on its own, beside the motion of the atoms."""
    return len(atoms) > 1 and not atoms.constraints


def _stop_drift(atoms: Atoms) -> None:
    from ase.md.velocitydistribution import Stationary

    if _can_drift(atoms):
        # The others have their temperature already: they take no heat over from the drift.
        Stationary(atoms, preserve_temperature=False)


def _degrees_of_freedom(atoms: Atoms) -> int:
    return int(atoms.get_number_of_degrees_of_freedom()) - (3 if _can_drift(atoms) else 0)


def _temperature(atoms: Atoms) -> float:
    kinetic = atoms.get_kinetic_energy()
    if _can_drift(atoms):
        drift = atoms.get_momenta().sum(axis=0)
        kinetic -= drift @ drift / (2 * atoms.get_masses().sum())
    return float(2 * kinetic / (_degrees_of_freedom(atoms) * units.kB))


def _integrator(atoms: Atoms, parameters: dict[str, Any], rng: np.random.Generator) -> Any:
    timestep = parameters["timestep"] * units.fs
    temperature = parameters["temperature"]
    if parameters["dynamics"] == "NVE":
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(atoms, timestep)
    if parameters["dynamics"] == "Langevin":
        from ase.md.langevin import Langevin

        return Langevin(
            atoms,
            timestep,
            temperature_K=temperature,
            friction=parameters["friction"] / units.fs,
            fixcm=False,
            rng=rng,
        )
    if parameters["dynamics"] == "Bussi":
        from ase.md.bussi import Bussi

        bussi = Bussi(
            atoms,
            timestep,
            temperature_K=temperature,
            taut=parameters["thermostat_time"] * units.fs,
            rng=rng,
        )
        bussi.ndof = _degrees_of_freedom(atoms)  # ASE counts all, drift or not
        bussi.target_kinetic_energy = bussi.temp * bussi.ndof / 2
        return bussi
    from ase.md.nose_hoover_chain import (
        IsotropicMTKBarostat,
        IsotropicMTKNPT,
        NoseHooverChainThermostat,
    )

    bath = {"temperature_K": temperature, "tdamp": parameters["thermostat_time"] * units.fs}
    piston = {"temperature_K": temperature, "pdamp": parameters["barostat_time"] * units.fs}
    npt = IsotropicMTKNPT(
        atoms, timestep, pressure_au=parameters["pressure"] * _BAR, **(bath | piston)
    )
    # ASE counts three degrees of freedom for each atom, drift or not.
    npt._num_atoms_global = count = _degrees_of_freedom(atoms) // 3
    npt._thermostat = NoseHooverChainThermostat(count, npt.masses, **bath)
    npt._barostat = IsotropicMTKBarostat(count, **piston)
    return npt


def _sample(atoms: Atoms, time: float) -> dict[str, float]:
    sample = {
        "time": time,
        "energy": float(atoms.get_potential_energy()),
        "kinetic_energy": float(atoms.get_kinetic_energy()),
        "temperature": _temperature(atoms),
    }
    if atoms.pbc.all():
        sample["volume"] = float(atoms.get_volume())
    return sample


def _columns(samples: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([sample[name] for sample in samples]) for name in samples[0]}
