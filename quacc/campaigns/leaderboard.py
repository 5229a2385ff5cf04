"""A step that compares models on tasks, as ``quacc bench run`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quacc.bench.pair import Computer, Pair
from quacc.bench.record import Record
from quacc.bench.run import make_pairs, run_pair
from quacc.bench.tasks import gather_jobs


def leaderboard(
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    task_types: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    *,
    elements: Sequence[str] | None = None,
    models_file: str | None = None,
    tasks_file: str | None = None,
    time_limit: float | None = None,
) -> list[Pair]:
    """Return the pairs of models and tasks that are asked for; see ``quacc bench run``.

    Raises
    ------
    InputError
        A name is unknown, or a file makes no sense.
    """
    pairs = gather_jobs(
        models,
        tasks,
        task_types,
        tags,
        model_files=[Path(models_file)] if models_file else (),
        task_files=[Path(tasks_file)] if tasks_file else (),
    )
    return make_pairs(pairs, elements, time_limit)


def compared(computer: Computer, parameters: Mapping[str, Any]) -> list[Record]:
    """Run the pairs; return their records. What is known is not run again."""
    pairs = leaderboard(**parameters)
    return [run_pair(pair, computer, lambda ended, failed, total: None) for pair in pairs]
