"""The measurements: what is run, in which order, and what is kept of it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fanout_parts.arena import Arena, say
from fanout_parts.contestants import CONTESTANTS
from fanout_parts.killed import killed
from fanout_parts.server import running_server
from fanout_parts.sizes import Sizes

CHUNKS = (1, 4, 16, 64)
"""Of the bare pool; the quickest is taken."""
OURS = ("bare_ase", "bare_quacc", "fan_out")
PEERS = tuple(name for name in CONTESTANTS if name not in OURS)
WHOLE = (*OURS, "executorlib")
"""Those that compute all items: too near to each other for an estimate from fewer."""


def measure(
    parts: Iterable[str], sizes: Sizes, workdir: Path, scratch: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the versions of all programs, and the results of the parts that are asked for."""
    arena = Arena(workdir, scratch)
    parts = set(parts)
    results: dict[str, Any] = {}
    if parts & {"W1", "W3"}:
        results |= relaxations(arena, sizes, PEERS if "W1" in parts else ())
        say(f"So far: {results}")
    if parts & {"W2", "W5"}:
        results |= short_items(arena, sizes, parts)
        say(f"So far: {results}")
    if "records" in parts:
        results["records"] = records(arena, sizes)
        say(f"So far: {results}")
    if "W4" in parts:
        results["W4"] = killed(arena, sizes)
    versions = {
        name: environment.versions()
        for name, environment in arena.environments.items()
        if not environment.failure
    }
    return versions, {name: result for name, result in results.items() if name in parts}


def relaxations(arena: Arena, sizes: Sizes, peers: Iterable[str]) -> dict[str, Any]:
    """W1 and W3: relaxations, by everybody; and once more, by fan_out, when all is stored."""
    chunk = best_chunk(arena, "relax", sizes.tuning)
    seconds: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for name in peers:  # before the clock matters
        arena.environment(name)
    for number in range(sizes.rounds):
        order = [*OURS, *peers]
        with running_server(arena.scratch) as server:
            energies: dict[str, list[float]] = {}
            for name in order if number % 2 else reversed(order):
                if name in failed:
                    continue
                say(f"W1, {number + 1} of {sizes.rounds}: {name}")
                if name in WHOLE:
                    results = Path(tempfile.mkdtemp(dir=arena.scratch))
                    options: dict[str, Any] = {
                        "job": "relax",
                        "items": sizes.relax,
                        "results": results,
                    }
                    start = arena.must if name in OURS else arena.run
                    outcome = start(name, server, chunk=chunk, **options)
                    if "failed" in outcome:
                        failed[name] = outcome["failed"]
                        continue
                    seconds.setdefault(name, []).append(outcome["seconds"])
                    if name == "fan_out":
                        server.wait_for_records()
                        again = arena.must(name, server, **options)
                        seconds.setdefault("cached", []).append(again["seconds"])
                        energies["cached"] = again["energies"]
                else:
                    part: dict[str, Any] = {"job": "relax", "items": sizes.start}
                    outcome = few = arena.run(name, server, **part)
                    if "failed" not in few:
                        server.wait_for_records()
                        outcome = arena.run(name, server, job="relax", items=sizes.peers)
                    if "failed" in outcome:
                        failed[name] = outcome["failed"]
                        continue
                    seconds.setdefault(name, []).append(scaled(few, outcome, sizes))
                energies[name] = outcome["energies"]
                server.wait_for_records()
        same(energies)
    cached = ratios(seconds["fan_out"], seconds.pop("cached"))
    rows = {
        name: {
            "items": sizes.relax if name in WHOLE else sizes.peers,
            "seconds": rounded(values),
            **{base: ratios(seconds[base], values) for base in ("bare_ase", "bare_quacc")},
        }
        for name, values in seconds.items()
        if name not in failed
    }
    rows |= {name: {"failed": why} for name, why in failed.items()}
    w1 = {"items": sizes.relax, "chunk": chunk, "contestants": rows}
    return {"W1": w1, "W3": {"items": sizes.relax, **cached}}


def best_chunk(arena: Arena, job: str, count: int) -> int:
    """Return the size of chunks at which the bare pool is quickest."""
    tried = {}
    for chunk in CHUNKS:
        say(f"chunks of {chunk} for the bare pool")
        options: dict[str, Any] = {"job": job, "items": count, "chunk": chunk}
        tried[chunk] = min(arena.must("bare_quacc", **options)["seconds"] for _ in range(2))
    return min(tried, key=tried.__getitem__)


