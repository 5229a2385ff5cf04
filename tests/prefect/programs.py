"""Scripts with a flow, run as a user runs them, and Prefect servers that can be killed."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from tests.processes import below, look_at

_SCRIPT = """
import os, subprocess, sys, threading, time
from pathlib import Path

import cloudpickle
from prefect import flow
from prefect.context import FlowRunContext

from quacc.prefect import as_flow, make_runner
from quacc.prefect.lifecycle import watch as lifecycle
from quacc.recipes.tools.verbs import submit
from quacc.recipes.emt.core import relax_job

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def external_job(structure, folder):
    process = subprocess.Popen(["sleep", "600"])
    Path(folder, f"{process.pid}.pid").touch()
    process.wait()


def campaign_flow(structure, relax=relax_job, external=external_job):
    print("run", FlowRunContext.get().flow_run.id, flush=True)
    submit(relax, structure).result()
    jobs = [submit(external, structure, folder=os.getcwd()) for _ in range(2)]
    while len(list(Path().glob("*.pid"))) < 2:
        time.sleep(0.1)
    print("started", flush=True)
    wait(jobs)


def wait(jobs):
    for job in jobs:
        job.result()


"""


class Script:
    """A Python program of a user's, in the current folder.

    By default it has ``campaign_flow``, a serial workflow that relaxes a structure, starts two
    external programs on the workers, prints "started", and waits for them.
    """

    def __init__(self, *lines: str, env: dict[str, str] | None = None) -> None:
        from prefect.settings import get_current_settings

        path = Path("flow.py")
        body = "\n".join(map(textwrap.dedent, lines))
        path.write_text(f"{_SCRIPT}if __name__ == '__main__':\n{textwrap.indent(body, '    ')}\n")
        self.log = Path("log").absolute()
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(path)],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=os.environ | settings | (env or {}),
            )
        self._seen: dict[int, psutil.Process] = {}

    def told(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the program has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.told():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < end, self.told()
            time.sleep(0.1)
        self._seen |= {process.pid: process for process in below(self.process.pid)}

    def runs(self) -> list[UUID]:
        """Return the ids of the flow runs that the program has printed, the outermost first."""
        return [UUID(line.split()[1]) for line in self.told().splitlines() if line[:4] == "run "]

    def wait(self, seconds: float) -> int:
        """Wait until the program and all that it started have ended; return its exit status."""
        end = time.monotonic() + seconds
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still there after {seconds} s:\n{self.told()}")
        pids = [int(path.stem) for path in Path().glob("*.pid")]
        started = [*self._seen.values(), *look_at(pids, lambda process: process).values()]
        _, alive = psutil.wait_procs(started, timeout=max(end - time.monotonic(), 1))
        assert alive == []
        return status

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *args: Any) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self._seen.values():
            if process.is_running():
                process.kill()


class Server:
    """A Prefect server of its own, on the loopback, that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.home = home
        home.mkdir()
        self.env = {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": "quacc:tests",
            "PREFECT_SERVER_API_AUTH_STRING": "quacc:tests",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import httpx

        from quacc.prefect.lifecycle.new_database import fill
        from quacc.prefect.lifecycle.server import _PROGRAM, _REGISTER

        fill(self.home)
        # As a run's server, it imports no collection to find kinds of blocks that are known.
        known = {_REGISTER: "0"} if (self.home / "prefect.db").exists() else {}
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # it starts again
            held.bind(("127.0.0.1", self.port))
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(held.fileno())],
                pass_fds=[held.fileno()],
                stdin=subprocess.PIPE,
                env=known | os.environ | {"PREFECT_HOME": str(self.home)} | self.env,
            )
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", auth=("quacc", "tests")).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.3)
        pytest.fail("the Prefect server does not start")

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.kill()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.communicate()

    def settings(self) -> dict[Any, str]:
        """Return the settings for ``prefect.settings.temporary_settings``."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

        return {PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: "quacc:tests"}


class Proxy:
    """Stands before a server; makes it slow, rate-limiting, broken, or gone, as the test says.

    Websockets pass through while it is not gone.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.delay = 0.0
        """Every request waits so long (s)."""
        self.limits = False
        """Every request is answered with 429."""
        self.fails: Counter[bytes] = Counter()
        """How many more requests for each path are answered with 500."""
        self.requests: Counter[str] = Counter()
        """How many were "passed" on, "refused", and "failed" so far."""
        self._port = _free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listening: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.come_back()
        return self

    def __exit__(self, *args: Any) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def settings(self) -> dict[Any, str]:
        """Return the settings for ``prefect.settings.temporary_settings``."""
        from prefect.settings import PREFECT_API_URL

        return self.server.settings() | {PREFECT_API_URL: f"http://127.0.0.1:{self._port}/api"}

    def come_back(self) -> None:
        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", self._port)

        self._listening = asyncio.run_coroutine_threadsafe(listen(), self._loop).result()

    def go_away(self) -> None:
        """Break all connections; new ones are refused."""

        async def leave() -> None:
            assert self._listening
            self._listening.close()
            for writer in self._connections:
                writer.transport.abort()
            while self._connections:
                await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(leave(), self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        self._connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
            self._connections.add(to_server)
            await asyncio.gather(
                self._pass_on(reader, writer, to_server), _pipe(from_server, writer)
            )
        for one in (writer, to_server):
            if one is not None:
                one.close()
                self._connections.discard(one)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        to_server: asyncio.StreamWriter,
    ) -> None:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in request.lower():
                to_server.write(request)
                await _pipe(reader, to_server)
                return
            if length := re.search(rb"content-length: *(\d+)", request, re.IGNORECASE):
                request += await reader.readexactly(int(length[1]))
            path = request.split(maxsplit=2)[1]
            if self.limits:
                self.requests["refused"] += 1
                writer.write(
                    b"HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
                )
            elif self.fails[path] > 0:
                self.requests["failed"] += 1
                self.fails[path] -= 1
                writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
            else:
                self.requests["passed"] += 1
                await asyncio.sleep(self.delay)
                to_server.write(request)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionError("it was closed")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def states(run: UUID, seconds: float = 60) -> tuple[str, list[str]]:
    """Return the state of a flow run, and those of its task runs, once all are final.

    The latter like "relax Cu: Completed", sorted.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    only = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    end = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while True:
            flow_run = client.read_flow_run(run)
            # Task runs are recorded some seconds later.
            task_runs = client.read_task_runs(
                flow_run_filter=only, sort=TaskRunSort.NAME_ASC, limit=200, offset=0
            )
            final = all(each.state and each.state.is_final() for each in [flow_run, *task_runs])
            if final or time.monotonic() > end:
                listed = sorted(f"{each.name}: {each.state_name}" for each in task_runs)
                return str(flow_run.state_name), listed
            time.sleep(0.5)


@contextmanager
def reporting_to(server: Server | Proxy) -> Iterator[None]:
    """Let this process use a server; Prefect would go on reporting to the one before it."""
    from prefect.settings import temporary_settings

    from quacc.prefect.lifecycle.server import drain

    drain()
    with temporary_settings(server.settings()):
        try:
            yield
        finally:
            drain()
