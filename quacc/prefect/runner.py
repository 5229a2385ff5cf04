"""``make_runner``: Prefect task runners whose workers only compute.

The task run engine (states, retries, caching, logs, API calls) runs in the flow process, on
threads. What travels to a Dask worker is the plain function and its arguments; what comes back
is its result or its exception. So compute nodes need no way to the Prefect API, no server is
started on a worker, and a worker that dies is an exception inside its task run, where Prefect's
retries work.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import distributed
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from quacc.errors import ParameterError, QuaccError, suggest
from quacc.runners.remote import pack, run_packed, unpack
from quacc.settings import overrides

_ENGINE_THREADS = 512
"""Task runs in flight. Each keeps one thread of the flow process, which mostly waits; the rest
queue in order, so that a run never waits for one behind it."""


_LOCAL_WORKER = """
import logging, signal

# The terminal sends Ctrl-C to the workers, too; the flow's process ends them.
signal.signal(signal.SIGINT, signal.SIG_IGN)
# Else they print tracebacks about the scheduler that went away before them.
for name in ("distributed.worker", "distributed.worker.state_machine"):
    logging.getLogger(name).setLevel(logging.ERROR)
"""
"""What a worker process on this machine runs first."""


class DaskRunner(DaskTaskRunner):
    """A ``DaskTaskRunner`` that keeps Prefect's engine in the flow process."""

    def __enter__(self) -> DaskRunner:
        super().__enter__()
        self._engine: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_ENGINE_THREADS)
        self._engine.__enter__()
        if keys := self.cluster_kwargs.get("shared_temp_directory"):
            Path(keys).expanduser().mkdir(parents=True, exist_ok=True, mode=0o700)
        self._client_lock = threading.Lock()  # threads must not race to start the cluster
        self._running: set[distributed.Future] = set()
        self._ending = False
        return self

    def __exit__(self, *args: Any) -> None:
        if args[0] is not None:  # Ctrl-C and its like: nobody waits for what still runs
            with self._client_lock:
                self._ending = True
                for future in list(self._running):
                    future.cancel(force=True)
        self._engine.__exit__(*args)  # waits for runs in flight, which need the client
        super().__exit__(*args)
        # dask-jobqueue leaves the files with this run's certificates to the garbage collector.
        for name, value in vars(self._cluster).items() if self._cluster else ():
            if name.startswith("_job_") and hasattr(value, "close"):
                value.close()

    def submit(  # type: ignore[override]
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[Any]] | None = None,
    ) -> PrefectFuture[Any]:
        """Start a task run here, whose function runs on a worker."""
        if not self._started:
            raise RuntimeError("The task runner must be started before submitting work.")
        return self._engine.submit(self._on_worker(task), parameters, wait_for, dependencies)

    def _on_worker(self, task: Task[..., Any]) -> Task[..., Any]:
        """Return a copy of a task whose function is called on a worker."""
        if task.isgenerator:
            raise ParameterError(
                f"The task {task.name!r} is a generator, which cannot run on a Dask worker. "
                "Return a list instead."
            )
        function = task.fn
        announce: Callable[..., None] | None = getattr(function, "announce", None)
        plain: Callable[..., Any] = getattr(function, "plain", function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if announce:
                announce(*args, **kwargs)
            return self._call(plain, args, kwargs, name=task.name)

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(call, *args, **kwargs)

        remote = copy.copy(task)
        remote.fn = call_async if task.isasync else call
        return remote

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any, *, name: str) -> Any:
        call = pack(overrides(), function, args, kwargs)
        with self._client_lock:
            if self._ending:
                raise _InterruptedError
            future = self.client.submit(run_packed, call, key=f"{name}-{uuid4()}", pure=False)
            self._running.add(future)
        try:
            outcome = future.result()
        except BaseException:
            future.cancel()
            if self._ending:
                raise _InterruptedError from None
            raise
        finally:
            self._running.discard(future)
        return unpack(outcome)


class _InterruptedError(QuaccError):
    """The flow was interrupted before this job ended."""

    def __str__(self) -> str:
        return "The flow was interrupted before this job ended."


