"""Check, compact and merge results databases; each is safe beside a campaign that writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms

from quacc.errors import StoreError, text_of
from quacc.locations import is_url
from quacc.store.checksum import checksum
from quacc.store.codec import POSTGRESQL, SQLITE
from quacc.store.connection import RejectedError, open_database
from quacc.store.database import Store
from quacc.store.largefiles import LargeFiles
from quacc.store.queries import by_key, fetch
from quacc.store.rows import Row, body_of, row_of

_STEP = "SELECT id, unique_id, key_value_pairs, calculator, ctime, data FROM systems"
_STEP += " WHERE id > ? ORDER BY id LIMIT ?"
_MANY = 50
"""Rows that are read, and written, at a time."""
_UNREADABLE = 1000
"""Rows in a row that cannot be read, before the rest is given up."""


class _Stored(NamedTuple):
    """One of quacc's rows."""

    key: str
    pairs: Mapping[str, Any]
    calculator: str | None
    ctime: float
    body: dict[str, Any]
    parts: set[str]
    fault: str | None
    """What is wrong with it; then the body may be empty."""


def check(store: Store) -> tuple[int, list[str]]:
    """Return how many results there are, and all that is wrong with the database."""
    problems: list[str] = []
    keys: set[str] = set()
    parts: dict[str, set[str]] = {}
    try:
        if not is_url(store._location):
            problems += _broken_pages(store)
        for row in _rows_in(store):
            keys.add(row.key)
            parts[row.key] = row.parts
            if row.fault is not None:
                problems.append(f"{row.key[:10]}: {row.fault}")
            elif (folder := row.body.get("directory")) is not None and not os.path.isdir(folder):
                problems.append(f"{row.key[:10]}: its folder {folder} is no longer there.")
    except StoreError as error:
        problems.append(str(error))
    else:
        for key, needed in parts.items():
            if missing := sorted(part[:10] for part in needed - keys):
                problems.append(f"{key[:10]}: its parts {', '.join(missing)} are not there.")
    pending = store._journal.pending()
    if pending.keys:
        files = ", ".join(map(str, pending.files))
        problems.append(
            f"{len(pending.keys)} results wait in {files}: run `quacc results recover`."
        )
    problems += [f"The journal cannot be read: {reason}." for reason in pending.unreadable]
    if pending.damaged:
        problems.append(f"{pending.damaged} bytes of the journal are no whole result.")
    return len(keys), problems


def vacuum(store: Store) -> int:
    """Remove files that no result refers to, compact an SQLite file; return the bytes freed."""
    with open_database(store._location, write=False) as database:
        if database is None:
            raise StoreError(f"There is no results database {store}.")
    freed = store._sweep()
    if not isinstance(store._location, Path):  # PostgreSQL does it by itself
        return freed
    before = store._location.stat().st_size
    with open_database(store._location, write=False) as database:
        database.connection.execute("VACUUM")
    return freed + before - store._location.stat().st_size


@dataclass
class Merged:
    """What a merge has done."""

    added: int = 0
    known: int = 0
    left_out: list[str] = field(default_factory=list)
    """The keys of the results that could not be taken, and why."""


def merge(store: Store, other: Store) -> Merged:
    """Bring the results of another database into this one.

    What is known here stays, unless it is not converged and the other one is.
    """
    if _is_same(store, other):
        raise StoreError(f"{other} is this database itself.")
    with open_database(other._location, write=False) as database:
        if database is None:
            raise StoreError(f"There is no results database {other}.")
    merged = Merged()
    if waiting := other._journal.pending().keys:
        merged.left_out.append(
            f"{len(waiting)} results wait to be stored in {other}: run "
            "`quacc results recover --store` with its name, and merge again."
        )
    form = POSTGRESQL if is_url(store._location) else SQLITE
    batch: list[Row] = []
    for row in _rows_in(other, merged.left_out):
        if row.fault is not None:
            merged.left_out.append(f"{row.key[:10]}: {row.fault}")
            continue
        try:
            new = row_of(row.body, form, row.calculator, row.pairs.get("converged"))
        except StoreError as error:
            merged.left_out.append(f"{row.key[:10]}: {error}")
            continue
        new.columns.values["ctime"] = row.ctime
        batch.append(new)
        if len(batch) == _MANY:
            _take(store, batch, merged)
            batch = []
    _take(store, batch, merged)
    return merged


