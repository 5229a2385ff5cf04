"""What a form asks for a number or a choice: its unit, its bounds, its menu.

Bounds are those that the workflows check themselves; a form only says them earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quacc.atoms import magnetic
from quacc.recipes.workflows import defects, eos, md, qha
from quacc.runners import md as dynamics
from quacc.runners import neb, relax, saddle, vibrations


@dataclass(frozen=True)
class Number:
    """A number with its unit; empty for a count, a part of something, or a number without one."""

    unit: str = ""
    above: float | None = None
    least: float | None = None
    most: float | None = None

    def schema(self) -> dict[str, Any]:
        """Return the bounds as JSON Schema has them."""
        bounds = {"exclusiveMinimum": self.above, "minimum": self.least, "maximum": self.most}
        return {name: value for name, value in bounds.items() if value is not None}


_COUNT = Number(least=1)
_FROM_ZERO = Number(least=0)
_LENGTH = Number("Å", above=0)
_TEMPERATURE = Number("K", above=0)
_TIME = Number("fs", above=0)
_BARRIER = Number("eV", above=0)
_FROM_ONE_POINT = Number(least=5)

_NUMBERS = {
    "anchor": _FROM_ZERO,
    "atom": _FROM_ZERO,
    "barostat_time": _TIME,
    "blocks": Number(least=2),
    "cells": _COUNT,
    "cut": _FROM_ZERO,
    "density": Number("per 1/Å", above=0),
    "displacement": _LENGTH,
    "distance": _LENGTH,
    "empty": _COUNT,
    "eos.points": _FROM_ONE_POINT,
    "equilibration": _COUNT,
    "fmax": Number("eV/Å", above=0),
    "freq.displacement": Number("Å", least=vibrations.SMALLEST, most=vibrations.LARGEST),
    "friction": Number("1/fs", above=0),
    "hold": Number(least=0, most=1),
    "images": _COUNT,
    "limit": _COUNT,
    "max_index": _COUNT,
    "md.pressure": Number("bar"),
    "mesh": _LENGTH,
    "mesh_kspacing": Number("1/Å", above=0),
    "min_lateral": Number("Å", least=0),
    "min_length": _LENGTH,
    "min_thickness": _LENGTH,
    "min_vacuum": _LENGTH,
    "parallel": _COUNT,
    "points": _COUNT,
    "pressure": Number("bar", above=0),
    "push": _LENGTH,
    "qha.points": _FROM_ONE_POINT,
    "qha.pressure": Number("GPa"),
    "rattle": Number("Å", least=0),
    "relax.pressure": Number("GPa"),
    "rotation_barrier": _BARRIER,
    "rotational_minima": _COUNT,
    "sample_every": _COUNT,
    "seed": _FROM_ZERO,
    "site_area": Number("Å²", above=0),
    "spin": Number(least=0),
    "spring": Number("eV/Å²", above=0),
    "stacking_fault.points": Number(least=3),
    "step": Number(above=0),
    "steps": _COUNT,
    "strain": Number(above=0, most=0.1),
    "symmetry_number": _COUNT,
    "t_max": _TEMPERATURE,
    "t_step": _TEMPERATURE,
    "temperature": _TEMPERATURE,
    "thermostat_time": _TIME,
    "timestep": _TIME,
    "tr2_ph": Number(above=0),
    "translation_barrier": _BARRIER,
    "ts.displacement": Number("Å", least=saddle.SMALLEST, most=saddle.LARGEST),
}

_MENUS: dict[str, tuple[Any, ...]] = {
    "defects.kinds": defects.KINDS,
    "eos.form": eos.FORMS,
    "freq.low_modes": vibrations.LOW_MODES,
    "freq.thermo": vibrations.THERMO,
    "magnetic_order.kinds": magnetic.KINDS,
    "md.dynamics": dynamics.DYNAMICS,
    "md.production": dynamics.DYNAMICS,
    "md.thermostat": md.THERMOSTATS,
    "neb.optimizer": neb.OPTIMIZERS,
    "qha.form": qha.FORMS,
    "relax.optimizer": tuple(relax.OPTIMIZERS),
    "relax.relax_cell": (False, True, *relax.CELLS),
}


_HINDERED = ("translation_barrier", "rotation_barrier", "rotational_minima", "site_area")

_DECIDED = {
    "double_relax.relax": (),
    "relax": ("relax_cell",),
    "freq": ("temperature", "pressure", "thermo", *_HINDERED),
    "reaction.freq": (
        *("temperature", "pressure", "thermo", "spin", "symmetry_number"),
        *_HINDERED,
    ),
    "md": ("dynamics", "steps", "timestep", "temperature", "seed", "sample_every", "trajectory"),
}
"""Parameters of jobs that the workflows decide themselves."""


def decided(workflow: str, job: str) -> tuple[str, ...]:
    """Return the parameters of one of a workflow's jobs that no user can give."""
    return _DECIDED.get(f"{workflow}.{job}", _DECIDED.get(job, ()))


def number(owner: str, name: str) -> Number:
    """Return unit and bounds of a parameter of a workflow or job, such as eos and points."""
    return _NUMBERS.get(f"{owner}.{name}") or _NUMBERS[name]


def menu(owner: str, name: str) -> tuple[Any, ...] | None:
    """Return all values of a parameter; None where they cannot be listed."""
    return _MENUS.get(f"{owner}.{name}")
