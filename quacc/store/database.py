"""The results database: one row per result, found by its key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from quacc.errors import StoreError
from quacc.locations import check_location, is_url, redact
from quacc.schemas import Result, SlabsResult
from quacc.store.codec import decode, to_binary, to_json
from quacc.store.connection import open_database
from quacc.store.queries import (
    SHORTEST_PREFIX,
    Summary,
    by_key,
    by_prefix,
    delete,
    fetch,
    is_converged,
    nearest,
    summaries,
    summary,
)
from quacc.store.rows import REFERENCE, Row, rows_of


class UnknownKeyError(StoreError, KeyError):
    """No result has this key."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class Store:
    """Results on disk: an SQLite file, or PostgreSQL.

    Every call opens the database anew, so that one object serves all threads. It is for the
    submitting process only and refuses to be pickled.

    Parameters
    ----------
    location : str | Path | None
        A file name ending in ``.db``, or ``postgresql://user:password@host/database``. The
        default comes from the settings. Nothing is created before the first write.
    """

    def __init__(self, location: str | Path | None = None) -> None:
        if location is None:
            from quacc.settings import get_settings

            location = get_settings().database
        try:
            self._location = check_location(location)
        except ValueError as error:
            raise StoreError(
                f"{redact(location)!r} cannot be the results database: {error}."
            ) from None

    def __repr__(self) -> str:
        return f"Store({redact(self._location)!r})"

    def __str__(self) -> str:
        return redact(self._location)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be sent to another process: workers never open the results "
            "database. Return the result, and add it to the store where the job was submitted."
        )

    def add(self, results: Iterable[Result | SlabsResult]) -> int:
        """Store results, all or none, and return how many were new.

        A known key is left alone, unless the stored result is not converged: then the new
        one takes its place and counts. Results nested in a workflow's result get rows of
        their own and count too.
        """
        return self._write([row for result in results for row in self._rows(result)])

    def check_writable(self) -> None:
        """Raise a StoreError unless results can be stored; makes the database if need be."""
        with open_database(self._location, write=True):
            pass

    def get(self, key: str) -> Any:
        """Return the result with this key; the first 6 or more of its characters will do.

        Raises
        ------
        UnknownKeyError
            No result has this key.
        StoreError
            Several results have it; or a part of a workflow's result was removed; or it is
            damaged.
        """
        key = self.resolve(key)
        found, missing = self._load([key])
        if key not in found:
            if not missing:
                raise UnknownKeyError(f"The row {key!r} in {self} was not written by quacc.")
            parts = ", ".join(part[:10] for part in sorted(missing))
            raise StoreError(
                f"The result {key[:10]} was made from {parts}, which is no longer in {self}. "
                "Run the workflow again to restore it."
            )
        return found[key]

    def find(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return those of the results that are known, by their (whole) keys.

        Raises
        ------
        StoreError
            One of them is damaged.
        """
        return self._load(keys)[0]

    def resolve(self, key: str) -> str:
        """Return the whole key that starts like this."""
        short = key.strip().lower()
        with open_database(self._location, write=False) as database:
            if database is not None:
                for whole in (key, short):
                    if by_key(database, "unique_id", [whole]):
                        return whole
                matches = by_prefix(database, short) if len(short) >= SHORTEST_PREFIX else []
                if len(matches) == 1:
                    return matches[0]
                if matches:
                    raise StoreError(
                        f"{len(matches)}{'' if len(matches) < 20 else ' or more'} results have a "
                        f"key that starts with {short!r}: {', '.join(matches)}."
                    )
                near = nearest(database, short)
            else:
                near = []
        message = f"No result has the key {key!r} in {self}."
        if len(short) < SHORTEST_PREFIX:
            message += f" Give at least {SHORTEST_PREFIX} characters."
        elif near:
            message += f" Did you mean {' or '.join(near)}?"
        else:
            message += " `quacc results ls` shows what is there."
        raise UnknownKeyError(message)

    def select(
        self,
        formula: str | None = None,
        recipe: str | None = None,
        calculator: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Summary]:
        """Return summaries of the results that match, newest first.

        Parameters
        ----------
        formula : str | None
            Reduced formula, in any order of the elements.
        since, until : datetime | None
            When the result was stored; local time if it has no time zone.
        """
        statement, values = summaries(formula, recipe, calculator, since, until, limit)
        with open_database(self._location, write=False) as database:
            # All at once, because an open cursor would keep writers waiting.
            rows = [] if database is None else fetch(database, statement, values)
        return (self._read(row[0], summary, row) for row in rows)

    def remove(self, keys: Iterable[str]) -> int:
        """Remove results by their whole keys and return how many there were."""
        wanted = list(dict.fromkeys(keys))
        with open_database(self._location, write=False) as database:
            if database is None or not wanted:
                return 0
        with open_database(self._location, write=True) as database:
            ids = [number for (number,) in by_key(database, "id", wanted)]
            delete(database, ids)
        return len(ids)

    def _rows(self, result: Mapping[str, Any]) -> list[Row]:
        def encode(body: Any) -> bytes | str:
            return to_json(body) if is_url(self._location) else to_binary(body)

        return rows_of(result, encode)

    def _write(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        from ase.db.core import now

        with open_database(self._location, write=True) as database:
            known = by_key(database, "unique_id, id, key_value_pairs", [row.key for row in rows])
            stale = {key: number for key, number, pairs in known if _is_stale(pairs)}
            settled = {key for key, _, _ in known} - stale.keys()
            new: dict[str, Row] = {}
            for row in rows:
                if row.key in settled or (row.key in new and new[row.key].converged is not False):
                    continue
                new[row.key] = row
            delete(database, [number for key, number in stale.items() if key in new])
            created = now()
            for row in new.values():
                row.ase_row.ctime = created
                database.change_count = 0  # at 5000, ASE would commit half of the batch
                database.write(row.ase_row)
        return len(new)

    def _load(self, keys: Iterable[str]) -> tuple[dict[str, Any], set[str]]:
        """Return whole results by key, and the keys that workflows among them miss."""
        wanted = list(dict.fromkeys(keys))
        bodies: dict[str, Any] = {}
        with open_database(self._location, write=False) as database:
            more = wanted if database is not None else []
            while more:
                referred: set[str] = set()
                for key, data in by_key(database, "unique_id, data", more):
                    body, parts = self._read(key, _body, data)
                    if body.get("key") == key:  # else somebody else's row
                        bodies[key] = body
                        referred |= parts
                more = sorted(referred - bodies.keys())  # of what was found just now
        found, missing = {}, set[str]()
        for key in wanted:
            if key in bodies:
                gone: set[str] = set()
                whole = _fill(bodies[key], bodies, gone)
                missing |= gone
                if not gone:
                    found[key] = whole
        return found, missing

    def _read(self, key: str, reader: Callable[[Any], Any], stored: Any) -> Any:
        try:
            return reader(stored)
        # Damage can have made anything of it, which fails in its own way.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise StoreError(
                f"The row {key[:10]} in {self} cannot be read ({reason[:200]}). If quacc wrote it, "
                f"it is damaged: delete it with `quacc results rm {key[:10]}`, and compute it "
                "again."
            ) from error


def _body(stored: Any) -> tuple[dict[str, Any], set[str]]:
    """Return the content of a ``data`` column, and the keys of the results it refers to."""
    body, parts = decode(stored), set[str]()
    _fill(body, {}, parts)
    return (body if isinstance(body, dict) else {}), parts


def _is_stale(pairs: Any) -> bool:
    """Tell whether a new result should take the place of the one with these pairs."""
    try:
        return is_converged(pairs) is False
    except (AttributeError, ValueError):  # damaged
        return True


def _fill(value: Any, bodies: Mapping[str, Any], missing: set[str]) -> Any:
    """Put results in the place of references; note those that are not among ``bodies``."""
    if isinstance(value, list):
        return [_fill(item, bodies, missing) for item in value]
    if not isinstance(value, dict):
        return value
    if REFERENCE not in value:
        return {name: _fill(item, bodies, missing) for name, item in value.items()}
    key = value[REFERENCE]
    if key not in bodies:
        missing.add(key)
        return None
    return copy.deepcopy(_fill(bodies[key], bodies, missing))  # one each, never shared
