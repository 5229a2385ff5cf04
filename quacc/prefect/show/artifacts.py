"""Tables and pictures in the dashboard, as artifacts of the flow run."""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError

from quacc.errors import InputError, ParameterError
from quacc.prefect.show.structure import drawn

logger = logging.getLogger(__name__)

_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


def show_table(rows: Sequence[Mapping[str, Any]], *, key: str, description: str = "") -> None:
    """Show a table in the dashboard; outside a flow or task run, do nothing.

    Parameters
    ----------
    rows
        One mapping of column to value each; numbers are shown with six digits.
    key
        Names the artifact; tables of other runs with the same key are its earlier versions.
    description
        Shown above it, as Markdown.
    """
    table = [{column: _cell(value) for column, value in row.items()} for row in rows]
    _show(create_table_artifact, key, description, table=table)


def show_outcome(result: Mapping[str, Any]) -> None:
    """Show a result in the dashboard: table, figure and structure, above them what came out.

    Of a workflow of the user's own, every list of flat rows is a table.
    """
    from quacc.recipes import report

    name, more = result["name"], f"`quacc results show {result['key'][:10]}`"
    try:
        about = f"{report.summary(result)}\n\n{more}"
    except InputError:
        about = f"{name} of {result['formula']}\n\n{more}"
        for one, rows in result.items():
            if _are_flat(rows):
                show_table(rows, key=f"{name}-{one}", description=about)
    else:
        warnings = [f"**Warning:** {text}" for text in result.get("warnings", ())]
        about = "\n\n".join([about, *warnings])
        show_table(report.table(result), key=name, description=about)
        try:
            show_picture(report.plot(result), key=f"{name}-figure", description=about)
        except InputError as error:  # there is none of this result
            logger.info("%s", error)
    if len(result["atoms"]) <= _MOST_ATOMS:
        show_picture(drawn(result["atoms"]), key=f"{name}-structure", description=about)


_MOST_ATOMS = 500
"""Of a structure that is drawn; in larger ones, nobody sees anything."""


def _are_flat(rows: Any) -> bool:
    return (
        isinstance(rows, list)
        and bool(rows)
        and isinstance(rows[0], Mapping)
        and not any(isinstance(value, Mapping) for value in rows[0].values())
    )


def show_picture(picture: Any, *, key: str, description: str = "") -> None:
    """Show a picture in the dashboard; outside a flow or task run, do nothing.

    The picture itself goes to the Prefect server, so keep it below a megabyte.

    Parameters
    ----------
    picture
        A figure of matplotlib, or the path of a PNG or SVG file.
    key
        Names the artifact; pictures of other runs with the same key are its earlier versions.
    description
        Shown above it, as Markdown.

    Raises
    ------
    ParameterError
        It is neither.
    """
    if hasattr(picture, "savefig"):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png", bbox_inches="tight")
        kind, content = _KINDS[".png"], buffer.getvalue()
    elif isinstance(picture, str | Path) and Path(picture).suffix.lower() in _KINDS:
        kind, content = _KINDS[Path(picture).suffix.lower()], Path(picture).read_bytes()
    else:
        raise ParameterError(
            f"show_picture takes a figure of matplotlib, or a file whose name ends in .png or "
            f".svg, not {str(picture)[:100]!r}."
        )
    url = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    _show(create_image_artifact, key, description, image_url=url)


def artifact_key(name: str) -> str:
    """Return a name as Prefect wants the keys of artifacts: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _show(create: Callable[..., Any], key: str, description: str, **content: Any) -> None:
    try:
        get_run_context()
    except MissingContextError:
        return
    try:
        # Asynchronous flows, too, get it at once.
        create(key=artifact_key(key), description=description or None, _sync=True, **content)
    except httpx.HTTPError as error:  # the result matters more
        logger.warning("The dashboard lacks %s: %s", key, error)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value
