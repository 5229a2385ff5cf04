"""Files that decide numbers, such as pseudopotentials and weights, by what is in them."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path


def content_of(file: Path) -> str:
    """Return a file's name with a hash of its content, read once as long as it stays as it is."""
    return f"{file.name}:{sha256(file)[:16]}"


def sha256(file: Path | str) -> str:
    """Return the SHA-256 of a file's content."""
    status = os.stat(file)
    return _sha256(os.fspath(file), status.st_mtime_ns, status.st_size)


@cache
def _sha256(file: str, changed: int, size: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