def scaled(few: dict[str, Any], many: dict[str, Any], sizes: Sizes) -> float:
    """Return the seconds for all items, from those for two smaller numbers of them.

    Its start thus counts once, as for those that compute all of them.
    """
    each = (many["seconds"] - few["seconds"]) / (sizes.peers - sizes.start)
    return float(many["seconds"] + each * (sizes.relax - sizes.peers))


def short_items(arena: Arena, sizes: Sizes, parts: set[str]) -> dict[str, Any]:
    """W2 and W5: items of a few milliseconds, with a new server for each run."""
    counts = {sizes.few, sizes.many} if "W2" in parts else set()
    counts |= set(sizes.line) if "W5" in parts else set()
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in sorted(counts)}
    bare: dict[str, list[float]] = {"bare_ase": [], "bare_quacc": []}
    chunk = best_chunk(arena, "static", 2 * sizes.few) if "W2" in parts else 1
    for number in range(sizes.rounds):
        energies: dict[str, list[float]] = {}
        for count, outcomes in runs.items():
            say(f"W2, W5, {number + 1} of {sizes.rounds}: {count} items")
            results = Path(tempfile.mkdtemp(dir=arena.scratch))
            with running_server(arena.scratch) as server:
                before = server.counts()
                options: dict[str, Any] = {"job": "static", "items": count, "results": results}
                outcome = arena.must("fan_out", server, **options)
                server.wait_for_records()
                after = server.counts()
                energies["fan_out"] = outcome.pop("energies")
                outcomes.append(
                    outcome
                    | {f"server_{name}": after[name] - before[name] for name in after}
                    | {"server_peak_memory": server.peak_memory()}
                    | {"results_bytes": sum(f.stat().st_size for f in results.rglob("*.db*"))}
                )
        if "W2" in parts:
            for name, seconds in bare.items():
                say(f"W2, {number + 1} of {sizes.rounds}: {name}")
                options = {"job": "static", "items": sizes.many, "chunk": chunk}
                outcome = arena.must(name, **options)
                seconds.append(outcome["seconds"])
                energies[name] = outcome["energies"]
            same(energies)
    results_by_part: dict[str, Any] = {}
    if "W2" in parts:
        few, many = runs[sizes.few], runs[sizes.many]
        results_by_part["W2"] = {
            "items": [sizes.few, sizes.many],
            "chunk": chunk,
            "item_ms": 1e3 * 2 * statistics.median(bare["bare_quacc"]) / sizes.many,
            **{
                name: ratios(seconds, [one["seconds"] for one in many])
                for name, seconds in bare.items()
            },
            **{
                name: ratios([one[name] for one in many], [one[name] for one in few])
                | {"MiB": rounded(one[name] for one in [*few, *many])}
                for name in ("peak_memory", "server_peak_memory")
            },
            "each": {
                name.removeprefix("server_"): statistics.median(one[name] for one in many)
                / sizes.many
                for name in many[0]
                if name.startswith("server_") and name != "server_peak_memory"
            }
            | {
                "results_bytes": statistics.median(one["results_bytes"] for one in many)
                / sizes.many
            },
        }
    if "W5" in parts:
        results_by_part["W5"] = {
            "items": list(sizes.line),
            "seconds": [rounded(one["seconds"] for one in runs[count]) for count in sizes.line],
        }
    return results_by_part


def records(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """One task run an item: what of them is on the server in the end."""
    found = []
    for number in range(sizes.record_rounds):
        say(f"records, {number + 1} of {sizes.record_rounds}")
        with running_server(arena.scratch) as server:
            outcome = arena.must("fan_out", server, job="tiny", items=sizes.records, batch=1)
            one = server.wait_for_records(quiet=10) | {"seconds": round(outcome["seconds"], 2)}
            found.append(one)
    return {"items": sizes.records, "rounds": found}


def same(energies: dict[str, list[float]]) -> None:
    """Stop if contestants do not agree, so have not done the same work."""
    reference = energies["bare_ase"]
    for name, values in energies.items():
        for number, value in enumerate(values):
            if abs(value - reference[number]) > 1e-6:
                raise SystemExit(
                    f"{name}: {value} eV for item {number}, which is {reference[number]} eV in "
                    "plain ASE. So they did not do the same work."
                )


def ratios(of: Iterable[float], to: Iterable[float]) -> dict[str, Any]:
    """Return the median and the range of the ratios of neighbours."""
    values = [one / other for one, other in zip(of, to, strict=True)]
    return {
        "ratio": round(statistics.median(values), 4),
        "range": [round(min(values), 4), round(max(values), 4)],
    }


def rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 2) for value in values]
