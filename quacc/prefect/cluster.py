"""Dask clusters that never hang: what they cannot do, they tell."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from distributed import LocalCluster
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import ProcessInterface
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import Scheduler, TaskState
from tornado.ioloop import PeriodicCallback

from quacc.errors import ParameterError, SubmissionError, suggest
from quacc.prefect import slurm
from quacc.prefect.attempts import Cause
from quacc.prefect.jobqueue import Job, JobQueueCluster, SLURMCluster, SLURMJob
from quacc.prefect.pool import ENDED, WAITING, JobState, Pool

PRELOAD = "quacc.prefect.worker"

KEYS = "~/.cache/quacc"
"""Where the certificates of all runs are, each in a folder of its own."""

LOOK_EVERY = 10.0
"""Seconds between two looks at the queue: one squeue for all jobs of a run."""

FIRST_LOOK = 3.0
"""Seconds after a submission: mistakes in a script show at once."""

RETRY_AFTER = 15.0
"""Seconds until a job is submitted again that Slurm could not take just now."""

IDLE_FOR = 60
"""Seconds that a job without work is kept: the next stage of a workflow is often near."""

CONFIG = {
    # A lost calculation comes back to the flow, which decides what becomes of it.
    "distributed.scheduler.allowed-failures": 0,
    # A worker gets a calculation when it is free, so that none waits on one that dies.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.deploy.lost-worker-timeout": "1s",
}
"""What Dask is to do otherwise than by default, while a cluster starts."""


class _Starts(SchedulerPlugin):
    """Notes when calculations are handed to workers."""

    name = "quacc-starts"

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def transition(self, key: str, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if finish == "processing":
            self.times[key] = time.monotonic()


class WorkScheduler(Scheduler):
    """A scheduler that hands every calculation only to a free worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.silent: set[str] = set()  # names of workers that were not heard of for too long
        self.left: set[str] = set()  # names of workers that went because their job ends
        self.on_work: Callable[[], None] = lambda: None
        self._starts = _Starts()
        self.add_plugin(self._starts)

    def is_rootish(self, ts: TaskState) -> bool:
        """Tell that a task waits in the scheduler's queue, not in a worker's."""
        free = not (
            ts.dependencies
            or ts.resource_restrictions
            or ts.worker_restrictions
            or ts.host_restrictions
        )
        return free or super().is_rootish(ts)

    async def update_graph(self, *args: Any, **kwargs: Any) -> None:
        """Take on work; the first that comes does not wait for the next look at how much it is."""
        await super().update_graph(*args, **kwargs)
        if len(self.tasks) == 1 and not self.workers:
            self.on_work()

    async def restart_workers(self, workers: Any = None, **kwargs: Any) -> Any:
        """Note which workers have to go because they are silent, and restart them."""
        if "ttl" in kwargs.get("stimulus_id", ""):
            self.silent |= {str(self.workers[address].name) for address in workers}
        return await super().restart_workers(workers, **kwargs)

    async def remove_worker(self, address: str, **kwargs: Any) -> Any:
        """Note which workers go by themselves, and let them go."""
        worker = self.workers.get(self.coerce_address(address))
        if worker is not None and worker.status is Status.closing_gracefully:
            self.left.add(str(worker.name))
        return await super().remove_worker(address, **kwargs)

    def was_silent(self, worker: str) -> bool:
        """Tell once whether a worker was lost because it was silent."""
        silent = worker in self.silent
        self.silent.discard(worker)
        return silent

    def seconds_since_start(self, key: str) -> float:
        """Return how long ago a calculation was handed to a worker; to be asked once."""
        now = time.monotonic()
        return now - self._starts.times.pop(key, now)

    def unfinished(self) -> int:
        """Return how many calculations run or wait."""
        return sum(
            task.state in ("waiting", "queued", "processing", "no-worker")
            for task in self.tasks.values()
        )


