"""What a worker does before it loads a deployed flow."""

from __future__ import annotations


def stay_empty() -> dict[str, str]:
    """Leave the folder that the flow runs in empty.

    Without any step, Prefect copies everything from the folder that it starts in, often a home.
    """
    return {}


STEPS: list[dict[str, dict[str, str]]] = [{f"{__name__}.{stay_empty.__name__}": {}}]
"""The steps of every deployment."""
