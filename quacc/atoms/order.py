"""Orders and places that the last digits of numbers do not decide.

These are others on other processors, and keys would be, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NOISE = 1e-4


def inside(scaled: NDArray[Any]) -> NDArray[Any]:
    """Return scaled positions inside the cell; what is on its boundary is at its beginning."""
    wrapped: NDArray[Any] = (scaled + _NOISE) % 1 - _NOISE
    return wrapped


def ranks(values: NDArray[Any], per_unit: float = 1e3) -> NDArray[Any]:
    """Return whole numbers in the order of values; no common fraction lies between two."""
    rounded: NDArray[Any] = np.round(values * per_unit + 0.123)
    return rounded
