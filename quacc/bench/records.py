"""The records of all pairs: one file each, in the folder of the results."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from quacc.bench.record import Record
from quacc.errors import StoreError
from quacc.settings import get_settings

SCHEMA = 1


def folder() -> Path:
    """Return where the records are: ``benchmarks`` in the folder of the results."""
    return get_settings().results_dir / "benchmarks"


def keep(record: Record) -> Path:
    """Write a record, in place of the one with the same key; return its file.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    file = _file(record["key"], record["task"]["name"], record["model"]["name"])
    write(file, json.dumps(record, indent=1, allow_nan=False))
    return file


def write(file: Path, text: str) -> None:
    """Write a file here, whole or not at all; from any thread.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, "utf-8")
        os.replace(partial, file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreError(f"{file} cannot be written: {error.strerror}.") from error


def find(key: str, task: str, model: str) -> Record | None:
    """Return the record with a key, if there is one."""
    file = _file(key, task, model)
    return read(file) if file.exists() else None


def read(file: Path) -> Record:
    """Return the record of a file.

    Raises
    ------
    StoreError
        It cannot be read, or is none.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from None
    if not isinstance(found, Mapping) or not {"schema", "key", "state", "cases"} <= found.keys():
        raise StoreError(f"{file} is no record of a benchmark.")
    if found["schema"] != SCHEMA:
        raise StoreError(f"{file} is of another version of quacc: run the benchmark again.")
    return cast(Record, found)


def every(files: Iterable[Path] | None = None) -> Iterator[Record]:
    """Yield the newest record of each task and model.

    Parameters
    ----------
    files
        Records, or folders of them; None: those of the settings.

    Raises
    ------
    StoreError
        A file is not there, or is no record.
    """
    newest: dict[tuple[str, str], Record] = {}
    if files is None:
        files = [folder()] if folder().is_dir() else []
    for file in _files(files):
        record = read(file)
        pair = record["task"]["name"], record["model"]["name"]
        if pair not in newest or _when(newest[pair]) < _when(record):
            newest[pair] = record
    yield from newest.values()


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.glob("*.json")) if place.is_dir() else [place]


def _when(record: Mapping[str, Any]) -> str:
    return str(record["context"]["started"])


def _file(key: str, task: str, model: str) -> Path:
    return folder() / f"{task}.{model}.{key[:12]}.json"
