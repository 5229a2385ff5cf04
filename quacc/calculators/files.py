"""Files that decide numbers, by what is in them; and what programs have written."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path


def read(file: Path) -> str:
    """Return the text of an output; nothing where there is none."""
    return file.read_text("utf-8", "replace") if file.is_file() else ""


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