def make_runner(
    cluster_kwargs: dict[str, Any] | None = None,
    *,
    cluster_class: str | type | None = None,
    adapt_kwargs: dict[str, Any] | None = None,
) -> DaskRunner:
    """Return a Prefect task runner that computes on Dask workers.

    Nothing starts, and nothing is submitted, before a flow that uses the runner does.

    Parameters
    ----------
    cluster_kwargs
        Of the cluster, by default a ``dask_jobqueue.SLURMCluster``: ``n_workers`` (the number
        of Slurm jobs), ``cores``, ``memory``, ``account``, ``walltime``, ``job_mem``,
        ``job_script_prologue``, ``job_directives_skip``, ``job_extra_directives``, ``python``,
        and all others of dask-jobqueue's documentation. Scheduler and workers speak TLS with
        certificates made for the run, in ``shared_temp_directory`` (``~/.cache/quacc``), unless
        ``security`` says otherwise. None: worker processes on this machine, one a core.
    cluster_class
        Another cluster class, or its full name.
    adapt_kwargs
        Of ``cluster.adapt``, such as ``{"minimum_jobs": 1, "maximum_jobs": 10}``: the number of
        jobs then follows the work.

    Raises
    ------
    ParameterError
        A keyword is unknown to SLURMCluster, or required ones are missing.
    """
    if cluster_kwargs is None and cluster_class is None:
        return DaskRunner(
            cluster_class="distributed.LocalCluster",
            cluster_kwargs={
                "n_workers": len(os.sched_getaffinity(0)),
                "threads_per_worker": 1,
                "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0",
                # Others on this machine can reach the loopback, and a scheduler runs whatever
                # it is sent: TLS with certificates made for this run keeps them out.
                "security": True,
                "preload": [_LOCAL_WORKER],
            },
            adapt_kwargs=adapt_kwargs,
        )
    kwargs = dict(cluster_kwargs or {})
    if cluster_class is None:
        cluster_class = "dask_jobqueue.SLURMCluster"
        _check_slurm(kwargs)
        if not adapt_kwargs:
            kwargs.setdefault("n_workers", 1)  # none at all would wait for ever
        # The scheduler runs whatever it is sent, and listens on the cluster's network.
        kwargs.setdefault("security", True)
        kwargs.setdefault("shared_temp_directory", str(Path.home() / ".cache" / "quacc"))
        kwargs["scheduler_options"] = {
            "dashboard_address": "127.0.0.1:0",
            **kwargs.get("scheduler_options", {}),
        }
    return DaskRunner(cluster_class=cluster_class, cluster_kwargs=kwargs, adapt_kwargs=adapt_kwargs)


def job_script(cluster_kwargs: dict[str, Any]) -> str:
    """Return the Slurm job script that ``make_runner`` would submit, without submitting it.

    In its last line, the scheduler's address and the worker's name are filled in for each job,
    and the paths of the run's certificates are added.
    """
    from dask_jobqueue.slurm import SLURMJob

    _check_slurm(cluster_kwargs)
    job_kwargs = {
        name: value for name, value in cluster_kwargs.items() if name not in _cluster_keywords()
    }
    job = SLURMJob("tcp://<scheduler>", name="<worker>", **job_kwargs)
    script: str = job.job_script()
    return script


def _check_slurm(cluster_kwargs: dict[str, Any]) -> None:
    from dask_jobqueue.core import Job
    from dask_jobqueue.slurm import SLURMJob

    known = _cluster_keywords()
    for function in (Job.__init__, SLURMJob.__init__):
        known |= set(inspect.signature(function).parameters)
    known -= {"self", "base_class_kwargs", "job_kwargs", "asynchronous", "loop"}
    for name in cluster_kwargs:
        if name not in known:
            raise ParameterError(
                f"Unknown keyword {name!r} in cluster_kwargs.{suggest(name, known)} "
                f"dask-jobqueue knows {', '.join(sorted(known))}."
            )
    missing = [name for name in ("cores", "memory") if name not in cluster_kwargs]
    if missing:
        raise ParameterError(
            f"cluster_kwargs lacks {' and '.join(missing)}: the cores and memory of one Slurm "
            "job, such as 'cores': 4, 'memory': '16GB'."
        )


def _cluster_keywords() -> set[str]:
    from dask_jobqueue.core import JobQueueCluster

    shared_with_jobs = {"security", "interface", "protocol", "config_name", "name"}
    return set(inspect.signature(JobQueueCluster.__init__).parameters) - shared_with_jobs
