"""Which process something belongs to, in a text that tells later whether it is gone."""

from __future__ import annotations

import os
import platform

import psutil


def signature() -> str:
    """Return host, number and birth of this process."""
    return f"{platform.node()}:{os.getpid()}:{_born(os.getpid())}"


def is_dead(text: str) -> bool:
    """Tell whether a :func:`signature` is of a process of this host that is gone."""
    host, _, rest = text.partition(":")
    pid, _, born = rest.partition(":")
    if host != platform.node() or not pid.isdigit():
        return False
    # A number is given again to other processes.
    return _born(int(pid)) != born


def _born(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return "gone"
