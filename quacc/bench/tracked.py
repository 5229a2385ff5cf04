"""The same pairs as a Prefect flow: each is a task run with a name and a state of its own."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.task_runners import TaskRunner

from quacc.bench.models import Model
from quacc.bench.pair import Pair
from quacc.bench.record import Record
from quacc.bench.run import make_pairs, run_pair
from quacc.bench.tables import overview
from quacc.bench.tasks import Task as BenchTask
from quacc.errors import QuaccError
from quacc.prefect.flows import Storing
from quacc.prefect.lifecycle.forgotten import end_also_forgotten
from quacc.prefect.lifecycle.server import prefect_api
from quacc.prefect.runner import make_runner
from quacc.prefect.show.artifacts import show_table
from quacc.settings import change_settings
from quacc.store import Store

_PAIRS = 8
"""Pairs at the same time; their calculations share the task runner."""


class PairFailedError(QuaccError):
    """A model did not get through a task."""


class PairsFailedError(QuaccError):
    """Some pairs did not end as they should; the others did."""


def run_tracked(
    pairs: Sequence[tuple[BenchTask, Model]],
    *,
    task_runner: TaskRunner[Any] | None = None,
    elements: Collection[str] | None = None,
    time_limit: float | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> list[Record]:
    """Run pairs in a Prefect flow; return their records. See :func:`quacc.bench.run.run`.

    Calculations that fail for what can pass are tried again by themselves; a pair that failed is
    not, but the same call goes on where it has ended.

    Parameters
    ----------
    task_runner
        That of :func:`quacc.prefect.make_runner`; None: this machine's cores.
    tell
        Takes a line about each pair that has ended.
    """
    chosen = make_pairs(pairs, elements, time_limit)
    records: list[Record] = []
    names = {
        "models": [*dict.fromkeys(model.name for _, model in pairs)],
        "tasks": [*dict.fromkeys(task.name for task, _ in pairs)],
    }

    @flow(
        name="bench",
        flow_run_name=f"bench {', '.join(names['models'])}"[:100],
        task_runner=task_runner or make_runner(),
        validate_parameters=False,
    )
    def bench(models: list[str], tasks: list[str]) -> None:
        if context := FlowRunContext.get():
            end_also_forgotten(context.client)
        Store().check_writable()
        with ThreadPoolExecutor(_PAIRS) as threads:
            futures = [
                threads.submit(contextvars.copy_context().run, _run, pair, tell) for pair in chosen
            ]
            records.extend(future.result() for future in futures)
        show_table(overview(records), key="bench", description="One row a pair")
        failed = [one for one in records if one["state"] not in ("complete", "skipped")]
        if failed:
            names = ", ".join(
                f"{one['task']['name']} with {one['model']['name']}" for one in failed
            )
            raise PairsFailedError(f"{len(failed)} of {len(records)} pairs failed: {names}.")

    try:
        # A block of settings, so that those of one pair's model are not those of all threads.
        with prefect_api(), change_settings():
            bench(**names)
    except PairsFailedError as error:  # whose records tell it
        tell(str(error))
    return records


def _run(pair: Pair, tell: Callable[[str], object]) -> Record:
    """Run a pair as a task run; return its record, whatever happened."""
    found: list[Record] = []

    def compute() -> None:
        limit = pair.time_limit or pair.task.entry.time_limit
        with Storing(Store(), limit) as storing:
            record = run_pair(pair, storing, lambda ended, failed, total: None)
        found.append(record)
        if record["state"] not in ("complete", "skipped"):
            raise PairFailedError(str(record["reason"]))
        get_run_logger().info("%s", record["reason"] or f"{len(record['cases'])} structures")

    state: Any = Task(
        compute,
        name=pair.task.name,
        task_run_name=pair.name,
        tags=["bench", pair.model.name],
        cache_policy=NO_CACHE,
        persist_result=False,
    )(return_state=True)
    if not found:  # of Prefect's own, or the end of the flow
        state.result()
    (record,) = found
    tell(f"{pair.name}: {record['state']}")
    return record
