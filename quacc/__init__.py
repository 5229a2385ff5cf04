"""quacc: calculations in materials science, written once, run anywhere."""

import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def show_results(shell: Any) -> None:
    """Let IPython, and so a notebook, show the results of jobs and workflows, which are dicts.

    Other dictionaries, and those that show themselves, are shown as before. What a result looks
    like is in ``quacc.recipes.display``, which is loaded when one is shown.
    """
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    plain, html = formatters["text/plain"], formatters["text/html"]
    before = plain.lookup_by_type(dict)

    def text(value: Any, printer: Any, cycle: bool) -> None:
        form = "words" if len(printer.stack) == 1 else "one_line"  # which is for lists of results
        shown = None if cycle else _shown(value, form)
        if shown is None:
            before(value, printer, cycle)
        else:
            printer.text(shown)

    def markup(value: Any) -> str | None:
        own = getattr(type(value), "_repr_html_", None)
        return _shown(value, "markup") if own is None else own(value)

    plain.for_type(dict, text)
    html.for_type(dict, markup)


def _shown(value: dict[Any, Any], form: str) -> str | None:
    """Return a result as a function of ``quacc.recipes.display`` shows it; None if it is none."""
    if not {"name", "formula", "key", "atoms"} <= value.keys():
        return None
    try:
        shown: str | None = getattr(import_module("quacc.recipes.display"), form)(value)
    # Somebody has changed it: a dictionary can hold anything.
    except (TypeError, ValueError, LookupError, AttributeError):
        return None
    return shown


if "IPython" in sys.modules:
    show_results(getattr(sys.modules["IPython"], "get_ipython", lambda: None)())
