"""What ``quacc site doctor`` runs on a node, as a script: it tells what it finds there.

A copy of this file is started with the node's Python, which may lack quacc; so that is imported
as one of the things that are looked at.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
import tempfile

MODULES = ("quacc.cluster.transport", "dask", "distributed", "ase", "cloudpickle")


def versions() -> dict[str, str]:
    """Return the version of Python and of each package, or why it cannot be imported."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for module in MODULES:
        package = module.split(".")[0]
        try:
            __import__(module)
            found[package] = str(sys.modules[package].__version__)
        except Exception as error:  # whatever a broken installation raises is the answer
            found[package] = f"cannot be imported: {type(error).__name__}: {error}"
    return found


def folder_problem(folder: str) -> str:
    """Return why no file can be written in a folder, or nothing."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"quacc")
            stream.flush()
    except OSError as error:
        return str(error)
    return ""


def _nonce_problem(folder: str, nonce: str) -> str:
    try:
        with open(os.path.join(folder, "nonce")) as stream:
            if stream.read() != nonce:
                return f"{stream.name} holds another content there"
    except OSError as error:
        return str(error)
    return folder_problem(folder)


def _scheduler_problem(host: str, port: int, token: str) -> str:
    try:
        with socket.create_connection((host, port), timeout=20) as connection:
            connection.sendall(token.encode() + b"\n")
            answer = connection.recv(100)
    except OSError as error:
        return str(error)
    return "" if answer == b"quacc\n" else "something else answers there"


def main(folder: str) -> None:
    """Answer the questions in a folder, there."""
    with open(os.path.join(folder, "questions.json")) as stream:
        asked = json.load(stream)
    scratch = os.environ.get("QUACC_SCRATCH_DIR") if asked["scratch"] else None
    found = {
        "executable": sys.executable,
        "scheduler": _scheduler_problem(asked["host"], asked["port"], asked["token"]),
        "results": _nonce_problem(asked["results"], asked["nonce"]),
        "logs": folder_problem(asked["logs"]),
        "scratch": scratch,
        "scratch_problem": folder_problem(scratch) if scratch else "",
        "launcher": shutil.which(asked["launcher"]) if asked["launcher"] else "",
        "versions": versions(),
    }
    partial = os.path.join(folder, "findings.partial")
    with open(partial, "w") as stream:
        json.dump(found, stream)
    os.rename(partial, os.path.join(folder, "findings.json"))


if __name__ == "__main__":
    main(sys.argv[1])
