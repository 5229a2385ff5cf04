"""The results database: one row per result, found by its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from quacc.errors import StoreError
from quacc.locations import check_location, is_url, redact
from quacc.schemas import Result, SlabsResult
from quacc.store.codec import POSTGRESQL, SQLITE
from quacc.store.columns import insert
from quacc.store.connection import RejectedError, VanishedError, forget, open_database
from quacc.store.journal import Journal
from quacc.store.largefiles import LargeFiles
from quacc.store.queries import (
    SHORTEST_PREFIX,
    Summary,
    by_key,
    by_prefix,
    by_question,
    delete,
    fetch,
    files_in_use,
    files_of,
    is_converged,
    nearest,
    summaries,
    summary,
)
from quacc.store.rows import Row, body_of, fill, rows_of


class UnknownKeyError(StoreError, KeyError):
    """No result has this key."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


LATEST = "latest"
"""Stands for the key of the newest result."""


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
        self._journal = Journal(self._location)

    def __repr__(self) -> str:
        return f"Store({redact(self._location)!r})"

    def __str__(self) -> str:
        return redact(self._location)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be sent to another process: workers never open the results "
            "database. Return the result, and add it to the store where the job was submitted."
        )

    def add(self, results: Iterable[Result | SlabsResult], *, replace: bool = False) -> int:
        """Store results, all or none, and return how many were written.

        A known key is left alone, unless the stored result is not converged, or with
        ``replace``: then the new one takes its place. Results nested in a workflow's result
        get rows of their own and count too.
        """
        return self._write([row for one in results for row in self._rows(one, replace=replace)])

    def check_writable(self) -> None:
        """Raise a StoreError unless results can be stored; makes the database if need be.

        Brings in what could not be stored by runs before.
        """
        try:
            with open_database(self._location, write=True):
                pass
        except VanishedError:
            forget(self._location)
            raise
        self.bring_in()

    def bring_in(self, *, again: bool = False) -> dict[str, str]:
        """Store what is in the journal; return what the database rejects, and why.

        This costs nothing where there is no journal. ``again`` tries also what has been rejected
        before.
        """
        return self._journal.bring_in(self._write, again=again)

    def waiting(self) -> list[Path]:
        """Return the files of the journal, where results wait to be stored."""
        return self._journal.files()

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

    def find(
        self,
        keys: Iterable[str],
        *,
        on_damage: Callable[[str, StoreError], None] | None = None,
    ) -> dict[str, Any]:
        """Return those of the results that are known, by their (whole) keys.

        Parameters
        ----------
        on_damage
            Called with the key of each damaged row and what is wrong with it. The row is left
            out then, and so are workflows that refer to it.

        Raises
        ------
        StoreError
            One of them is damaged, and there is no ``on_damage``.
        """
        return self._load(keys, on_damage)[0]

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of the (whole) keys that results have."""
        with open_database(self._location, write=False) as database:
            if database is None:
                return set()
            return {key for (key,) in by_key(database, "unique_id", list(keys))}

    def asked(self, questions: Iterable[str]) -> dict[str, str]:
        """Return the keys of the workflows' results that answer questions, by these.

        See :mod:`quacc.cache.questions`.
        """
        with open_database(self._location, write=False) as database:
            return {} if database is None else by_question(database, sorted(set(questions)))

    def resolve(self, key: str) -> str:
        """Return the whole key that starts like this; that of the newest result for "latest"."""
        short = key.strip().lower()
        if short == LATEST:
            for row in self.select(limit=1):
                return row.key
            raise UnknownKeyError(f"There are no results in {self}.")
        with open_database(self._location, write=False) as database:
            if database is not None:
                for whole in (key, short):
                    if list(by_key(database, "unique_id", [whole])):
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
            names = files_of(database, ids)
            delete(database, ids)
        self._sweep(names)
        return len(ids)

    def _sweep(self, names: Set[str] | None = None) -> int:
        """Remove those of the files (or any) that no row refers to; return their bytes."""
        files = LargeFiles(self._location)
        if names is not None and not names:
            return 0
        # Nobody else can store a result, nor write its file, meanwhile.
        with open_database(self._location, write=True) as database:
            names = files.names() if names is None else names
            return files.remove(names - files_in_use(database, sorted(names)))

    def _rows(self, result: Mapping[str, Any], *, replace: bool = False) -> list[Row]:
        form = POSTGRESQL if is_url(self._location) else SQLITE
        return rows_of(result, form, replace=replace)

    def _write(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        with open_database(self._location, write=True) as database:
            keys = [row.key for row in rows]
            known = list(by_key(database, "unique_id, id, key_value_pairs", keys))
            settled = {key for key, _, pairs in known if not _is_stale(pairs)}
            new: dict[str, Row] = {}
            for row in rows:
                before = new.get(row.key)
                is_wanted = row.key not in settled if before is None else before.converged is False
                if is_wanted or row.replace:
                    new[row.key] = row
            old = [number for key, number, _ in known if key in new]
            names = files_of(database, old)
            files = LargeFiles(self._location)
            for row in new.values():
                if row.file is not None:
                    files.write(*row.file)
            delete(database, old)
            try:
                insert(database, [row.columns for row in new.values()])
            except (ValueError, TypeError, OverflowError, MemoryError) as error:
                raise RejectedError(f"Results database {self}: {error!r:.500}") from error
        self._sweep(names)
        return len(new)

    def _load(
        self,
        keys: Iterable[str],
        on_damage: Callable[[str, StoreError], None] | None = None,
    ) -> tuple[dict[str, Any], set[str]]:
        """Return whole results by key, and the keys that workflows among them miss."""
        wanted = list(dict.fromkeys(keys))
        bodies: dict[str, Any] = {}
        parts: dict[str, set[str]] = {}
        files = LargeFiles(self._location)
        with open_database(self._location, write=False) as database:
            more = wanted if database is not None else []
            while more:
                for key, data in by_key(database, "unique_id, data", more):
                    try:
                        body, parts[key] = self._read(key, partial(body_of, files=files), data)
                    except StoreError as error:
                        if on_damage is None:
                            raise
                        on_damage(key, error)
                    else:
                        if body.get("key") == key:  # else somebody else's row
                            bodies[key] = body
                referred = set().union(*(parts[key] for key in more if key in bodies))
                more = sorted(referred - bodies.keys())
        found, missing = {}, set[str]()
        for key in wanted:
            if key in bodies:
                gone: set[str] = set()
                whole = fill(bodies[key], bodies, gone) if parts[key] else bodies[key]
                missing |= gone
                if not gone:
                    found[key] = whole
        return found, missing

    def _read(self, key: str, reader: Callable[[Any], Any], stored: Any) -> Any:
        try:
            return reader(stored)
        except StoreError as error:  # of its file
            raise StoreError(
                f"The result {key[:10]} in {self} cannot be read: {error}. Put the file back, or "
                f"delete the result with `quacc results rm {key[:10]}` and compute it again."
            ) from error
        # Damage can have made anything of it, which fails in its own way.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise StoreError(
                f"The row {key[:10]} in {self} cannot be read ({reason[:200]}). If quacc wrote it, "
                f"it is damaged: delete it with `quacc results rm {key[:10]}`, and compute it "
                "again."
            ) from error


def _is_stale(pairs: Any) -> bool:
    """Tell whether a new result should take the place of the one with these pairs."""
    try:
        return is_converged(pairs) is False
    except (AttributeError, ValueError):  # damaged
        return True
