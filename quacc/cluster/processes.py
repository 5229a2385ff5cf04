"""Which process something belongs to, in a text that tells later whether it is gone.

The number of a process means something only on its own machine, since its last start, within its
own container, and to a user who can see it. Where one of these differs, a process counts as
alive: to call a live one dead does harm, the other way round costs little.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path

import psutil

_TOLERANCE = 5.0  # s: a number is not given again so soon
_NONE = "none"  # this system has no such thing
_UNKNOWN = "unknown"
_PARTS = re.compile(r"(.+)_(\d+)_(\w+)_([^\W_]+)_([1-9]\d{0,9})_(\d+)", re.ASCII)
_OUTERMOST = "4026531836"  # Linux gives this number to the namespace outside all containers


def signature() -> str:
    """Return machine, user, boot, namespace, number and birth; fit for the name of a file."""
    try:
        born = _born(os.getpid())
    except psutil.Error:  # /proc of another namespace, which makes this one unknown
        born = 0.0
    return "_".join([*_here(), str(os.getpid()), f"{born:.0f}"])


def is_alive(text: str) -> bool:
    """Tell whether a :func:`signature` is of a process that certainly is there, on this machine."""
    parts = _PARTS.fullmatch(text)
    if parts is None or parts.groups()[:4] != _here() or _UNKNOWN in parts.groups():
        return False
    return not _is_gone(int(parts[5]), float(parts[6]))


def is_dead(text: str) -> bool:
    """Tell whether a :func:`signature` is of a process that certainly is gone."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return False
    machine, user, boot, namespace, number, born = parts.groups()
    here = _here()
    if (machine, user, namespace) != (here[0], here[1], here[3]) or namespace == _UNKNOWN:
        return False
    if boot != here[2]:  # a container may start anew on another machine, under its old names
        return namespace == _OUTERMOST and _NONE not in (boot, here[2])
    return _is_gone(int(number), float(born))


def _is_gone(pid: int, born: float) -> bool:
    try:
        os.kill(pid, 0)  # asks the kernel, which knows also what /proc may hide
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # another user's, if it is the same at all
    try:
        # A killed process stays in the list until its parent has asked for its end.
        is_over = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return is_over or abs(_born(pid) - born) > _TOLERANCE
    except psutil.Error:
        return False


def _born(pid: int) -> float:
    """Return when a process was born, in seconds since the boot: clocks are set now and then."""
    boot = psutil.boot_time()
    return max(psutil.Process(pid).create_time() - boot, 0.0)


def _here() -> tuple[str, str, str, str]:
    """Return machine, user, boot, and namespace of the process numbers."""
    name = re.sub(r"[^\w.-]", "-", platform.node(), flags=re.ASCII)
    identity = _read("/etc/machine-id")  # not to be shown to others
    machine = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    boot = re.sub(r"\W", "", _read("/proc/sys/kernel/random/boot_id"))[:8]
    return machine, str(os.getuid()), boot or _NONE, _namespace()


def _namespace() -> str:
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # /proc shows another namespace
            return _UNKNOWN
        return re.sub(r"\D", "", os.readlink("/proc/self/ns/pid")) or _UNKNOWN
    except OSError:
        return _UNKNOWN if platform.system() == "Linux" else _NONE


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
