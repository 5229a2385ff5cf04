"""Campaigns in a notebook: work goes on in the background, and its cell shows how far it is."""

from __future__ import annotations

import contextvars
import html
import logging
import sys
import threading
import time
from typing import Any

from prefect import Flow, Task
from prefect.futures import PrefectFuture
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.task_runners import TaskRunner

from quacc.errors import ParameterError
from quacc.prefect.chunk_run import Load
from quacc.prefect.daskrunner import DaskRunner
from quacc.prefect.lifecycle.server import prefect_api

_EVERY = 1.0
"""Seconds between two looks at a campaign, in a notebook."""


def start(flow: Flow[..., Any], *args: Any, **kwargs: Any) -> Campaign:
    """Start a flow in the background, and return at once.

    In a notebook, the cell shows how far the campaign is. Stopping the cell, or the waiting in
    another one, leaves the campaign alone. When the notebook's kernel itself ends, the campaign
    ends with it; started again, it takes up what is finished and what has a checkpoint.

    Parameters
    ----------
    flow
        With a task runner of :func:`quacc.prefect.make_runner`.
    *args, **kwargs
        Of the flow.

    Raises
    ------
    ParameterError
        The flow would compute in this process.
    """
    if not isinstance(flow.task_runner, DaskRunner):
        raise ParameterError(
            f"The flow {flow.name!r} would compute in the notebook's own process. Give it "
            "workers: flow.with_options(task_runner=make_runner(site=…)); make_runner() uses the "
            "cores of this machine."
        )
    campaign = Campaign(flow, args, kwargs)
    campaign._start()
    return campaign


class Campaign:
    """A flow that runs in the background. Use :func:`start`.

    Attributes
    ----------
    submitted, ended, failed : int
        Jobs so far; those that failed have ended, too.
    message : str
        What happened last.
    """

    def __init__(self, flow: Flow[..., Any], args: Any, kwargs: Any) -> None:
        self.name = flow.name
        self.submitted = self.ended = self.failed = 0
        self.message = ""
        self._runner = _Watched(flow.task_runner, self)
        self._flow = flow.with_options(task_runner=self._runner)
        self._call = args, kwargs
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._cancelled = False
        self._began = self._ended_at = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether the campaign is over, in whatever way."""
        return self._finished.is_set()

    @property
    def state(self) -> str:
        """``running``, ``completed``, ``failed`` or ``cancelled``."""
        if not self.done:
            return "running"
        if self._error is None:
            return "completed"
        return "cancelled" if self._cancelled else "failed"

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the campaign is over, or for so long (s); return whether it is."""
        return self._finished.wait(timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the flow's result, or raise what the flow raised.

        Raises
        ------
        TimeoutError
            The campaign still runs after so long (s).
        """
        if not self.wait(timeout):
            raise TimeoutError(f"{self.name} still runs after {timeout:g} s; ask again later.")
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """End the campaign's calculations; they write checkpoints where they can."""
        if not self.done:
            self._cancelled = True
            self._runner.runner.interrupt("The campaign was cancelled before this job ended.")

    def _start(self) -> None:
        context = contextvars.copy_context()  # the settings that hold here
        # A daemon, so that the kernel can end.
        thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)
        if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
            _quieten()
            if shell.has_trait("kernel"):
                display = sys.modules["IPython"].display.display(self, display_id=True)
                threading.Thread(target=self._show, args=(display,), daemon=True).start()
        thread.start()

    def _run(self) -> None:
        args, kwargs = self._call
        try:
            with prefect_api():
                self._result = self._flow(*args, **kwargs)
        except BaseException as error:  # result() raises it
            self._error = error
            self.message = f"{type(error).__name__}: {error}"
        finally:
            self._ended_at = time.monotonic()
            self._finished.set()

    def _show(self, display: Any) -> None:
        while not self.wait(_EVERY):
            display.update(self)
        display.update(self)

    def _watch(self, future: PrefectFuture[Any], task: Task[..., Any], load: Any) -> None:
        jobs = len(load.names) if isinstance(load, Load) else 1
        with self._lock:
            self.submitted += jobs

        def end(future: PrefectFuture[Any]) -> None:
            future.wait()  # else the state would be asked from the API
            left = len(load.calls) if isinstance(load, Load) else 0  # for another task run
            with self._lock:
                self.submitted -= left
                self.ended += jobs - left
                self.message = f"{task.name} ended"
                if not future.state.is_completed():
                    self.failed += load.failed if isinstance(load, Load) else 1
                    self.message = f"{task.name}: {future.state.message}"

        future.add_done_callback(end)

    def __repr__(self) -> str:
        seconds = (self._ended_at if self.done else time.monotonic()) - self._began
        clock = time.strftime("%H:%M:%S", time.gmtime(seconds))
        failed = f", {self.failed} failed" if self.failed else ""
        lines = [
            f"{self.name}: {self.state} for {clock}"
            if not self.done
            else f"{self.name}: {self.state} after {clock}",
            f"{self.ended} of {self.submitted} jobs ended{failed}",
            *([] if self.done else [self._runner.workers()]),
            self.message[:300],
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self.ended}" max="{max(self.submitted, 1)}"></progress>'
        return f"{bar}<pre>{html.escape(repr(self))}</pre>"


class _Watched(TaskRunner[PrefectFuture[Any]]):
    """A campaign's task runner, which counts the jobs, and can be asked and stopped."""

    def __init__(self, runner: Any, campaign: Campaign) -> None:
        super().__init__()
        self.runner = runner.duplicate()
        self.campaign = campaign

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def duplicate(self) -> _Watched:
        return self  # Prefect runs a copy, which nobody could ask

    def __enter__(self) -> _Watched:
        super().__enter__()
        self.runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.runner.__exit__(*error)
        super().__exit__(*error)

    def submit(
        self, task: Task[..., Any], parameters: dict[str, Any], *args: Any, **kwargs: Any
    ) -> PrefectFuture[Any]:
        future = self.runner.submit(task, parameters, *args, **kwargs)
        self.campaign._watch(future, task, parameters.get("load"))
        return future

    def workers(self) -> str:
        """Return a line about the workers, and the Slurm jobs that they are."""
        cluster = self.runner._cluster
        if cluster is None:
            return "no workers yet"
        count = len(cluster.scheduler_info["workers"])
        jobs = [job.job_id for job in list(cluster.workers.values()) if getattr(job, "job_id", "")]
        slurm = f"Slurm jobs {', '.join(sorted(jobs))}; " if jobs else ""
        waiting = ", waiting in the queue" if jobs and not count else ""
        return f"{slurm}{count} worker{'s' * (count != 1)}{waiting}"


def _quieten() -> None:
    """Print no records of Prefect and Dask, which would pile up below the cell.

    Prefect keeps its own; what fails is shown as the campaign's message.
    """
    for handler in logging.root.handlers:
        if isinstance(handler, PrefectConsoleHandler) and _foreign not in handler.filters:
            handler.addFilter(_foreign)


def _foreign(record: logging.LogRecord) -> bool:
    return not record.name.startswith(("prefect", "distributed"))
