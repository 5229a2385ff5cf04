"""A step that compares models on tasks, as ``quacc bench run`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quacc.bench.pair import Computer, Pair
from quacc.bench.record import Record
from quacc.bench.run import make_pairs, run_pair
from quacc.bench.tasks import gather_jobs
from quacc.errors import ParameterError, require_positive


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
    if time_limit is not None:
        require_positive(time_limit=time_limit)
    pairs = gather_jobs(
        _names("models", models),
        _names("tasks", tasks),
        _names("task_types", task_types),
        _names("tags", tags),
        model_files=[Path(models_file)] if models_file else (),
        task_files=[Path(tasks_file)] if tasks_file else (),
    )
    return make_pairs(pairs, _names("elements", elements), time_limit)


def _names(what: str, given: Any) -> list[str] | None:
    names = [given] if isinstance(given, str) else given
    if names is None or (isinstance(names, list) and all(isinstance(one, str) for one in names)):
        return names
    raise ParameterError(f"{what} must be names, such as [emt, lj], not {given!r}.")


def compared(computer: Computer, parameters: Mapping[str, Any]) -> list[Record]:
    """Run the pairs; return their records. What is known is not run again."""
    pairs = leaderboard(**parameters)
    return [run_pair(pair, computer, lambda ended, failed, total: None) for pair in pairs]
