"""How far a fan-out is: in a terminal, a notebook, the log, and the dashboard."""

from __future__ import annotations

import contextvars
import html
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.logging.handlers import PrefectConsoleHandler

from quacc.prefect.show.artifacts import artifact_key
from quacc.prefect.show.pace import Pace, View

logger = logging.getLogger(__name__)

# Their types leave out _sync, without which they are coroutines inside an asynchronous flow.
_create: Any = create_progress_artifact
_update: Any = update_progress_artifact

_PATIENCE = 3.0
"""Seconds to wait for the last words to be shown; what is slower is shown later, or never."""


class Progress:
    """How far a fan-out is.

    A bar in a terminal, an output of its cell in a notebook, else a line in the log now and then;
    inside a Prefect flow also a progress artifact in the dashboard. All are drawn by threads of
    their own, so that neither a slow terminal nor an API that is gone holds up the work.

    Parameters
    ----------
    name
        Of the work, such as the job's name.
    total
        Number of items; None where it is not known yet.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self._pace = Pace(total, time.monotonic())
        self._lock = threading.Lock()
        self._shown: list[_Shown] = []

    def __enter__(self) -> Progress:
        if in_notebook():
            self._show(_Notebook(self.name), every=1)
        elif sys.stderr is not None and sys.stderr.isatty():
            self._show(_Bar(self.name), every=0.5)
        else:
            self._show(_Log(self.name), every=30)
        if FlowRunContext.get():
            self._show(_Artifact(self.name), every=5, first=1)
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._pace.end(time.monotonic())
        for shown in self._shown:
            shown.over.set()
        deadline = time.monotonic() + _PATIENCE
        for shown in self._shown:
            shown.join(max(deadline - time.monotonic(), 0))

    def update(self, *, computed: int, cached: int, failed: int, total: int | None = None) -> None:
        """Tell how many items ended so far, each counted once; cheap."""
        with self._lock:
            self._pace.count(
                time.monotonic(), computed=computed, cached=cached, failed=failed, total=total
            )

    def _show(self, show: Callable[[View], None], every: float, first: float = 0) -> None:
        shown = _Shown(show, every, first, self._look)
        self._shown.append(shown)
        shown.start()

    def _look(self) -> View:
        with self._lock:
            return self._pace.view(time.monotonic())


class _Shown(threading.Thread):
    """Shows the progress after a while, then regularly, and at the end."""

    def __init__(
        self, show: Callable[[View], None], every: float, first: float, look: Callable[[], View]
    ) -> None:
        super().__init__(name=f"progress {type(show).__name__}", daemon=True)
        self.over = threading.Event()
        self._show = show
        self._every = every
        self._first = first
        self._look = look
        self._context = contextvars.copy_context()  # the flow run and its settings

    def run(self) -> None:
        self._context.run(self._loop)

    def _loop(self) -> None:
        warned = False
        self.over.wait(self._first)
        while True:
            view = self._look()
            try:
                self._show(view)
            # Of the terminal, the notebook or the API: the work matters more.
            except Exception as error:
                if not warned:
                    warned = True
                    logger.warning("Progress is not shown (%s): %s", self.name, error)
            if view.over:
                return
            self.over.wait(self._every)


def in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and shell.has_trait("kernel")


class _Notebook:
    """An output of the cell, updated in place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Any = None

    def __call__(self, view: View) -> None:
        value = "" if view.total is None and not view.over else f' value="{view.percent:.1f}"'
        text = f"{self.name}: {view.text}"
        content = {
            "text/plain": text,
            "text/html": f'<progress{value} max="100"></progress><pre>{html.escape(text)}</pre>',
        }
        if self.handle is None:
            display = sys.modules["IPython"].display.display
            self.handle = display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


class _Log:
    """A line in the log of the flow run, where something happened since the last one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0
        try:
            self.logger: Any = get_run_logger()
        except MissingContextError:
            self.logger = logger

    def __call__(self, view: View) -> None:
        if view.over or view.done != self.done:
            self.done = view.done
            self.logger.info("%s: %s", self.name, view.text)


class _Artifact:
    """A progress artifact of the flow run, which a later run of the same work adds to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.id: UUID | None = None
        self.last: View | None = None

    def __call__(self, view: View) -> None:
        if self.last and (self.last.done, self.last.over) == (view.done, view.over):
            return
        text = f"{self.name}: {view.text}"
        if self.id is None:
            key = artifact_key(f"progress {self.name}")
            self.id = _create(progress=view.percent, key=key, description=text, _sync=True)
        else:
            _update(self.id, progress=view.percent, description=text, _sync=True)
        self.last = view


class _Bar:
    """A bar on the terminal; those of fan-outs at the same time are drawn together."""

    _lock = threading.Lock()
    _bars: Any = None

    def __init__(self, name: str) -> None:
        with _Bar._lock:
            if _Bar._bars is None:
                _Bar._bars = _new_bars()
                _Bar._bars.start()
            self.bars = _Bar._bars
            self.task = self.bars.add_task(name, total=None, text="")

    def __call__(self, view: View) -> None:
        with _Bar._lock:
            total = view.done if view.over and view.total is None else view.total
            self.bars.update(
                self.task, completed=view.done, total=total, text=view.text, refresh=True
            )
            if view.over:
                self.bars.stop_task(self.task)
                if _Bar._bars is self.bars and all(task.stop_time for task in self.bars.tasks):
                    self.bars.stop()
                    _Bar._bars = None


def _new_bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    # Prefect's own console keeps its records above the bars; it knows no named styles.
    consoles = [
        handler.console
        for handler in logging.root.handlers
        if isinstance(handler, PrefectConsoleHandler) and handler.console.file is sys.stderr
    ]
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(20, "grey37", "green", "green", "green"),
        TextColumn("{task.fields[text]}", markup=False),
        console=consoles[0] if consoles else Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed would go to stderr
    )
