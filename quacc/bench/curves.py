"""What can be said of a curve without another one: turns, jumps, detours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def flips(values: NDArray[Any], smallest: float = 0.0) -> int:
    """Return how often the sign changes; what is zero, or smaller than ``smallest``, has none."""
    return int((np.diff(np.sign(_large(values, smallest))) != 0).sum())


def turns(values: NDArray[Any], smallest: float = 0.0) -> int:
    """Return how often the slope changes its sign; smaller steps than ``smallest`` count as none.

    Parameters
    ----------
    values
        (n,), in the order of the curve.
    """
    return flips(np.diff(values), smallest)


def jump(values: NDArray[Any], smallest: float = 0.0) -> float:
    """Return the sum of the steps on both sides of each turn, where a smooth curve has small ones.

    Parameters
    ----------
    values
        (n,), in the order of the curve.
    smallest
        Smaller steps are left out.
    """
    steps = _large(np.diff(values), smallest)
    turns = np.diff(np.sign(steps)) != 0
    return float(np.abs(steps[:-1][turns]).sum() + np.abs(steps[1:][turns]).sum())


def variation(values: NDArray[Any]) -> float:
    """Return the sum of the sizes of all steps."""
    return float(np.abs(np.diff(values)).sum())


def tortuosity(energies: NDArray[Any]) -> float | None:
    """Return the way that the energy takes over the shortest one: 1 with one minimum, or none.

    None for a curve that is flat.
    """
    lowest = energies.min()
    shortest = energies[0] + energies[-1] - 2 * lowest
    return variation(energies) / float(shortest) if shortest > 0 else None


def _large(values: NDArray[Any], smallest: float) -> NDArray[Any]:
    size = np.abs(values)
    return values[(size >= smallest) & (size > 0)]
