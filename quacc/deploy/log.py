"""A log that the process which writes it keeps small, whatever writes there."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

LOG = "server.log"
"""Name of the file; older ones end in .1, .2, …"""

MOST = 5_000_000
"""Bytes after which a new one begins."""

KEPT = 4
"""Files that are kept, with the one that is written to."""

_LOOK = 30.0  # s


def keep_small(log: Path) -> None:
    """Look at the log of this process now and then, for ever."""
    while True:
        rotate(log)
        time.sleep(_LOOK)


def rotate(log: Path, most: int = MOST) -> None:
    """Begin a new log where this process's standard output and error go, if this one is long."""
    if log.exists() and log.stat().st_size <= most:
        return
    for number in reversed(range(1, KEPT)):
        old = _numbered(log, number - 1)
        if old.exists():
            old.replace(_numbered(log, number))
    new = open_log(log)
    for stream in (1, 2):
        os.dup2(new, stream)
    os.close(new)


def open_log(log: Path) -> int:
    """Open a log to write to its end; return the file's number."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def last_lines(log: Path, count: int = 15) -> str:
    """Return the end of a log, without passwords of addresses."""
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - 100_000, 0))
        text = stream.read().decode(errors="replace")
    return re.sub(r"(://[^:@/\s]*:)[^@\s]*@", r"\1***@", "\n".join(text.splitlines()[-count:]))


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}") if number else log
