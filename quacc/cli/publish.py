"""``quacc results publish``: the data folder of a paper, as an RO-Crate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from quacc.cli.upkeep import StoreOption
from quacc.errors import InputError

UNITS = {
    "energy": "eV",
    "free_energy": "eV",
    "energies": "eV",
    "positions": "Å",
    "cell": "Å",
    "forces": "eV/Å",
    "fmax": "eV/Å",
    "stress": "eV/Å³, Voigt order xx yy zz yz xz xy; positive where tensile",
    "magmoms": "Bohr magnetons",
    "magmom": "Bohr magnetons",
    "charges": "e",
    "dipole": "e Å",
    "hessian": "eV/Å²",
    "frequencies": "1/cm of molecules' vibrations, THz of phonons",
    "time": "fs",
    "temperature": "K",
    "wall_seconds": "s",
    "cpu_seconds": "s",
}
"""Of what jobs compute; the results of workflows name the units of their own properties."""

_LARGEST = 50 * 1024**2
"""Bytes of a code's file that is published; larger ones are densities and wave functions."""
_LICENSED = ("POTCAR",)
"""Beginnings of names of files that may not be passed on."""


def publish(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="As in `show`, or latest.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    title: Annotated[str, typer.Option(help="Of the data set, as of the paper.")] = "",
    author: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help='May be repeated; an ORCID may follow: "Ann Lee, 0000-…".'
        ),
    ] = None,
    license_name: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="Name of the licence, as of SPDX.")
    ] = "CC-BY-4.0",
    store: StoreOption = None,
) -> None:
    """Write results, and all that they were made from, to a new folder for a data repository.

    Structures (extXYZ, CIF), numbers with units (JSON), the codes' own files where they were kept,
    figures, citations and a table, described as an RO-Crate 1.1.
    """
    from quacc.cli.crate import licence, person
    from quacc.cli.exports import readable
    from quacc.store import Store

    right, people = licence(license_name), [person(one) for one in author or []]
    database = Store(store)
    chosen = [database.get(key) for key in dict.fromkeys(map(database.resolve, keys))]
    parts = _closure(database, chosen)
    with _new(folder) as partial, readable():
        left = _write(partial, chosen, parts, title, people, right)
    typer.echo(f"Wrote {len(chosen)} results, made from {len(parts)} others, to {folder}.")
    for line in left:
        typer.echo(line)
    typer.echo(f"It is licensed as {license_name}; --license, --title and --author say more of it.")


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """Yield a folder beside one that does not exist; at the end, it takes its name."""
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{str(folder)!r} exists; name a folder that does not.")
    partial = folder.absolute().with_name(f".quacc-{os.getpid()}.tmp")
    try:
        partial.mkdir()
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"Cannot write {str(folder)!r}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _closure(database: Any, chosen: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what results were made from, and so on, each once."""
    own = {one["key"]: one for one in chosen}
    seen, more = dict(own), list(chosen)
    while more:
        wanted = {key for one in more for key in one.get("jobs", [])} - seen.keys()
        found = database.find(sorted(wanted))
        seen |= found
        more = list(found.values())
    return [one for key, one in seen.items() if key not in own]


def _write(
    folder: Path,
    chosen: Sequence[Mapping[str, Any]],
    parts: Sequence[Mapping[str, Any]],
    title: str,
    people: Sequence[Mapping[str, Any]],
    right: Mapping[str, Any],
) -> list[str]:
    """Write all files; return what was left out, for people."""
    from ase.io import write

    from quacc.cli.crate import describe_folder, readme
    from quacc.cli.exports import write_array, write_xyz
    from quacc.recipes import report
    from quacc.store import Store

    places: dict[str, str] = {}
    left: list[str] = []
    for one in [*chosen, *parts]:
        if one.get("directory"):
            places[one["key"]] = f"files/{one['key'][:16]}"
            left += _copy(Path(one["directory"]), folder / places[one["key"]])
    everything = [_here(one, places) for one in [*parts, *chosen]]
    copies = Store(folder / "results.db")
    copies.add(everything)
    write_xyz(folder / "structures.extxyz", copies, list(copies.select()))
    (folder / "structures").mkdir()
    for one in everything:
        name = f"{one['formula']}-{one['name']}-{one['key'][:16]}"
        atoms = one["atoms"]
        write(folder / "structures" / f"{name}.extxyz", atoms, format="extxyz")
        if atoms.pbc.all():
            write(folder / "structures" / f"{name}.cif", atoms, format="cif")
        if one["key"] in {whole["key"] for whole in chosen} and report.has_figure(one):
            (folder / "figures").mkdir(exist_ok=True)
            with suppress(InputError):  # there is nothing to draw
                report.plot(one, folder / "figures" / f"{name}.pdf")
    with (folder / "results.json").open("w", encoding="utf-8") as stream:
        write_array(stream, everything, {"units": UNITS})
    bib = "\n\n".join(report.citations(one).strip() for one in everything)
    entries = dict.fromkeys(bib.split("\n\n"))
    (folder / "citations.bib").write_text("\n\n".join(entries) + "\n", encoding="utf-8")
    title = title or "; ".join(dict.fromkeys(map(report.title, chosen)))[:200]
    (folder / "README.md").write_text(readme(folder, chosen, title, left), encoding="utf-8")
    describe_folder(folder, chosen, parts, title, people, right)
    return left


def _here(value: Any, places: Mapping[str, str]) -> Any:
    """Return a result whose files, and those of its parts, are in the folder, or nowhere."""
    if isinstance(value, Mapping):
        copied = {name: _here(one, places) for name, one in value.items()}
        if "directory" in copied and "key" in copied:
            copied["directory"] = places.get(copied["key"])
        return copied
    return [_here(one, places) for one in value] if isinstance(value, list) else value


def _copy(source: Path, target: Path) -> Iterable[str]:
    """Copy a code's files; return what was left out."""
    if not source.is_dir():
        return [f"The folder {source.name} is gone, so the files of a calculation are missing."]
    left = []
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source)
        if file.is_symlink() or not file.is_file():
            continue
        if file.name.startswith(_LICENSED):
            left.append(f"Left out {source.name}/{name}, whose licence does not let it be shared.")
        elif file.stat().st_size > _LARGEST:
            left.append(f"Left out {source.name}/{name}, which has more than 50 MB.")
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / name)
    return left
