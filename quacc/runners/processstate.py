"""What a job leaves changed in its process is put back before the next one begins."""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

_LIMITS = (
    *(resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_CPU, resource.RLIMIT_DATA),
    *(resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_STACK),
)
_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1),
    *(signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXCPU),
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

_mine = False  # whether this process runs one job at a time, and nothing else

CHANGED = "a job changed its process for good"


def own_process() -> None:
    """Let :func:`capture` act: this process runs one job at a time, and nobody else's code."""
    global _mine
    _mine = True


def capture() -> list[Any]:
    """Return what :func:`put_back` needs, before a job; empty unless this is :func:`own_process`.

    Environment, working folder, umask, locale, limits, signal handlers, timers, ``sys.path``,
    standard streams, warning filters, logging, the garbage collector, recursion limit, and the
    numbers of threads of torch and threadpoolctl. Random numbers of Python and NumPy are seeded
    anew, so that a job which sets a seed does not decide those of the next.
    """
    if not _mine:
        return []
    random.seed(int.from_bytes(os.urandom(16)))
    np.random.seed(int.from_bytes(os.urandom(4)))  # without a number it takes 200 µs
    return [read() for _, read, _ in _STATES]


def put_back(before: list[Any]) -> str | None:
    """Put back what a job changed; return why no other job should run here, if it cannot."""
    stuck = []
    for value, (name, read, write) in zip(before, _STATES, strict=False):
        try:
            if read() != value:
                write(value)
        # Whatever the system or the job's own code raises.
        except Exception as error:
            stuck.append(f"{name} ({type(error).__name__}: {error})")
    return f"{CHANGED}: {', '.join(stuck)}" if stuck else None


def _environment() -> dict[bytes, bytes]:
    inside: dict[bytes, bytes] | None = vars(os.environb).get("_data")  # a hundred times quicker
    return dict(os.environb if inside is None else inside)


def _set_environment(value: dict[bytes, bytes]) -> None:
    for name in os.environb.keys() - value.keys():
        del os.environb[name]
    for name, text in value.items():
        if os.environb.get(name) != text:
            os.environb[name] = text


def _folder() -> str | None:
    with suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _set_folder(value: str | None) -> None:
    if value is not None:
        os.chdir(value)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_locale = partial(locale.setlocale, locale.LC_ALL)


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _set_limits(value: list[tuple[int, int]]) -> None:
    for limit, pair in zip(_LIMITS, value, strict=True):
        if resource.getrlimit(limit) != pair:
            resource.setrlimit(limit, pair)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in _SIGNALS]


def _set_handlers(value: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, value, strict=True):
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)  # in the main thread only


def _blocked() -> set[Any]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _set_blocked(value: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, value)


def _timers() -> list[bool]:
    return [signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS]


def _set_timers(value: list[bool]) -> None:
    for timer, on in zip(_TIMERS, value, strict=True):
        if not on:
            signal.setitimer(timer, 0)


def _interpreter() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        gc.isenabled(),
        gc.get_threshold(),
        socket.getdefaulttimeout(),
        threading.stack_size(),
    )


def _set_interpreter(value: tuple[Any, ...]) -> None:
    recursion, switch, collects, thresholds, timeout, stack = value
    sys.setrecursionlimit(recursion)
    sys.setswitchinterval(switch)
    (gc.enable if collects else gc.disable)()
    gc.set_threshold(*thresholds)
    socket.setdefaulttimeout(timeout)
    threading.stack_size(stack)


def _decimal() -> tuple[int, str]:
    context = decimal.getcontext()  # which a copied context of Python's shares
    return context.prec, context.rounding


def _set_decimal(value: tuple[int, str]) -> None:
    context = decimal.getcontext()
    context.prec, context.rounding = value


def _streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr


def _set_streams(value: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = value


def _path() -> list[str]:
    return list(sys.path)


def _set_path(value: list[str]) -> None:
    sys.path[:] = value


def _filters() -> list[Any]:
    return list(warnings.filters)


def _set_filters(value: list[Any]) -> None:
    warnings.resetwarnings()  # which also tells the C code
    warnings.filters[:] = value  # type: ignore[index]


def _logging() -> tuple[int, int]:
    return logging.root.level, logging.root.manager.disable


def _set_logging(value: tuple[int, int]) -> None:
    logging.root.setLevel(value[0])
    logging.disable(value[1])


def _threads() -> dict[str, int]:
    """Return the numbers of threads of libraries whose numbers Python code can set."""
    numbers: dict[str, int] = {}
    if torch := sys.modules.get("torch"):
        numbers["torch"] = torch.get_num_threads()
    if pools := sys.modules.get("threadpoolctl"):
        for one in pools.ThreadpoolController().lib_controllers:
            numbers[one.filepath] = one.num_threads
    return numbers


def _set_threads(value: dict[str, int]) -> None:
    if "torch" in value:
        sys.modules["torch"].set_num_threads(value["torch"])
    if pools := sys.modules.get("threadpoolctl"):
        for one in pools.ThreadpoolController().lib_controllers:
            if one.filepath in value and one.num_threads != value[one.filepath]:
                one.set_num_threads(value[one.filepath])


_STATES: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
    ("its environment", _environment, _set_environment),
    ("its working folder", _folder, _set_folder),
    ("its umask", _umask, os.umask),
    (
        "its locale",
        partial(locale.setlocale, locale.LC_ALL),
        partial(locale.setlocale, locale.LC_ALL),
    ),
    ("its limits", _limits, _set_limits),
    ("its signal handlers", _handlers, _set_handlers),
    ("its blocked signals", _blocked, _set_blocked),
    ("its timers", _timers, _set_timers),
    ("its interpreter", _interpreter, _set_interpreter),
    ("its decimal numbers", _decimal, _set_decimal),
    ("its streams", _streams, _set_streams),
    ("sys.path", _path, _set_path),
    ("its warnings", _filters, _set_filters),
    ("its logging", _logging, _set_logging),
    ("its threads", _threads, _set_threads),
]
