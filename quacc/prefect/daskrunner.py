"""A Prefect task runner whose workers only compute.

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
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import dask
import distributed
from distributed.scheduler import KilledWorker
from prefect import Task
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_HOME
from prefect_dask.client import PrefectDaskClient
from prefect_dask.task_runners import DaskTaskRunner

from quacc.cache.results import ResultsCache
from quacc.cluster.attempts import Attempts, Cause, Verdict
from quacc.cluster.batch import BatchCluster
from quacc.cluster.blame import Blame
from quacc.cluster.certificates import make_folder, make_private
from quacc.cluster.dask_config import configured
from quacc.cluster.jobqueue import Job, JobQueueCluster
from quacc.cluster.keywords import job_seconds
from quacc.cluster.loopback import no_proxy_for_loopback
from quacc.cluster.scheduler import SILENT, WorkScheduler
from quacc.cluster.slurm_cluster import SlurmCluster
from quacc.cluster.spawn import make_scratch
from quacc.cluster.transport import (
    Outcome,
    pack,
    refuse_on_worker,
    run_calls_at_once,
    run_packed,
    unpack,
)
from quacc.cluster.worker import compute_chunk
from quacc.errors import (
    LostWorkerError,
    ParameterError,
    PreemptedError,
    QuaccError,
    StuckError,
    SubmissionError,
    TimeLimitError,
    is_machines,
)
from quacc.prefect.cache_policy import InResultsDatabase
from quacc.prefect.chunk_run import Load, compute, compute_elsewhere
from quacc.prefect.engine import PatientTaskRunner
from quacc.prefect.frozen import frozen, frozen_items
from quacc.prefect.lifecycle import guard
from quacc.prefect.lifecycle.watch import InterruptedJob, Watch
from quacc.prefect.tasks import JobTask, wants_no_cache
from quacc.recipes.tools.verbs import bare
from quacc.runners.checkpoint import progress_of
from quacc.runners.job import calculation_of, plan_of
from quacc.runners.raised import in_words
from quacc.settings import overrides

_ENGINE_THREADS = 512
"""Task runs in flight. Each keeps one thread of the flow process, which mostly waits; the rest
queue in order, so that a run never waits for one behind it."""

_LOOK = 0.5
"""Seconds between two looks at the clock, for time limits."""

_LEAVING = 1.0
"""Seconds until the scheduler knows that a worker takes no more work."""

logger = logging.getLogger(__name__)

guard.install()


class DaskRunner(DaskTaskRunner):
    """A ``DaskTaskRunner`` that keeps Prefect's engine in the flow process.

    Parameters
    ----------
    worker_settings
        Settings of quacc's that hold on the workers.
    **kwargs
        Of ``DaskTaskRunner``.
    """

    def __init__(self, *, worker_settings: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.worker_settings = dict(worker_settings or {})
        self._client_lock = threading.Lock()  # threads must not race to start the cluster
        self._running_lock = threading.Lock()
        self._running: set[distributed.Future] = set()
        self._end: BaseException | None = None  # why nothing is to run any more

    def duplicate(self) -> DaskRunner:
        """Return a runner with the same settings, which has not been started."""
        copied: DaskRunner = super().duplicate()
        copied.worker_settings = self.worker_settings
        return copied

    def __enter__(self) -> DaskRunner:
        refuse_on_worker("A task runner of make_runner", "plain jobs")
        no_proxy_for_loopback()
        if guard.is_loaded():
            from quacc.prefect.lifecycle.temporary import require_password

            require_password()
        make_private(PREFECT_HOME.value())
        super().__enter__()
        self._engine = PatientTaskRunner(max_workers=_ENGINE_THREADS)
        self._engine.__enter__()
        self._watch = Watch(self.interrupt)
        self._suspects = threading.Lock()
        self._keys: Path | None = None  # folder of this run's certificates
        self._scratch: Path | None = None  # folder of the scheduler, and of workers here
        self._cache = ResultsCache()
        self.retired: set[str] = set()
        """Nodes, or local workers, that are used no more: they fail whatever runs there."""
        self._retired_workers: set[str] = set()
        self._blame = Blame(self.retired)
        self._tell: Callable[[str], None] = logger.info
        return self

    def __exit__(self, *args: Any) -> None:
        self._watch.leave()
        if args[0] is not None:  # Ctrl-C and its like: nobody waits for what still runs
            self.interrupt("The flow was interrupted before this job ended.")
        try:
            self._close(*args)
        finally:
            self._end = None
            self._watch.close(args[1])

    def _close(self, *args: Any) -> None:
        self._engine.__exit__(*args)  # waits for runs in flight, which need the client
        try:
            super().__exit__(*args)
        finally:
            self._cache.close()
            for folder in filter(None, (self._keys, self._scratch)):
                shutil.rmtree(folder, ignore_errors=True)

    def interrupt(self, reason: str | QuaccError) -> None:
        """End all calculations, from any thread; those that are submitted later end at once."""
        with self._running_lock:
            if self._end is None:
                self._end = reason if isinstance(reason, QuaccError) else InterruptedJob(reason)
            running = list(self._running)
        for future in running:
            future.cancel(force=True)

    def place_of(self, node: str, worker: str) -> str:
        """Return what is to blame for a bad place: the node, or the worker where there is one."""
        return node if isinstance(self._cluster, BatchCluster) else worker

    def elsewhere(self, place: str) -> bool:
        """Return whether there are other places than this one."""
        cluster: Any = self._cluster
        if isinstance(cluster, BatchCluster):
            return cluster.has_other_nodes({*self.retired, place})
        return hasattr(cluster, "retire")

    def retire(self, place: str, worker: str, reason: str) -> None:
        """Use a place no more: its worker is ended, and its node gets no other.

        Parameters
        ----------
        place
            From :meth:`place_of`.
        worker
            The address of a worker there.
        reason
            What has failed there.
        """
        cluster: Any = self._cluster
        if worker in self._retired_workers or not hasattr(cluster, "retire"):
            return
        self._retired_workers.add(worker)
        logger.warning("%s is used no more in this run, it fails: %s", place, reason)
        cluster.excluded = self.retired
        cluster.loop.add_callback(cluster.retire, worker)

    @property
    def client(self) -> Any:
        """The Dask client; the first use starts the cluster."""
        if self._client is None:
            self._client = self._start_cluster()
        return self._client

    def _started_cluster(self) -> Any:
        with self._client_lock:
            try:
                _ = self.client
            except QuaccError:
                raise
            # Whatever the cluster's class raises.
            except Exception as error:
                raise SubmissionError(f"The workers cannot start: {in_words(error)}") from error
        return self._cluster

    @property
    def width(self) -> int:
        """How many calculations can run at a time, when all workers are there."""
        jobs = self.adapt_kwargs.get("maximum_jobs") or self.adapt_kwargs.get("maximum")
        most = jobs or self.cluster_kwargs.get("n_workers") or 1
        cluster: Any = self._cluster
        if isinstance(cluster, BatchCluster):
            most *= cluster.workers_of_job * cluster.threads
        scheduler = getattr(cluster, "scheduler", None)
        return max(int(most), scheduler.total_nthreads if scheduler else 0)

    def _start_cluster(self) -> Any:
        # Prefect's own would take any Dask client that is open in this process, and its cluster.
        kwargs = self.cluster_kwargs
        if base := kwargs.get("shared_temp_directory"):
            self._keys = make_folder(base)
            kwargs = kwargs | {"shared_temp_directory": str(self._keys)}
        logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells every step
        make_cluster: Any = self.resolved_cluster_class or self.cluster_class
        secure = bool(kwargs.get("security") or kwargs.get("secure"))
        batch = isinstance(make_cluster, type) and issubclass(make_cluster, JobQueueCluster)
        self._scratch = make_scratch(None if batch else kwargs.get("local_directory"))
        private = {"temporary-directory": str(self._scratch)}
        if not batch and "local_directory" in kwargs:
            kwargs = kwargs | {"local_directory": str(self._scratch)}
        self._exit_stack.enter_context(configured())
        with dask.config.set(private | (SILENT if secure else {})):
            cluster = self._exit_stack.enter_context(make_cluster(**kwargs))
        self._cluster = cluster
        if self.adapt_kwargs:
            cluster.adapt(**self.adapt_kwargs)
        client = self._exit_stack.enter_context(PrefectDaskClient(cluster, **self.client_kwargs))
        if not secure:
            self._tell(f"The Dask dashboard is at {client.dashboard_link}")
        if hasattr(cluster, "on_problem"):
            cluster.report = self._tell
            if isinstance(cluster, SlurmCluster) and (names := cluster.unused_variables):
                self._tell(
                    f"Jobs are submitted without {', '.join(names)}: quacc says in the job script "
                    "what they are to be."
                )
            cluster.on_problem = self._cannot_work
            if cluster.problem:
                self._cannot_work(cluster.problem)
        return client

    def _cannot_work(self, problem: QuaccError) -> None:
        # From the cluster's event loop, which cancelling would wait for.
        threading.Thread(target=self.interrupt, args=(problem,)).start()

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
        self._watch.see()
        if isinstance(self._end, InterruptedJob):
            raise copy.copy(self._end)
        if self._tell == logger.info and FlowRunContext.get():
            self._tell = get_run_logger().info
        if task.fn is not compute:  # whose calls are packed
            parameters = frozen(parameters)
        return self._engine.submit(self._on_worker(task), parameters, wait_for, dependencies)

    def map(
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> Any:
        """Start a task run for each item; those of an iterator are taken one by one."""
        listed = {
            name: list(frozen_items(one)) if isinstance(one, Iterator) else one
            for name, one in parameters.items()
        }
        return super().map(task, listed, wait_for)

    def _on_worker(self, task: Task[..., Any]) -> Task[..., Any]:
        """Return a copy of a task whose function is called on a worker."""
        if task.isgenerator:
            raise ParameterError(
                f"The task {task.name!r} is a generator, which cannot run on a Dask worker. "
                "Return a list instead."
            )
        function = task.fn
        if function is compute:
            remote = copy.copy(task)
            remote.fn = lambda load: compute_elsewhere(load, self._compute)  # type: ignore[misc]
            return remote
        plain: Callable[..., Any] = bare(task)
        policy: Any = task.cache_policy
        if plan_of(plain) and not wants_no_cache(policy):
            policy = InResultsDatabase()  # not Prefect's, which knows no versions
        cached = isinstance(policy, InResultsDatabase)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(task, JobTask):
                task.announce(args, kwargs)
            return self._call(plain, args, kwargs, name=task.name, cached=cached)

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(call, *args, **kwargs)

        remote = copy.copy(task)
        remote.plain_job = plain  # type: ignore[attr-defined]  # which the cache's key belongs to
        remote.cache_policy = policy
        remote.fn = call_async if task.isasync else call
        return remote

    def _call(
        self, function: Callable[..., Any], args: Any, kwargs: Any, *, name: str, cached: bool
    ) -> Any:
        """Return what a function returns on a worker, however many workers it takes.

        ``cached``: Prefect's engine has asked the results database before, and stores the result.
        """
        calculation = calculation_of(function, args, kwargs, check=True)
        key = calculation.key if calculation else None
        if calculation and not cached:
            (known,) = self._cache.find([calculation])
            if known is not None:
                get_run_logger().info("%s is in the results database already", name)
                return known
        call = pack(self.worker_settings | overrides(), function, args, kwargs)

        def progress(steps: int | None) -> int | None:
            return progress_of(key) if steps is None and key else steps

        result = self._again(
            name, lambda task_key: self._attempt(call, task_key), progress, _steps, blame=True
        )
        if plan_of(function) and not cached:  # others may have changed what a job returned
            self._cache.keep(result)
        return result

    def _compute(self, load: Load) -> None:
        """Compute all items of a load on workers; each outcome goes to the load at once."""
        settings = self.worker_settings | overrides()

        def attempt(task_key: str) -> None:
            calls, budget = load.packed(settings), load.chunk.budget
            scheduler = getattr(self._started_cluster(), "scheduler", None)
            if not isinstance(scheduler, WorkScheduler):
                call = pack(settings, run_calls_at_once, (calls, budget), {})
                for outcome in self._attempt(call, task_key):
                    load.take(outcome)
                return

            stream = _Stream(load)
            load.streamed = True
            scheduler.sinks[task_key] = stream.take
            try:
                limited = {"at_once": load.time_limit is not None}
                call = pack(settings, compute_chunk, (calls, budget, task_key), limited)
                self._attempt(call, task_key, stream)
            finally:
                del scheduler.sinks[task_key]

        while load.calls:
            try:
                self._again(load.title, attempt, load.progress, load.how_far)
                return  # with all, or with what was begun within its budget
            except TimeLimitError as error:
                load.fail(error.number, error)
            except StuckError as error:
                load.fail(load.first, error)

    def _again(
        self,
        name: str,
        attempt: Callable[[str], Any],
        progress: Callable[[int | None], int | None],
        how_far: Callable[[int], str],
        *,
        blame: bool = False,
    ) -> Any:
        """Return what an attempt returns, however many workers it takes.

        Parameters
        ----------
        name
            For people, and for Dask.
        attempt
            Is given a new key for Dask each time.
        progress
            Returns how far it is; is given the steps that a stopped calculation told.
        how_far
            Puts this into words.
        blame
            What machines are to blame for runs again elsewhere.
        """
        attempts = Attempts()
        verdict = Verdict.AGAIN
        item = uuid4()
        while True:
            task_key = f"{name}-{uuid4()}"
            try:
                if verdict is Verdict.ALONE:
                    with self._suspects:
                        return attempt(task_key)
                return attempt(task_key)
            except PreemptedError as stop:
                cause, reason, far = Cause.WALLTIME, stop.reason, progress(stop.progress)
                time.sleep(_LEAVING)
            except KilledWorker as loss:
                cause, reason = self._cause_of(str(loss.last_worker.name))
                far = progress(None)
            except Exception as error:
                if not blame or not self._is_machines(item, error):
                    raise
                get_run_logger().warning("%s; %s runs again elsewhere", in_words(error), name)
                time.sleep(_LEAVING)
                continue
            finally:
                seconds = self._seconds_since_start(task_key)
            whole = seconds > 0.5 * self._walltime()
            verdict = attempts.lost(cause, far, whole=whole)
            reached = how_far(attempts.progress)
            if verdict in (Verdict.CRASHED, Verdict.STUCK):
                raise _given_up(verdict, reason, name, attempts.count, reached)
            at = f", from {reached}" if attempts.progress else ""
            get_run_logger().warning("%s; attempt %d%s", reason, attempts.count, at)

    def _is_machines(self, item: UUID, error: Exception) -> bool:
        """Return whether a call that has failed on a worker is to run again elsewhere."""
        node, worker = getattr(error.__cause__, "node", ""), getattr(error.__cause__, "worker", "")
        if not worker or not is_machines(error):
            return False
        place = self.place_of(node, worker)
        with self._running_lock:
            judgement = self._blame.failed(
                item, place, machine=True, elsewhere=self.elsewhere(place)
            )
        if judgement.retire:
            self.retire(place, worker, in_words(error))
        return bool(judgement.again)

    def _attempt(self, call: bytes, task_key: str, stream: _Stream | None = None) -> Any:
        """Return what a packed call returns on a worker."""
        self._started_cluster()
        with self._running_lock:
            if self._end is not None:
                raise copy.copy(self._end)
            future = self.client.submit(run_packed, call, key=task_key, pure=False)
            self._running.add(future)
        try:
            outcome = stream.end_of(future) if stream else future.result()
        except BaseException:
            self._stop_function(task_key)
            future.cancel()
            if self._end is not None:
                raise copy.copy(self._end) from None
            raise
        finally:
            with self._running_lock:
                self._running.discard(future)
            # The traceback of an exception would keep it, and it the result on the worker.
            future.release()
        return unpack(outcome)

    def _stop_function(self, task_key: str) -> None:
        """Start the worker anew that still runs what nobody waits for, such as after a timeout."""
        cluster: Any = self._cluster
        scheduler = getattr(cluster, "scheduler", None)
        if self._end is None and isinstance(scheduler, WorkScheduler):
            task = scheduler.tasks.get(task_key)
            if task is not None and task.processing_on is not None:
                cluster.loop.add_callback(scheduler.start_anew, task.processing_on.address)

    def _cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        cluster: Any = self._cluster
        if hasattr(cluster, "cause_of"):
            return cluster.sync(cluster.cause_of, worker)
        return Cause.CRASH, f"the worker {worker} died"

    def _seconds_since_start(self, task_key: str) -> float:
        scheduler = getattr(self._cluster, "scheduler", None)
        if isinstance(scheduler, WorkScheduler):
            return scheduler.seconds_since_start(task_key)
        return 0.0

    def _walltime(self) -> float:
        """Return the walltime of a batch job in seconds."""
        job_class = getattr(self.cluster_class, "job_cls", None)
        return job_seconds(job_class or Job, self.cluster_kwargs.get("walltime"))


def _steps(progress: int) -> str:
    return f"step {progress}" if progress else "its beginning"


class _Stream:
    """What a worker streams of one attempt at a load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.end: bytes | None = None
        self.wake = threading.Event()

    def take(self, news: Outcome | bytes | None) -> None:
        if news is None:
            self.load.begin()
        elif isinstance(news, Outcome):
            self.load.take(news)
        else:
            self.end = news
            self.wake.set()

    def end_of(self, future: distributed.Future) -> bytes:
        """Return what became of the load as a whole, packed.

        It comes by the stream, since the worker may die before its result can be fetched.
        """
        future.add_done_callback(lambda _: self.wake.set())
        while not self.wake.wait(_LOOK):
            self.load.check()
        if self.end is None:
            return bytes(future.result())
        return self.end


def _given_up(verdict: Verdict, reason: str, name: str, count: int, far: str) -> QuaccError:
    """Return the error of a calculation that is not to be run again."""
    if verdict is Verdict.CRASHED:
        return LostWorkerError(f"{name} lost its worker: {reason}.")
    return StuckError(
        f"{name} makes no progress: {count - 1} attempts ended at {far}, the last one "
        f"because of this: {reason}. If single steps take longer than a job may, ask for a longer "
        "walltime; functions of your own, which write no checkpoints, must end within one."
    )
