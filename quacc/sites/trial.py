"""One small Slurm job that tells what the nodes of a site are like."""

from __future__ import annotations

import getpass
import hmac
import json
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from quacc.cluster.pool import JobState
from quacc.cluster.slurm import in_words, walltime_seconds
from quacc.settings import get_settings
from quacc.sites import probe
from quacc.sites.findings import Finding, address, call, environment, refused
from quacc.sites.profile import Site, job_script

_LONGEST = 300
"""Walltime of the job (s): a Python on a cold file system takes its time."""

_LINGER = 20
"""How long files may take to appear on the login node after a job has ended (s)."""

_SCRIPT = """\
{header}
here={folder}
hostname > "$here/started" || exit 3
trap 'echo "$? $BASH_COMMAND" >> "$here/failed"' ERR
{prologue}
trap - ERR
touch "$here/ready"
{python} "$here/probe.py" "$here"
echo $? > "$here/status"
"""


def try_job(site: Site, wait: float) -> Iterator[Finding]:
    """Submit a small job, wait for it, and yield what it found; it is cancelled in any case."""
    name = f"quacc-doctor-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        folder = stack.enter_context(_private_folder(site.expand(site.shared)))
        results = stack.enter_context(_private_folder(str(get_settings().results_dir)))
        token, nonce = secrets.token_urlsafe(32), secrets.token_hex(16)
        host = address(site)
        port = stack.enter_context(_listening(host, token))
        (results / "nonce").write_text(nonce, "utf-8")
        questions = {
            "host": host,
            "port": port,
            "token": token,
            "nonce": nonce,
            "results": str(results),
            "logs": site.logs,
            "scratch": bool(site.scratch),
            "launcher": shlex.split(site.launcher_command())[0] if site.launcher else "",
        }
        (folder / "questions.json").write_text(json.dumps(questions), "utf-8")
        shutil.copyfile(probe.__file__, folder / "probe.py")
        (folder / "job.sh").write_text(_script(site, folder), "utf-8")
        output = str(folder / "output.txt")
        minutes = max(1, min(_LONGEST, walltime_seconds(site.walltime)) // 60)
        stack.callback(_cancel, name)
        done = call(
            *["sbatch", "--parsable", "-J", name, "-N", "1", "-t", str(minutes)],
            *["-o", output, "-e", output, str(folder / "job.sh")],
            env=environment(_script(site, folder)),
        )
        if done.returncode:
            yield refused(done)
            return
        job = done.stdout.strip().split(";")[0]
        yield from _follow(job, folder, wait)
        if (folder / "findings.json").exists():
            found = json.loads((folder / "findings.json").read_text("utf-8"))
            yield from _judge(site, found, host)


def _script(site: Site, folder: Path) -> str:
    kwargs = site.cluster_kwargs()
    lines = job_script(site).splitlines()
    return _SCRIPT.format(
        header="\n".join(line for line in lines if line.startswith("#")),
        folder=shlex.quote(str(folder)),
        prologue="\n".join(kwargs["job_script_prologue"]),
        python=kwargs.get("python", sys.executable),
    )


def _follow(job: str, folder: Path, wait: float) -> Iterator[Finding]:
    """Wait until the job has said all that it will say."""
    submitted = time.monotonic()
    shown, pause, started = "", 0.25, 0.0
    while True:
        state, reason, node = _state(job)
        now = time.monotonic()
        message = in_words(JobState(state, reason))
        if state == "UNKNOWN":
            pass
        elif state == "PENDING":
            if now - submitted > wait:
                yield Finding(
                    f"The job {job} did not start in {wait:g} s: it is {message}.",
                    False,
                    "Try later, with a longer --wait, or with another queue or qos: --set "
                    "qos=debug. It has been cancelled.",
                )
                return
            if reason != shown and reason != "None":
                shown = reason
                yield Finding(f"The job {job} is {message}.", None)
        elif not started:
            started = now
            if node:
                yield Finding(f"The job {job} started on {node} after {now - submitted:.0f} s.")
        if state == "" or (folder / "status").exists() or now - submitted > wait + 2 * _LONGEST:
            break
        time.sleep(min(pause, max(0.25, wait / 4)))
        pause = min(10, pause * 1.3)  # centres dislike those who ask often
    ended = time.monotonic()
    while not (folder / "status").exists() and time.monotonic() - ended < _LINGER:
        with suppress(OSError):
            list(folder.iterdir())  # makes a network file system look again
        if (folder / "ready").exists() or not (folder / "started").exists():
            time.sleep(0.5)
        else:
            break
    yield from _course(job, folder)


def _course(job: str, folder: Path) -> Iterator[Finding]:
    """Tell how far the job came."""
    printed = _tail(folder / "output.txt")
    if not (folder / "started").exists():
        yield Finding(
            f"The job {job} left nothing in {folder.parent}. {_end(job)}",
            False,
            "Set shared to a folder that login and compute nodes share (some nodes do not see "
            "the home folder).",
        )
        return
    yield Finding(f"The node sees {folder.parent}.")
    if (folder / "failed").exists():
        for line in (folder / "failed").read_text("utf-8", "replace").splitlines():
            status, _, command = line.partition(" ")
            yield Finding(
                f"The prologue's command `{command}` failed with status {status}.{printed}",
                False,
                "Correct it, or write `|| true` behind it if it may fail.",
            )
    if not (folder / "ready").exists():
        yield Finding(
            f"The prologue ended the job.{printed}", False, "Correct prologue: it must not exit."
        )
        return
    if not (folder / "findings.json").exists():
        status = _tail(folder / "status").removeprefix(" It printed: ") or "none: it was killed"
        yield Finding(
            f"The node's Python does not run (status {status}).{printed}",
            False,
            "Set python to one that exists on the node, or make it available in prologue.",
        )


def _judge(site: Site, found: dict[str, Any], host: str) -> Iterator[Finding]:
    """Compare what the node says with what is here."""
    yield Finding(f"The node's Python is {found['executable']}.")
    here, there = probe.versions(), found["versions"]
    remedy = (
        "Install the same there, or set python to the one that is used here if the nodes see it "
        f"({sys.executable})."
    )
    for package, version in here.items():
        if there[package].startswith("cannot"):
            yield Finding(f"On the node, {package} {there[package]}.", False, remedy)
        elif there[package] != version:
            message = f"On the node, {package} is {there[package]}, here it is {version}."
            yield Finding(message, False, remedy)
    if all(not version.startswith("cannot") for version in there.values()) and here == there:
        yield Finding("The node imports quacc, and all versions are those of this machine.")
    yield _verdict(
        found["scheduler"],
        f"The node reaches this machine at {host}.",
        f"The node cannot connect to this machine at {host}",
        "Set interface to a network that both share (`ip -brief address` lists them), or run the "
        "flow inside a job.",
    )
    yield _verdict(
        found["results"],
        "The node sees and can write results_dir.",
        "The node cannot use results_dir as this machine does",
        "Set results_dir to a folder that both share: quacc settings set results_dir …",
    )
    yield _verdict(
        found["logs"],
        "The node can write log_directory.",
        "The node cannot write log_directory",
        "Set log_directory to a folder that both share.",
    )
    if site.scratch:
        yield _verdict(
            found["scratch_problem"] if found["scratch"] else "its name is empty there",
            f"The node can write scratch {found['scratch']}.",
            f"The node cannot write scratch {found['scratch'] or site.scratch}",
            "Correct scratch.",
        )
    if site.launcher:
        program = shlex.split(site.launcher_command())[0]
        yield _verdict(
            "" if found["launcher"] else "not found there",
            f"The launcher is {found['launcher']}.",
            f"The launcher's program {program}",
            "Correct launcher, or load its module in prologue.",
        )


def _verdict(problem: str, good: str, bad: str, remedy: str) -> Finding:
    return Finding(f"{bad}: {problem}.", False, remedy) if problem else Finding(good)


@contextmanager
def _private_folder(parent: str) -> Iterator[Path]:
    Path(parent).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".quacc-doctor-", dir=parent))  # mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _listening(host: str, token: str) -> Iterator[int]:
    """Answer those who know the token, on a free port of one address."""
    server = socket.create_server((host, 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # closed
            with connection, suppress(OSError):
                connection.settimeout(5)
                said = connection.recv(200).strip()
                if hmac.compare_digest(said, token.encode()):
                    connection.sendall(b"quacc\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes accept
        server.close()
        thread.join(10)


def _state(job: str) -> tuple[str, str, str]:
    """Return the job's state, why it waits, and its node; no state when it is gone."""
    done = call("squeue", "-h", "-j", job, "-t", "PD,CF,R,S,ST", "-o", "%T|%r|%N")
    if done.returncode:
        # Unknown jobs are an error, too; a Slurm that is too busy to answer is asked again.
        gone = "Invalid job id" in done.stderr
        return ("" if gone else "UNKNOWN"), "", ""
    state, reason, node = (*done.stdout.strip().split("|"), "", "")[:3]
    return state, reason, node


def _end(job: str) -> str:
    """Return what Slurm remembers of a job's end."""
    words = call("scontrol", "show", "job", job).stdout.split()
    facts = [word for word in words if word.startswith(("JobState=", "Reason=", "ExitCode="))]
    return f"Slurm says {' '.join(facts)}." if facts else ""


def _tail(file: Path) -> str:
    try:
        lines = file.read_text("utf-8", "replace").strip().splitlines()[-3:]
    except OSError:
        return ""
    return f" It printed: {' / '.join(lines)}" if lines else ""


def _cancel(name: str) -> None:
    """Cancel by name, which works even if this process was stopped inside sbatch."""
    who = ["-n", name, "-u", getpass.getuser()]
    for _ in range(20):
        call("scancel", *who)
        if not call("squeue", "-h", *who, "-o", "%i").stdout.strip():
            return
        time.sleep(0.5)
