"""Presets: keywords of calculators under a name, in YAML files that add to one another.

A preset is looked for among those that come with quacc, in the folder of the setting
``presets_dir``, which a group or a site shares, and in ``~/.config/quacc/presets``. Where several
places have it, values of the later one win.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from quacc.calculators import code_names, get_code
from quacc.errors import InputError, ParameterError, suggest
from quacc.locations import home

_SHIPPED = Path(__file__).with_name("shipped")


@dataclass(frozen=True)
class Layer:
    """What one file says."""

    name: str
    file: Path
    description: str
    values: Mapping[str, Mapping[str, Any]]
    """Keywords by calculator."""


def preset(calculator: str, *names: str) -> dict[str, Any]:
    """Return the keywords that presets give to a calculator; those named later win.

    Such as ``relax_job("Si", **preset("espresso", "insulator", "precise"))``.

    Raises
    ------
    InputError
        There is no such preset, it says nothing of this calculator, or it makes no sense.
    """
    merged: dict[str, Any] = {}
    for layer in layers(calculator, names):
        merged = merge(calculator, merged, layer.values[calculator])
    return merged


def layers(calculator: str, names: Iterable[str]) -> list[Layer]:
    """Return the files that say something of a calculator, weakest first; see :func:`preset`."""
    found: list[Layer] = []
    for name in names:
        files = [folder / f"{name}.yaml" for folder in folders()]
        every = [_read(file) for file in files if file.is_file()] if name in preset_names() else []
        if not every:
            raise InputError(
                f"There is no preset {name!r}.{suggest(str(name), preset_names())} There are "
                f"{', '.join(preset_names())}; your own are files in {folders()[-1]}."
            )
        ours = [layer for layer in every if calculator in layer.values]
        if not ours:
            known = sorted({code for layer in every for code in layer.values})
            raise InputError(
                f"The preset {name!r} says nothing of {calculator}, only of {', '.join(known)}."
            )
        for layer in ours:
            try:
                get_code(calculator).complete(layer.values[calculator])
            except InputError as error:
                raise ParameterError(f"{layer.file}: {error}") from None
        found += ours
    return found


def merge(calculator: str, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; what is above wins, but for dictionaries such as ``input_data``, which add up.

    Of keywords of which only one counts, such as ``kpts`` and ``kspacing``, it is that above.
    """
    code = get_code(calculator)
    merged = deepcopy(dict(below))
    given = {name for name, value in above.items() if value is not None}
    for group in code.either:
        if group & given:
            merged = {name: value for name, value in merged.items() if name not in group}
    for name, value in deepcopy(dict(above)).items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = code.merged(merged[name], value) if both else value
    return merged


def folders() -> list[Path]:
    """Return where presets are, weakest first."""
    from quacc.settings import get_settings

    shared = get_settings().presets_dir
    own = home() / ".config" / "quacc" / "presets"
    return [_SHIPPED, *([shared] if shared else []), own]


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted({file.stem for folder in folders() for file in folder.glob("*.yaml")})


def described() -> list[tuple[str, str, str]]:
    """Return name, calculators and description of every preset."""
    found = []
    for name in preset_names():
        files = [folder / f"{name}.yaml" for folder in folders()]
        every = [_read(file) for file in files if file.is_file()]
        codes = sorted({code for layer in every for code in layer.values})
        words = [layer.description for layer in every if layer.description]
        found.append((name, ", ".join(codes), words[-1] if words else ""))
    return found


def _read(file: Path) -> Layer:
    status = os.stat(file)
    return _parsed(file, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(100)
def _parsed(file: Path, *changed: int) -> Layer:
    from quacc.ownfiles import read_trusted
    from quacc.settings import parse

    try:
        content = parse(read_trusted(file, anyones=file.parent != folders()[-1]))
    except (OSError, ValueError) as error:
        raise InputError(f"The preset {file} cannot be read: {error}.") from None
    description = content.pop("description", "")
    for name, values in content.items():
        if name not in code_names():
            raise InputError(
                f"The preset {file} names {name!r}, which is no calculator."
                f"{suggest(str(name), code_names())}"
            )
        if not isinstance(values, Mapping):
            raise InputError(f"The preset {file} must give {name} keywords, not {values!r}.")
    return Layer(file.stem, file, str(description), content)