class WorkAdaptive(Adaptive):
    """As many workers as there are calculations; Dask goes by their durations, which vary."""

    async def target(self) -> int:
        """Return how many workers would do, those of whole jobs."""
        job = self.cluster.workers_of_job
        jobs = math.ceil(self.cluster.scheduler.unfinished() / (job * self.cluster.threads))
        return job * jobs

    async def scale_down(self, workers: Collection[str]) -> None:
        """Close jobs all of whose workers are idle; Dask would close those of any idle worker."""
        of_worker = self.cluster.job_names()
        busy = {
            of_worker.get(str(worker.name))
            for worker in self.cluster.scheduler.workers.values()
            if worker.processing or worker.has_what
        }
        jobs = {of_worker.get(worker) for worker in workers} - busy
        await super().scale_down([worker for worker, job in of_worker.items() if job in jobs])


class WorkLocalCluster(LocalCluster):
    """Worker processes on this machine."""

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = WorkScheduler  # LocalCluster takes no other way
        await super()._start()

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        if self.scheduler.was_silent(worker):
            return Cause.SILENCE, "it was not heard of for too long"
        return Cause.CRASH, "its process was killed, most often because it used too much memory"


_ALIASES = {
    "-A": "--account",
    "-c": "--cpus-per-task",
    "-J": "--job-name",
    "-n": "--ntasks",
    "-o": "--output",
    "-p": "--partition",
    "-t": "--time",
}


