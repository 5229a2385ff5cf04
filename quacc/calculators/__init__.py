"""The codes that quacc can run, by name."""

from __future__ import annotations

import importlib
import pkgutil

from quacc.calculators import codes
from quacc.calculators.code import HANDLES, Code
from quacc.errors import InputError, suggest

__all__ = ["Code", "code_names", "get_code", "handling", "wrong_command"]


def code_names() -> list[str]:
    """Return the names of all codes, usable here or not."""
    return sorted(module.name for module in pkgutil.iter_modules(codes.__path__))


def get_code(name: str) -> Code:
    """Return a code by name."""
    if name not in code_names():
        raise InputError(
            f"There is no calculator {name!r}.{suggest(name, code_names())} "
            f"quacc has {', '.join(code_names())}."
        )
    code: Code = importlib.import_module(f"quacc.calculators.codes.{name}").CODE
    return code


def handling() -> list[list[str]]:
    """Return what each code does with what a structure says: a header, and one row for each."""
    every = [get_code(name) for name in code_names()]
    return [
        ["calculator", *HANDLES],
        *([code.name, *({**HANDLES, **code.handles}[name] for name in HANDLES)] for code in every),
    ]


def wrong_command(program: str) -> str | None:
    """Return why the setting ``commands.<program>`` starts no calculator, or None if it does."""
    found = {name: get_code(name).program for name in code_names()}
    external = [each for name, one in found.items() if one for each in (name, *one.also)]
    if program.lower() in external:
        return None
    return (
        f"The setting commands.{program} names no calculator that starts a program."
        f"{suggest(program.lower(), external)} Those that do: {', '.join(external)}."
    )
