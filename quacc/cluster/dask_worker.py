"""``python -P -m quacc.cluster.dask_worker``: ``dask worker``, configured, in a folder of its own.

Dask would put a folder of a known name in the shared temporary folder first on ``sys.path``, and
Python (without ``-P``) the current one: whoever can write there would run code in every worker.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import dask
from distributed.cli import dask_worker

from quacc.cluster.dask_config import configure
from quacc.cluster.spawn import WorkNanny, make_scratch
from quacc.errors import SettingsError
from quacc.ownfiles import why_untrusted


def main() -> None:
    """Run ``dask worker`` with this process's options, in a private folder."""
    configure()
    _add_current_folder()
    dask_worker.Nanny = WorkNanny
    context = dask_worker.main.make_context("quacc.cluster.dask_worker", sys.argv[1:])
    try:
        folder = make_scratch(context.params["local_directory"])
    except (SettingsError, OSError) as error:
        sys.exit(f"quacc: the worker cannot start. {error}")
    context.params["local_directory"] = str(folder)
    if context.params["scheduler"].startswith("tls://"):
        dask.config.set({"distributed.worker.http.routes": []})
    try:
        dask_worker.main.invoke(context)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add_current_folder() -> None:
    """Let functions of the user's own modules be found, where these are the user's own."""
    here = Path.cwd()
    if reason := why_untrusted(here):
        print(
            f"quacc: modules in {here} are not found by workers, since somebody else may have "
            f"written them: {reason}.",
            file=sys.stderr,
        )
    else:
        sys.path.insert(0, os.fspath(here))


if __name__ == "__main__":
    main()