class SlurmJob(SLURMJob):
    """One Slurm job; its script says when it ends, and its log is one file.

    Parameters
    ----------
    job_directives_skip
        Options of dask-jobqueue's own that the script goes without, such as ``-n``: whole
        options, where dask-jobqueue skips every line that holds the text.
    submitted, refused
        Called with the job's name, and its id or Slurm's words.
    """

    def __init__(
        self,
        scheduler: Any = None,
        name: Any = None,
        *,
        job_directives_skip: Iterable[str] = (),
        job_extra_directives: Iterable[str] = (),
        submitted: Callable[[str, str], None] | None = None,
        refused: Callable[[str, str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scheduler,
            name,
            job_directives_skip=["#SBATCH -e "],  # errors go to the log, too
            **kwargs,
        )
        header: str = vars(self)["job_header"]
        lines = [
            line.replace(f"{self.job_name or 'worker'}-%J.out", "%j.log")
            for line in header.splitlines()
        ]
        options = [_option(line) for line in lines]
        for skip in job_directives_skip:
            if _option(skip) not in [*options, "--account", "--partition", "--error", "--time"]:
                raise ParameterError(
                    f"job_directives_skip: {skip!r} is no option that dask-jobqueue sets; those "
                    f"are {', '.join(options)}."
                )
        skipped = {_option(skip) for skip in job_directives_skip}
        lines = [line for line, option in zip(lines, options, strict=True) if option not in skipped]
        extra = list(job_extra_directives)
        if not any("requeue" in directive for directive in extra):
            extra.append("--no-requeue")  # a lost job is replaced at once, with a new name
        self.job_header = "\n".join([*lines, *(f"#SBATCH {directive}" for directive in extra)])
        self._submitted, self._refused = submitted, refused

    async def start(self) -> None:
        """Submit the job; a refusal is reported, not raised."""
        try:
            await super().start()
        # Raised by dask-jobqueue where sbatch fails, or is not there.
        except (RuntimeError, OSError, ValueError) as error:
            if self._refused is None:
                raise
            self._refused(str(self.name), _words(error))
            await ProcessInterface.start(self)
        else:
            if self._submitted is not None:
                self._submitted(str(self.name), self.job_id)

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()
        await ProcessInterface.close(self)


class SlurmCluster(SLURMCluster):
    """A ``SLURMCluster`` that replaces lost jobs, and says why it cannot work.

    Parameters
    ----------
    pending_timeout, worker_timeout
        See :class:`quacc.prefect.pool.Pool`.
    **kwargs
        Of ``dask_jobqueue.SLURMCluster``.
    """

    job_cls = SlurmJob

    def __init__(
        self,
        *,
        pending_timeout: float | None = None,
        worker_timeout: float = 300.0,
        log_directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        if log_directory is None:
            from quacc.settings import get_settings

            log_directory = str(get_settings().results_dir / "slurm-logs")
        self.logs = Path(log_directory).expanduser().absolute()
        self.problem: SubmissionError | None = None
        self.on_problem: Callable[[SubmissionError], None] = lambda problem: None
        self.report: Callable[[str], None] = lambda text: None
        self.job_ids: dict[str, str] = {}  # of all jobs so far, by name
        self._pool = Pool(pending_timeout, worker_timeout)
        self._states: dict[str, JobState] = {}
        self._numbers = itertools.count()
        self._looking = asyncio.Lock()
        self._trouble = False  # somebody may want to read the logs
        super().__init__(
            scheduler_cls=WorkScheduler,
            log_directory=str(self.logs),
            submitted=self._job_submitted,
            refused=self._job_refused,
            **kwargs,
        )

    @property
    def workers_of_job(self) -> int:
        """Workers that one job brings."""
        return int(self._dummy_job.worker_processes)

    @property
    def threads(self) -> int:
        """Calculations that one worker runs at a time."""
        return int(self._dummy_job.worker_process_threads)

    async def _start(self) -> None:
        await super()._start()
        self._look_often = PeriodicCallback(self._look, LOOK_EVERY * 1000)
        self._look_often.start()

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Let the number of jobs follow the work; see ``JobQueueCluster.adapt``."""
        options = {"Adaptive": WorkAdaptive, "interval": "1s", "wait_count": IDLE_FOR}
        adaptive = super().adapt(*args, **(options | kwargs))
        self.scheduler.on_work = lambda: self.loop.add_callback(adaptive.adapt)
        return adaptive

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        name = self.job_names().get(worker, worker.rsplit("-", 1)[0])
        name = worker if worker in self.job_ids else name
        job_id = self.job_ids.get(name)
        self._trouble = True
        if job_id is None:
            return Cause.OUTSIDE, "its Slurm job is unknown"
        if worker in self.scheduler.left:
            return Cause.WALLTIME, f"Slurm job {job_id} ends"
        silent = self.scheduler.was_silent(worker)
        started = time.monotonic()
        while True:
            state = await self._state(job_id)
            if state.state in ENDED | WAITING:
                break
            # A job that ends with its worker is known to do so after a second or two.
            if time.monotonic() - started > (3 if state.state == "RUNNING" else 20):
                break
            await asyncio.sleep(0.5)
        told = f"Slurm job {job_id}: {slurm.in_words(state)}"
        if state.state in ("TIMEOUT", "PREEMPTED", "DEADLINE"):
            return Cause.WALLTIME, told
        if state.state in ("FAILED", "OUT_OF_MEMORY"):
            alone = self.workers_of_job == 1
            return Cause.CRASH if alone else Cause.SHARED, told
        if silent or state.state == "COMPLETED":
            return Cause.SILENCE, f"{told}, but it was not heard of for too long"
        if state.state != "RUNNING":
            return Cause.OUTSIDE, told
        limit = self._dummy_job.worker_process_memory
        return Cause.CRASH, (
            f"its process was killed in Slurm job {job_id}, most often because it used more "
            f"than its {limit} of memory"
        )

    async def _state(self, job_id: str) -> JobState:
        try:
            found = await slurm.states([job_id])
        except OSError:  # Slurm does not answer now; what it said last must do
            return self._states.get(job_id, JobState("RUNNING"))
        return found.get(job_id, JobState("GONE"))

    def _job_submitted(self, name: str, job_id: str) -> None:
        self.job_ids[name] = job_id
        self._pool.submitted(name, job_id, time.monotonic())
        self.loop.call_later(FIRST_LOOK, self._look_now)

    def _job_refused(self, name: str, told: str) -> None:
        alive = any(job.job_id for job in self.workers.values())
        if alive or slurm.can_pass(told):
            self.report(f"Slurm does not take another job just now: {told}")
            self.loop.call_later(RETRY_AFTER, self._give_up_job, name)
            return
        field = slurm.field_to_change(told)
        change = f" Change {field} in cluster_kwargs or the site's profile." if field else ""
        self._fail(f"Slurm refused the job: {told}.{change} Nothing has been computed.")

    def _fail(self, text: str) -> None:
        self.problem = SubmissionError(text)
        self._trouble = True
        self._adaptive.stop()
        self.on_problem(self.problem)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # SpecCluster would cancel a job as soon as one of its workers goes, but a nanny starts
        # the worker again; what became of the job, only Slurm knows.
        if op == "add":
            names = self.job_names()
            for worker in msg["workers"].values():
                if name := names.get(str(worker["name"])):
                    self._pool.joined(name, time.monotonic())
        Cluster._update_worker_status(self, op, msg)
        if op == "remove":
            for delay in (1, 4):
                self.loop.call_later(delay, self._look_now)

    def _look_now(self) -> None:
        if self.status.name == "running":
            self._soon = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        async with self._looking:
            for name in self._pool.jobs.keys() - self.worker_spec.keys():
                self._pool.forget(name)  # closed, because there was no work for it
            if not self._pool.jobs:
                return
            ids = {job.id for job in self._pool.jobs.values()}
            try:
                states = await slurm.states(ids)
            except OSError as error:
                self.report(f"Slurm does not answer: {error}")
                return
        for job_id in ids:
            state = states.get(job_id, JobState("GONE"))
            if state != self._states.get(job_id):
                self._states[job_id] = state
                self.report(f"Slurm job {job_id}: {slurm.in_words(state)}")
        of_worker = self.job_names()
        connected = {
            of_worker[str(worker.name)]
            for worker in self.scheduler.workers.values()
            if str(worker.name) in of_worker
        }
        verdict = self._pool.look(time.monotonic(), states, connected)
        for name in verdict.replace:
            self._give_up_job(name)
        if verdict.unstarted:
            log = self.logs / f"{verdict.unstarted}.log"
            self._fail(
                "Slurm jobs start, but no worker connects from them. The last one's log "
                f"({log}) ends with:\n{slurm.tail(log)}"
            )
        elif verdict.waited and not self._pool.failed_starts:
            self._fail(
                f"No worker after {self._pool.pending_timeout:g} s (pending_timeout): the Slurm "
                f"job is {slurm.in_words(verdict.waited)}. Nothing has been computed."
            )

    def job_names(self) -> dict[str, str]:
        """Return the job of every worker, by name."""
        count = self.workers_of_job
        suffixes = [f"-{i}" for i in range(count)] if count > 1 else [""]
        return {f"{name}{suffix}": name for name in self.job_ids for suffix in suffixes}

    def _give_up_job(self, name: str) -> None:
        """Cancel a job and forget it; another one is submitted if there is work."""
        self._pool.forget(name)
        self.worker_spec.pop(name, None)
        job = self.workers.pop(name, None)
        if job is not None:
            self._futures.add(asyncio.ensure_future(job.close()))

    def _new_worker_name(self, worker_number: int) -> str:
        # Never one again: Dask refuses a worker whose name one has that it takes for alive.
        return f"{self._name}-{next(self._numbers)}"

    async def _close(self) -> None:
        if (often := getattr(self, "_look_often", None)) is not None:
            often.stop()
        if self.status.name in ("running", "failed"):
            async with self._lock:  # no job is just being submitted
                running = [job for job in self.workers.values() if job.job_id]
                await slurm.cancel(job.job_id for job in running)
                for job in running:
                    job.job_id = None
        await super()._close()
        if not self._trouble:  # people pay for files
            for job_id in self.job_ids.values():
                (self.logs / f"{job_id}.log").unlink(missing_ok=True)


def batch_keywords(
    cluster_class: type[JobQueueCluster], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keywords of a cluster of batch jobs: those given, and what quacc adds.

    Raises
    ------
    ParameterError
        A keyword is unknown, or required ones are missing.
    """
    _check_keywords(cluster_class, given)
    kwargs = dict(given)
    kwargs.setdefault("job_name", "quacc")
    # A calculation at a time in each process: they share no interpreter lock, and one that
    # kills its process kills nothing else.
    kwargs.setdefault("processes", kwargs["cores"])
    kwargs["worker_extra_args"] = [
        *kwargs.get("worker_extra_args", []),
        "--no-dashboard",
        "--dashboard-address",  # it listens nevertheless, and would let everybody look
        "127.0.0.1:0",
        "--preload",
        PRELOAD,
    ]
    # The scheduler runs whatever it is sent, and listens on the cluster's network.
    kwargs.setdefault("security", True)
    kwargs.setdefault("shared_temp_directory", KEYS)
    kwargs["job_script_prologue"] = [
        *kwargs.get("job_script_prologue", []),
        *_tell_end(kwargs.get("walltime"), ask_slurm=issubclass(cluster_class, SLURMCluster)),
    ]
    kwargs["scheduler_options"] = {
        "dashboard_address": "127.0.0.1:0",
        **kwargs.get("scheduler_options", {}),
    }
    return kwargs


def _tell_end(walltime: Any, *, ask_slurm: bool) -> list[str]:
    """Return shell lines that tell the workers when their job ends, and nobody else's job."""
    known = isinstance(walltime, str)
    end = f"$(( $(date +%s) + {slurm.walltime_seconds(walltime)} ))" if known else ""
    if not ask_slurm:
        return [f"export _QUACC_JOB_END={end}"]
    # Few versions of Slurm tell a job its end, which may be earlier than it was asked for.
    return [
        '_quacc_end=$(squeue -h -o %e -j "$SLURM_JOB_ID" 2> /dev/null)',
        f'export _QUACC_JOB_END=$(date +%s -d "${{_quacc_end:-none}}" 2> /dev/null || echo {end})',
    ]


def job_script(
    cluster_kwargs: Mapping[str, Any], cluster_class: type[JobQueueCluster] = SlurmCluster
) -> str:
    """Return the job script that ``make_runner`` would submit, without submitting it.

    In its last line, the scheduler's address and the worker's name are filled in for each job,
    and the paths of the run's certificates are added.
    """
    job_class: Any = cluster_class.job_cls
    kwargs = batch_keywords(cluster_class, cluster_kwargs)
    mine = {
        name for base in job_class.__mro__ if issubclass(base, Job) for name in _parameters(base)
    }
    logs = kwargs.pop("log_directory", None) or "<results_dir>/slurm-logs"
    job_kwargs = {
        name: value for name, value in kwargs.items() if name in mine and name != "security"
    }
    with tempfile.TemporaryDirectory() as existing:  # dask-jobqueue would make the folder
        job = job_class("tls://<scheduler>", name="<worker>", log_directory=existing, **job_kwargs)
        script: str = job.job_script()
    return script.replace(existing, str(logs))


def _check_keywords(cluster_class: type[JobQueueCluster], given: Mapping[str, Any]) -> None:
    known = {
        name
        for base in (*cluster_class.__mro__, *cluster_class.job_cls.__mro__)
        if issubclass(base, JobQueueCluster | Job)
        for name in _parameters(base)
    }
    known -= {"asynchronous", "loop", "scheduler", "scheduler_cls", "job_cls"}
    known -= {"submitted", "refused", "pending_timeout", "worker_timeout"}
    for name in given:
        if name not in known:
            raise ParameterError(
                f"Unknown keyword {name!r} in cluster_kwargs.{suggest(name, known)} "
                f"dask-jobqueue knows {', '.join(sorted(known))}."
            )
    missing = [name for name in ("cores", "memory") if name not in given]
    if missing:
        raise ParameterError(
            f"cluster_kwargs lacks {' and '.join(missing)}: the cores and memory of one batch "
            "job, such as 'cores': 4, 'memory': '16GB'."
        )


def _parameters(base: type) -> set[str]:
    made = vars(base).get("__init__")
    if made is None:
        return set()
    parameters = inspect.signature(made).parameters.items()
    return {name for name, one in parameters if one.kind is not one.VAR_KEYWORD} - {"self"}


def _option(line: str) -> str:
    """Return the option that a line of a job script, or a word, is about, in its long form."""
    word = line.removeprefix("#SBATCH").split()[0].split("=")[0]
    return _ALIASES.get(word, word)


def _words(error: Exception) -> str:
    """Return what sbatch said, out of dask-jobqueue's exception."""
    if isinstance(error, FileNotFoundError):
        return "there is no sbatch command here; is this a login node?"
    _, found, told = str(error).partition("stderr:\n")
    text = told if found else str(error)
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return "; ".join(line.strip() for line in lines if line.strip())
