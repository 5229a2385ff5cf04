"""An RO-Crate 1.1 around published results: https://w3id.org/ro/crate/1.1, and its README."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import quacc
from quacc.errors import InputError
from quacc.recipes import report

METADATA = "ro-crate-metadata.json"
_CONTENTS = {
    "results.json": "All results, complete, in the JSON of ASE; `units` says the units.",
    "results.db": "The same as a database of ASE, which quacc and `ase db` open.",
    "structures.extxyz": "Final structures of all calculations with energy (eV), forces (eV/Å) "
    "and stress (eV/Å³).",
    "structures": "Each final structure as extXYZ, crystals as CIF, too.",
    "files": "Inputs and outputs of the codes, a folder for each calculation.",
    "figures": "Figures of the results.",
    "citations.bib": "What to cite: methods, codes, programs.",
}
_KINDS = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".bib": "application/x-bibtex",
    ".cif": "chemical/x-cif",
    ".extxyz": "chemical/x-xyz",
    ".db": "application/vnd.sqlite3",
    ".pdf": "application/pdf",
    ".gz": "application/gzip",
}
_ORCID = re.compile(r"(?:https://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def readme(
    folder: Path, chosen: Sequence[Mapping[str, Any]], title: str, left: Sequence[str]
) -> str:
    """Return what a person reads first: table, contents, how to compute it again."""
    rows = ["| result | energy (eV) | recipe | calculator | key |", "|---|---|---|---|---|"]
    for one in chosen:
        calculators = one.get("calculators") or [one["calculator"]]
        codes = ", ".join(code["fingerprint"] for code in calculators)
        energy = one.get("results", {}).get("energy")
        cells = (
            report.title(one),
            "–" if energy is None else f"{energy:.6f}",
            one["name"],
            codes,
            f"`{one['key'][:16]}`",
        )
        rows.append(f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |")
    there = [name for name in _CONTENTS if (folder / name).exists()]
    contents = [f"- `{name}`: {_CONTENTS[name]}" for name in there]
    key = chosen[0]["key"][:16]
    return "\n".join(
        [
            f"# {title}",
            "",
            *rows,
            "",
            "## Contents",
            "",
            *contents,
            *([] if not left else ["", "Not here:", "", *(f"- {line}" for line in left)]),
            "",
            "## Compute it again",
            "",
            f"With quacc {quacc.__version__} and the calculators above, in this folder:",
            "",
            "```console",
            f"$ quacc results reproduce {key} --store results.db",
            "```",
            "",
        ]
    )


def describe_folder(
    folder: Path,
    chosen: Sequence[Mapping[str, Any]],
    parts: Sequence[Mapping[str, Any]],
    title: str,
    people: Sequence[Mapping[str, Any]],
    right: Mapping[str, Any],
) -> None:
    """Write the metadata of all files in a folder; people and licence as below."""
    files = [_file(one, folder) for one in sorted(folder.rglob("*")) if one.is_file()]
    programs = _programs([*chosen, *parts])
    actions = [_action(one, files) for one in parts if "provenance" in one]
    actions += [_action(one, files) for one in chosen if "provenance" in one]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": f"Results of atomistic calculations: {title}",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "license": {"@id": right["@id"]},
        "hasPart": [{"@id": one["@id"]} for one in files],
        "mentions": [{"@id": one["@id"]} for one in actions],
        **({"author": [{"@id": one["@id"]} for one in people]} if people else {}),
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    graph = [descriptor, root, right, *people, *programs, *actions, *files]
    text = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    (folder / METADATA).write_text(
        json.dumps(text, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


def _file(path: Path, folder: Path) -> dict[str, Any]:
    from urllib.parse import quote

    name = path.relative_to(folder).as_posix()
    with path.open("rb") as stream:
        digest = sha256()
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {
        "@id": quote(name),
        "@type": "File",
        "name": path.name,
        "description": _CONTENTS.get(name.partition("/")[0], "What is in this folder."),
        "encodingFormat": _KINDS.get(path.suffix.lower(), "text/plain"),
        "contentSize": str(path.stat().st_size),
        "sha256": digest.hexdigest(),
    }


def licence(name: str) -> dict[str, Any]:
    """Return a licence by its name.

    Raises
    ------
    InputError
        It looks like no name of SPDX's.
    """
    if not _SPDX.fullmatch(name):
        raise InputError(
            f"--license {name!r} is no name of a licence. Take one of those on "
            "https://spdx.org/licenses, such as CC-BY-4.0."
        )
    return {
        "@id": f"https://spdx.org/licenses/{name}",
        "@type": "CreativeWork",
        "name": name,
        "description": f"Licensed as {name}.",
    }


def person(text: str) -> dict[str, Any]:
    """Return an author, such as "Ann Lee" or "Ann Lee, 0000-0002-1825-0097".

    Raises
    ------
    InputError
        There is no name.
    """
    found = _ORCID.search(text)
    name = (text[: found.start()] if found else text).strip(" ,<(")
    if not name:
        raise InputError(f"--author {text!r} has no name: write 'Ann Lee, 0000-0002-1825-0097'.")
    anchor = f"https://orcid.org/{found[1]}" if found else f"#{re.sub(r'[^a-zA-Z0-9]+', '-', name)}"
    return {"@id": anchor, "@type": "Person", "name": name}


def _programs(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in results:
        for name, version in _versions(one).items():
            anchor = _anchor(name, version)
            found[anchor] = {
                "@id": anchor,
                "@type": "SoftwareApplication",
                "name": name,
                "version": version,
            }
    return list(found.values())


def _versions(result: Mapping[str, Any]) -> dict[str, str]:
    provenance = result.get("provenance", {})
    named = {name: provenance[name] for name in ("quacc", "ase", "python") if name in provenance}
    if calculator := result.get("calculator"):
        named[f"calculator {calculator['name']}"] = calculator["fingerprint"]
    return named


def _anchor(name: str, version: str) -> str:
    return f"#{re.sub(r'[^a-zA-Z0-9.]+', '-', f'{name}-{version}')}"


def _action(result: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how a job's files came about."""
    short = result["key"][:16]
    return {
        "@id": f"#{result['key']}",
        "@type": "CreateAction",
        "name": f"{result['name']} of {result['formula']}",
        "startTime": result["provenance"].get("started"),
        "instrument": [{"@id": _anchor(*pair)} for pair in _versions(result).items()],
        "result": [{"@id": one["@id"]} for one in files if short in one["@id"]],
    }
