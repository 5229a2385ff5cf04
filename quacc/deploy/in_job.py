"""Runs one flow run inside its Slurm job: ``python -m quacc.deploy.in_job``."""

from __future__ import annotations

import copy
import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.engine import handle_engine_signals
from prefect.exceptions import TerminationSignal
from prefect.flow_engine import load_flow, load_flow_run, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.deploy.batch_job import SITE
from quacc.deploy.follow import TIME_IS_UP
from quacc.errors import PreemptedError, TimeUpError
from quacc.prefect.internals import drive, leave_state_to_worker
from quacc.prefect.lifecycle.watch import PATIENCE
from quacc.runners import deadline

_TRIES = 9  # Prefect waits 1, 2, 4, … seconds between them: about as long as PATIENCE

_TO_STOP = 8.0
"""Seconds that calculations have for a checkpoint after a SIGTERM; less than ``follow.GRACE``."""

STOPPED: list[Exception] = []
"""Why the flow has stopped, if it has because its job has no time left."""


def main() -> None:
    """Run the flow run that the environment names."""
    try:
        _run()
    except SystemExit:
        if STOPPED:
            sys.exit(TIME_IS_UP)
        raise


def _run() -> None:
    run_id = UUID(os.environ["PREFECT__FLOW_RUN_ID"])
    # A SIGTERM stops the flow; what that means for its state, the worker decides.
    leave_state_to_worker()
    tries = max(PREFECT_CLIENT_MAX_RETRIES.value(), _TRIES)
    _wait_for_api()
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: tries}), handle_engine_signals(run_id):
        run = load_flow_run(run_id)
        if run.state and (run.state.is_final() or run.state.is_cancelling()):
            print(f"The flow run is {run.state_name}; nothing is run.")
            return
        logger = flow_run_logger(flow_run=run)
        try:
            flow = load_flow(run)
        except Exception:
            logger.exception("The flow could not be loaded")
            raise
        flow = until_time_is_up(on_the_nodes(flow))
        drive(flow, run_flow(flow, flow_run=run, error_logger=cast(logging.Logger, logger)))


def on_the_nodes(flow: Flow[..., object]) -> Flow[..., object]:
    """Return a flow of quacc's that computes on all nodes of the job; others as they are."""
    ours = sys.modules.get("quacc.prefect.flows")  # slow to import, for flows that need none of it
    if ours is None or not isinstance(flow, ours.JobFlow):
        return flow
    if isinstance(flow.task_runner, ThreadPoolTaskRunner):  # Prefect's default
        from quacc.prefect.runner import make_runner

        site = os.environ.get(SITE)
        return flow.with_options(task_runner=make_runner(site=site, inside_allocation=True))
    return flow


def until_time_is_up(flow: Flow[..., object]) -> Flow[..., object]:
    """Return a flow that does not fail because its job has no time left, but stops.

    Calculations whose steps are long stop before the flow is told to.
    """
    if flow.isasync or flow.isgenerator:
        return flow
    body = flow.fn

    @functools.wraps(body)
    def run(*args: object, **kwargs: object) -> object:
        try:
            with calculations_stop_first():
                return body(*args, **kwargs)
        except Exception as error:
            if not is_of_time(error):
                raise
            print(f"Stopped: {error}", flush=True)
            STOPPED.append(error)
            raise TerminationSignal(signal.SIGTERM) from error

    limited = copy.copy(flow)
    limited.fn = run
    return limited


@contextmanager
def calculations_stop_first() -> Iterator[None]:
    """Let a SIGTERM stop the calculations of this process, and only then what still goes on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    again = threading.Timer(_TO_STOP, os.kill, (os.getpid(), signal.SIGTERM))
    again.daemon = True
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:
            raise TerminationSignal(signal.SIGTERM)
        asked = True
        deadline.stop_soon("its batch job ends")
        again.start()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        again.cancel()
        signal.signal(signal.SIGTERM, before)


def is_of_time(error: BaseException) -> bool:
    """Return whether something was stopped because the batch job ends."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_of_time, error.exceptions))
    return isinstance(error, PreemptedError | TimeUpError)


def _wait_for_api() -> None:
    """Wait while the server is away: a job that has waited for days must not end for that."""
    end = time.monotonic() + PATIENCE
    with get_client(sync_client=True) as client:
        while (error := client.api_healthcheck()) is not None:
            if time.monotonic() > end:
                sys.exit(
                    f"The Prefect API at {PREFECT_API_URL.value()} does not answer on this node "
                    f"({error}). It must be reachable from compute nodes; docs/slurm-pool.md says "
                    "what to do where it cannot be."
                )
            print(f"Waiting for the Prefect API: {error}", flush=True)
            time.sleep(5)


if __name__ == "__main__":
    main()
