"""Reports of benchmarks: to the terminal, to Prefect, to files and to MLflow; and read again."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from quacc.bench.rows import Row, flat
from quacc.errors import InputError, MissingProgramError, StoreError, suggest

_SUFFIXES = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".db": "sqlite",
    ".sqlite": "sqlite",
}
TABLE = "benchmarks"
"""The table of an SQLite file, the artifact of Prefect, and the experiment of MLflow."""


def report(records: Iterable[Mapping[str, Any]], to: str | Path = "console:") -> None:
    """Report records: rows of ``quacc.bench``, one a metric.

    Parameters
    ----------
    records
        Of pairs, of benchmarks of one's own, or flat rows.
    to
        ``console:``; ``prefect:``, in a flow or task run, or ``prefect:NAME``, a table in the
        dashboard; a file whose name ends in .json, .ndjson, .csv, .parquet or .db, or, under any
        other name, ``json:FILE``, ``ndjson:FILE``, ``csv:FILE``, ``parquet:FILE``, ``sqlite:FILE``;
        ``mlflow:FILE.db`` or ``mlflow:URL``, one run of MLflow for each model or benchmark. NDJSON,
        SQLite and MLflow take the rows in addition to theirs; other files are replaced.

    Raises
    ------
    InputError
        There is no such report, or nothing to report.
    MissingProgramError
        It needs a package that is not installed.
    StoreError
        It cannot be written.
    """
    kind, place = _parse(to)
    rows = flat(records)
    if not rows:
        raise InputError(f"There are no records to report to {str(to)!r}.")
    for row in rows:
        for name, value in row.items():
            if not isinstance(value, str | int | float | bool | None):
                raise InputError(
                    f"Reports hold texts and numbers, but {name!r} is {type(value).__name__}."
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"Reports hold finite numbers, but {name!r} is {value}.")
    try:
        _WRITERS[kind](rows, place)
    except _failures() as error:
        raise StoreError(f"Cannot report to {str(to)!r}: {error}") from error


def read(report: str | Path) -> list[Row]:
    """Return the rows of a report in a file: JSON, NDJSON, CSV, Parquet or SQLite.

    Raises
    ------
    InputError
        There is no such file, or it is no report.
    MissingProgramError
        It needs a package that is not installed.
    """
    kind, place = _parse(report)
    if kind not in _READERS:
        raise InputError(f"{kind}: cannot be read again; these can: {', '.join(_READERS)}.")
    if not Path(place).is_file():
        raise InputError(f"There is no report {place!r}.")
    try:
        rows = _READERS[kind](Path(place))
    except (OSError, ValueError, sqlite3.Error) as error:
        raise InputError(f"{place!r} cannot be read as {kind}: {error}") from error
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and {"metric", "value"} <= row.keys() for row in rows
    ):
        raise InputError(f"{place!r} is no report: its rows have no metric and value.")
    return rows


def _parse(to: str | Path) -> tuple[str, str]:
    kind, colon, place = str(to).partition(":")
    if isinstance(to, Path) or not colon or len(kind) == 1:  # of Windows' drives
        place = str(to)
        suffix = Path(place).suffix.lower()
        if suffix not in _SUFFIXES:
            raise InputError(
                f"{place!r} does not say which report: end it in {', '.join(_SUFFIXES)}, or begin "
                f"it with {', '.join(f'{one}:' for one in _WRITERS)}."
            )
        return _SUFFIXES[suffix], place
    if kind not in _WRITERS:
        raise InputError(
            f"There is no report {kind + ':'!r}.{suggest(kind, _WRITERS)} Known: "
            f"{', '.join(f'{one}:' for one in _WRITERS)}."
        )
    if not place and kind not in ("console", "prefect"):
        raise InputError(f"{kind}: needs a file, as in {kind}:FILE.")
    return kind, place


def _console(rows: list[Row], place: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table(box=None, header_style="bold")
    for name in _columns(rows):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_text(row[name])) for name in _columns(rows)))
    console.print(table)


_ASIDE = {
    "traceback",
    "key",
    "parameters",
    "ase",
    "python",
    "cpu",
    "cores",
    "started",
    "low",
    "high",
}


def _columns(rows: list[Row]) -> list[str]:
    """Return the columns that people look at: those that say anything, without the context."""
    aside = _ASIDE | {"quacc", "gpu", "load", "git", "folder_git", "better"}
    return [
        name
        for name in rows[0]
        if name not in aside and any(row[name] not in (None, "") for row in rows)
    ]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _prefect(rows: list[Row], place: str) -> None:
    from prefect.context import get_run_context
    from prefect.exceptions import MissingContextError

    from quacc.prefect.show.artifacts import show_table

    try:
        get_run_context()
    except MissingContextError:
        raise InputError("prefect: reports from inside a flow or a task run only.") from None
    shown = [{name: row[name] for name in _columns(rows)} for row in rows]
    show_table(shown, key=place or TABLE, description="Benchmarks")


def _json(rows: list[Row], place: str) -> None:
    _replace(Path(place), json.dumps(rows, indent=1, ensure_ascii=False).encode())


def _ndjson(rows: list[Row], place: str) -> None:
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    with open(place, "ab", buffering=0) as stream:  # one write, which no other process divides
        stream.write(lines.encode())


def _csv(rows: list[Row], place: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    _replace(Path(place), stream.getvalue().encode())


def _parquet(rows: list[Row], place: str) -> None:
    arrow, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    arrays, fields = [], []
    for name in rows[0]:
        values = [row[name] for row in rows]
        kinds = {type(one) for one in values if one is not None}
        mixed = len(kinds) > 1 and not kinds <= {int, float}
        if mixed:  # a column has one type
            values = [None if one is None else json.dumps(one) for one in values]
        elif float in kinds:
            values = [None if one is None else float(one) for one in values]
        arrays.append(arrow.array(values))
        fields.append(arrow.field(name, arrays[-1].type, metadata=_AS_JSON if mixed else None))
    sink = io.BytesIO()
    parquet.write_table(arrow.table(arrays, schema=arrow.schema(fields)), sink)
    _replace(Path(place), sink.getvalue())


_AS_JSON = {"quacc": "json"}


def _sqlite(rows: list[Row], place: str) -> None:
    with closing(sqlite3.connect(place, timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # all rows or none
        there = [name for _, name, *_ in database.execute(f"PRAGMA table_info({TABLE})")]
        if not there:
            database.execute(f"CREATE TABLE {TABLE} ({', '.join(map(_quoted, rows[0]))})")
        for name in rows[0]:
            if there and name not in there:
                database.execute(f"ALTER TABLE {TABLE} ADD COLUMN {_quoted(name)}")
        names, marks = ", ".join(map(_quoted, rows[0])), ", ".join("?" * len(rows[0]))
        database.executemany(
            f"INSERT INTO {TABLE} ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows]
        )
        database.execute("COMMIT")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _mlflow(rows: list[Row], place: str) -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports to its makers
    client_of = _package("mlflow.tracking").MlflowClient
    entities = _package("mlflow.entities")
    uri = place if "://" in place else f"sqlite:///{Path(place).absolute()}"
    client = client_of(tracking_uri=uri)
    known = client.get_experiment_by_name(TABLE)
    experiment = known.experiment_id if known else client.create_experiment(TABLE)
    now = int(time.time() * 1000)
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(str(row.get("model") or row.get("benchmark")), []).append(row)
    for name, own in runs.items():
        run = client.create_run(experiment, run_name=name).info.run_id
        metrics, tags = [], []
        for row in own:
            metric = _plain(".".join(str(one) for one in (row.get("task"), row["metric"]) if one))
            if _is_number(row["value"]):
                metrics.append(entities.Metric(metric, float(row["value"]), now, 0))
            for column in ("n", "of", "seconds"):
                if _is_number(row.get(column)):
                    metrics.append(entities.Metric(f"{metric}.{column}", row[column], now, 0))
            for column in ("state", "reason", "error", "unit", "key"):
                if row.get(column):
                    tags.append(entities.RunTag(f"{metric}.{column}", str(row[column])[:5000]))
        for column in ("tags", "parameters", "quacc", "git", "folder_git", "cpu", "gpu"):
            if own[0].get(column):
                tags.append(entities.RunTag(column, str(own[0][column])[:5000]))
        client.log_batch(run, metrics=metrics, tags=tags)
        failed = any(row.get("error") or row.get("state") == "failed" for row in own)
        client.set_terminated(run, "FAILED" if failed else "FINISHED")


def _failures() -> tuple[type[Exception], ...]:
    """Return what writing raises, of packages that have been imported."""
    named = (("mlflow.exceptions", "MlflowException"), ("sqlalchemy.exc", "SQLAlchemyError"))
    found = [getattr(sys.modules[module], name) for module, name in named if module in sys.modules]
    return (OSError, sqlite3.Error, *found)


def _plain(name: str) -> str:
    """Return a name as MLflow takes it."""
    return "".join(
        one if one.isascii() and (one.isalnum() or one in "_-. /") else "-" for one in name
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, file)
    finally:
        with suppress(OSError):
            partial.unlink()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingProgramError(
            f"This report needs the package {name.partition('.')[0]}, which cannot be imported "
            f"({error}). Install it with: pip install 'quacc[bench]'"
        ) from error


def _read_ndjson(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


def _read_csv(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            {name: _value(text) if name in _NUMBERS else text or None for name, text in row.items()}
            for row in csv.DictReader(stream)
        ]


_NUMBERS = {"value", "low", "high", "n", "of", "seconds", "load", "cores"}


def _value(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return {"": None, "True": True, "False": False}.get(text, text)


def _read_parquet(file: Path) -> list[Row]:
    table = _package("pyarrow.parquet").read_table(file)
    coded = [one.name for one in table.schema if (one.metadata or {}).get(b"quacc") == b"json"]
    rows: list[Row] = table.to_pylist()
    return [
        row | {name: json.loads(row[name]) for name in coded if row[name] is not None}
        for row in rows
    ]


def _read_sqlite(file: Path) -> list[Row]:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {TABLE}")]


_WRITERS: dict[str, Callable[[list[Row], str], None]] = {
    "console": _console,
    "prefect": _prefect,
    "json": _json,
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
    "sqlite": _sqlite,
    "mlflow": _mlflow,
}
_READERS: dict[str, Callable[[Path], list[Row]]] = {
    "json": lambda file: json.loads(file.read_text("utf-8")),
    "ndjson": _read_ndjson,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "sqlite": _read_sqlite,
}
