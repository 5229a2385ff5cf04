"""Write stored results to files of other formats."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from quacc.errors import InputError, QuaccError, StoreError

_BATCH = 200


@contextmanager
def atomically(file: Path) -> Iterator[Path]:
    """Yield a name beside ``file``; what is written there takes its place at the end."""
    partial = file.with_name(f".quacc-{os.getpid()}.tmp")  # the file's own name may be long
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        raise InputError(f"Cannot write {str(file)!r}: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def readable(key: str | None = None) -> Iterator[None]:
    """Report results that are not as they are written today.

    Somebody or a disk has changed them; or an earlier version, which had less to tell, wrote them.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, QuaccError):
            raise
        which = f"The result {key[:10]}" if key else "One of the results"
        if isinstance(error, KeyError):
            raise StoreError(
                f"{which} has no {error}: an earlier version of quacc has computed it, or it was "
                "changed. What it has stays as it is; compute it again for the rest."
            ) from error
        remedy = f" Delete it with `quacc results rm {key[:10]}`." if key else ""
        raise StoreError(
            f"{which} is damaged ({type(error).__name__}: {str(error)[:200]}).{remedy}"
        ) from error


def _results(database: Any, rows: list[Any]) -> Iterator[Any]:
    for start in range(0, len(rows), _BATCH):
        keys = [row.key for row in rows[start : start + _BATCH]]
        found = database.find(keys)
        yield from (found[key] for key in keys if key in found)


def write_xyz(file: Path, database: Any, rows: list[Any]) -> int:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    count = 0
    with file.open("w", encoding="utf-8") as stream:
        for result in _results(database, [row for row in rows if row.energy is not None]):
            atoms = result["atoms"]
            values = {n: result["results"].get(n) for n in ("energy", "forces", "stress")}
            atoms.calc = SinglePointCalculator(atoms, **values)
            atoms.info = {"key": result["key"], "recipe": result["name"]}
            write(stream, atoms, format="extxyz")
            count += 1
    return count


def summary_of(row: Any) -> dict[str, Any]:
    """Return what ``quacc results ls`` knows of a result."""
    names = ["key", "formula", "recipe", "calculator", "natoms", "energy", "converged", "created"]
    values = {name: getattr(row, name) for name in names}
    return {**values, "created": row.created.isoformat()}


def write_csv(file: Path, database: Any, rows: list[Any]) -> int:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*summary_of(rows[0])])
        writer.writeheader()
        writer.writerows(map(summary_of, rows))
    return len(rows)


def write_json(file: Path, database: Any, rows: list[Any]) -> int:
    with file.open("w", encoding="utf-8") as stream:
        return write_array(stream, _results(database, rows))


def write_array(stream: Any, results: Iterable[Any], more: Mapping[str, Any] | None = None) -> int:
    """Write results as a list in ASE's JSON; beside ``more``, as ``results``."""
    count = 0
    stream.write("" if more is None else f'{encode(dict(more))[:-1]}, "results": ')
    for result in results:
        stream.write(",\n" if count else "[")
        stream.write(encode(result))
        count += 1
    stream.write("]" if count else "[]")
    stream.write("" if more is None else "}")
    return count


def encode(value: Any) -> str:
    """Return a result in ASE's JSON."""
    from ase.constraints import FixConstraint
    from ase.io.jsonio import MyEncoder

    from quacc.constraints import describe

    class Encoder(MyEncoder):
        def default(self, obj: Any) -> Any:
            # ASE's own dictionaries of constraints leave things out.
            return describe(obj) if isinstance(obj, FixConstraint) else super().default(obj)

    text: str = Encoder().encode(value)
    return text
