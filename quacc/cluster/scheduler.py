"""A Dask scheduler that keeps calculations apart, and workers on this machine."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from typing import Any

import dask
from distributed import LocalCluster
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.cluster import Cluster
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import Scheduler, TaskState

from quacc.cluster.attempts import Cause
from quacc.cluster.deaths import LOST
from quacc.cluster.spawn import WorkNanny
from quacc.cluster.transport import Outcome

SILENT: dict[str, list[str]] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""Dashboard, metrics and the like answer everybody who can reach the loopback."""

_HEARTBEAT = 2.0
"""Seconds between two signs of life of a worker."""

_RECENT = 30.0  # seconds; later, a worker of the same name may be lost for another reason


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
        if not dask.config.get("distributed.scheduler.http.routes"):
            kwargs["dashboard"] = False
        super().__init__(*args, **kwargs)
        self._excuses: dict[str, tuple[float, str]] = {}  # when a worker was ended here, and why
        self.left: set[str] = set()  # names of workers that went because their job ends
        self.on_work: Callable[[], None] = lambda: None
        self.sinks: dict[str, Callable[[Outcome | bytes | None], None]] = {}
        """Take what workers stream of a chunk: None when it begins, then its outcomes, and what
        became of it as a whole, packed."""
        self.stream_handlers["quacc-news"] = self._take_news
        self._deaths: dict[str, str] = {}  # how worker processes ended, by the worker's name
        self.handlers["quacc_died"] = self._take_death
        self._starts = _Starts()
        self.add_plugin(self._starts)

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Let Dask's pages be seen, if there are any."""
        super().start_http_server(*args, **kwargs)
        if not dask.config.get("distributed.scheduler.http.routes"):
            self.http_server.stop()

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

    def heartbeat_worker(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Take a sign of life, and tell when the next one is due."""
        answer: dict[str, Any] = super().heartbeat_worker(*args, **kwargs)
        if "heartbeat-interval" in answer:
            answer["heartbeat-interval"] = max(answer["heartbeat-interval"], _HEARTBEAT)
        return answer

    async def restart_workers(self, workers: Any = None, **kwargs: Any) -> Any:
        """Note why workers are started anew, and do so."""
        silent = "ttl" in kwargs.get("stimulus_id", "")
        why = "it was not heard of for too long" if silent else "its worker was started anew"
        for address in workers or self.workers:
            self._excuses[str(self.workers[address].name)] = time.monotonic(), why
        return await super().restart_workers(workers, **kwargs)

    async def add_worker(self, comm: Any, **kwargs: Any) -> None:
        """Take on a worker; what excuses the loss of one does not hold for its successor."""
        self._excuses.pop(str(kwargs.get("name")), None)
        await super().add_worker(comm, **kwargs)

    async def remove_worker(self, address: str, **kwargs: Any) -> Any:
        """Note which workers go by themselves, and let them go."""
        worker = self.workers.get(self.coerce_address(address))
        if worker is not None and worker.status is Status.closing_gracefully:
            self.left.add(str(worker.name))
        return await super().remove_worker(address, **kwargs)

    def send_no_more(self, address: str) -> str | None:
        """Let a worker get no more work; return its name."""
        worker = self.workers.get(address)
        if worker is None:
            return None
        self.handle_worker_status_change("paused", worker, "quacc-retire")
        return str(worker.name)

    async def start_anew(self, address: str) -> None:
        """Start a worker anew, to stop what it runs."""
        if address in self.workers:
            await self.restart_workers(
                [address], wait_for_workers=False, stimulus_id="quacc-start-anew"
            )

    def _take_news(self, chunk: str, worker: str, news: list[dict[str, Any]]) -> None:
        if sink := self.sinks.get(chunk):
            for one in news:
                sink(Outcome(**one["outcome"]) if "outcome" in one else one.get("end"))

    async def _take_death(self, worker: str, text: str) -> None:
        self._deaths[worker] = text

    def death(self, worker: str) -> str | None:
        """Return how a worker's process ended, if its nanny has told; to be asked once."""
        return self._deaths.pop(worker, None)

    async def how_it_died(self, worker: str) -> tuple[Cause, str]:
        """Return how a worker's process ended; its nanny may need a moment to tell."""
        for _ in range(20):
            if death := self.death(worker):
                return Cause.SHARED if death.startswith(LOST) else Cause.CRASH, death
            await asyncio.sleep(0.1)
        return Cause.CRASH, "its process was killed, or ended by itself"

    def excuse(self, worker: str) -> str | None:
        """Return why this scheduler has just ended a worker; None if it has not."""
        when, why = self._excuses.get(worker, (-math.inf, ""))
        return why if time.monotonic() - when < _RECENT else None

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

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"worker_class": WorkNanny} | kwargs)

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = WorkScheduler  # LocalCluster takes no other way
        await super()._start()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # Dask gives up a worker, and replaces none, that is not back after some seconds; its
        # nanny starts it anew however long that takes, and however often it dies on the way.
        Cluster._update_worker_status(self, op, msg)

    async def retire(self, address: str) -> None:
        """Start a worker anew whose process fails whatever runs there."""
        await self.scheduler.start_anew(address)

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        if excuse := self.scheduler.excuse(worker):
            return Cause.SILENCE, excuse
        cause: tuple[Cause, str] = await self.scheduler.how_it_died(worker)
        return cause
