"""Calls side by side, as a worker makes those of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quacc.cluster.transport import Outcome, pack_arguments, pack_calls, run_calls, unpack
from quacc.settings import overrides


def together(
    function: Callable[..., Any],
    items: Sequence[Any],
    width: int,
    report: Callable[[Outcome], object] | None = None,
    **kwargs: Any,
) -> dict[int, Outcome]:
    """Return what became of each call, by its number."""
    calls = [(number, pack_arguments((item,), kwargs)) for number, item in enumerate(items)]
    outcomes = {}

    def take(outcome: Outcome) -> None:
        outcomes[outcome.number] = outcome
        if report:
            report(outcome)

    run_calls(pack_calls(overrides(), function, calls, width), 1e9, take)
    return outcomes


def values(outcomes: dict[int, Outcome]) -> list[Any]:
    """Return what the calls returned, in their order."""
    return [unpack(outcomes[number].packed) for number in sorted(outcomes)]