def _take(store: Store, rows: list[Row], merged: Merged) -> None:
    with open_database(store._location, write=False) as database:
        keys = [row.key for row in rows]
        found = by_key(database, "unique_id", keys) if database is not None else iter(())
        known = {key for (key,) in found}
    # One that is not converged takes nobody's place.
    wanted = [row for row in rows if row.converged is not False or row.key not in known]
    try:
        added = store._write(wanted)
    except RejectedError:
        added = 0
        for row in wanted:
            try:
                added += store._write([row])
            except RejectedError as error:
                merged.left_out.append(f"{row.key[:10]}: {error}")
                merged.known -= 1
    merged.added += added
    merged.known += len(rows) - added


def _is_same(store: Store, other: Store) -> bool:
    one, two = store._location, other._location
    if isinstance(one, Path) and isinstance(two, Path) and one.exists() and two.exists():
        return one.samefile(two)
    return one == two


def _rows_in(store: Store, unreadable: list[str] | None = None) -> Iterator[_Stored]:
    """Yield quacc's rows; those that plain ASE has written are nobody's business.

    What SQLite can't read is skipped where there is a list to add that to.
    """
    files = LargeFiles(store._location)
    last, count, failed = 0, _MANY, 0
    while True:
        try:
            with open_database(store._location, write=False) as database:
                rows = fetch(database, _STEP, [last, count]) if database is not None else []
        except StoreError as error:
            if unreadable is None or failed == _UNREADABLE:
                raise
            if count == 1:  # otherwise it is any of them
                if not failed:
                    unreadable.append(f"the rows after number {last}: {error}")
                last, failed = last + 1, failed + 1
            count = 1
            continue
        if not rows:
            return
        count, failed = min(count * 2, _MANY), 0
        for number, key, pairs, calculator, ctime, data in rows:
            last = number
            if (row := _stored(key, pairs, calculator, ctime, data, files)) is not None:
                yield row


def _stored(
    key: str, stored: Any, calculator: str | None, ctime: float, data: Any, files: LargeFiles
) -> _Stored | None:
    pairs: Any = {}
    try:
        pairs = json.loads(stored)
        if "recipe" not in pairs or data is None:
            return None
        body, parts = body_of(data, files)
    except StoreError as error:
        return _Stored(key, pairs, calculator, ctime, {}, set(), f"{error}.")
    except Exception as error:  # damage can have made anything of it
        fault = f"it cannot be read ({type(error).__name__}: {text_of(error, 200)})"
        return _Stored(key, {}, calculator, ctime, {}, set(), f"{fault}.")
    if "key" not in body:
        return None
    return _Stored(key, pairs, calculator, ctime, body, parts, _fault(key, body))


def _fault(key: str, body: Mapping[str, Any]) -> str | None:
    if body.get("key") != key:
        return "it has the content of another one."
    written = body.get("provenance", {}).get("checksum")
    if written is None:
        return None
    if isinstance(body.get("atoms"), Atoms) and written == checksum(body["results"], body["atoms"]):
        return None
    return "its numbers are not those that were computed."


def _broken_pages(store: Store) -> list[str]:
    with open_database(store._location, write=False) as database:
        if database is None:
            return []
        found = [text for (text,) in fetch(database, "PRAGMA integrity_check(10)", [])]
    if found == ["ok"]:
        return []
    return [
        f"Results database {store}: {'; '.join(found)}. Move it away, and run "
        "`quacc results merge` with its new name to save what can be read."
    ]
