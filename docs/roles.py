"""For mkdocstrings: docstrings as it understands them."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_SEVERAL = re.compile(r"^(\w+(?:, \*{0,2}\w+)+)\n((?:[ \t]+.*\n?|\n(?=[ \t]))+)", re.MULTILINE)


class Docstrings(griffe.Extension):  # type: ignore[misc]
    """Roles such as ``:func:`quacc.local.run``` become names; parameters that share a text get one
    each, because all would be shown with the default of the first."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = _SEVERAL.sub(_each, text)


def _each(match: re.Match[str]) -> str:
    text = match[2].rstrip("\n")
    return "".join(f"{name}\n{text}\n" for name in match[1].split(", "))
