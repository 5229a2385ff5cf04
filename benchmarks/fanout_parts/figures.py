"""The results as tables in Markdown, and as a picture."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from report import measured_on

TITLES = {
    "bare_ase": "bare process pool, plain ASE",
    "bare_quacc": "bare process pool, `relax_job`",
    "fan_out": "**quacc `fan_out`**",
    "prefect_threads": "Prefect `task(relax_job).submit`, threads",
    "prefect_processes": "Prefect `task(relax_job).submit`, process pool",
    "prefect_dask": "Prefect `task(relax_job).submit`, prefect-dask",
    "public_prefect": "quacc 1.8.2 with Prefect, on prefect-dask",
    "public_parsl": "quacc 1.8.2 with Parsl",
    "executorlib": "executorlib, plain ASE",
    "jobflow": "jobflow `run_locally`, plain ASE, one process",
}


def table(report: dict[str, Any]) -> str:
    """Return what there is in a report as tables in Markdown."""
    results, parts = report["results"], []
    if "W1" in results and "fan_out" in results["W1"]["contestants"]:
        parts.append(_contestants(results["W1"]))
    rows = [row for name, make in _ROWS.items() if name in results for row in make(results[name])]
    parts.append(["| `fan_out` | measured | target |", "|---|---|---|", *rows])
    versions = {
        name: found[program]
        for environment, program, name in (
            ("fan_out", "ase", "ASE"),
            ("fan_out", "prefect", "Prefect"),
            ("fan_out", "prefect-dask", "prefect-dask"),
            ("public_parsl", "parsl", "Parsl"),
            ("executorlib", "executorlib", "executorlib"),
            ("jobflow", "jobflow", "jobflow"),
        )
        if program in (found := report["versions"].get(environment, {}))
    }
    parts.append([measured_on(report, versions)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _contestants(w1: dict[str, Any]) -> list[str]:
    lines = [
        f"| {w1['items']:,} relaxations, 2 processes | time | throughput, of plain ASE's "
        "| of `relax_job`'s | computed |",
        "|---|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        one = w1["contestants"].get(name)
        if one is None:
            continue
        if "failed" in one:
            lines.append(f"| {title} | fails: {one['failed'].replace('|', ' ')} | | | |")
            continue
        scaled = "" if one["items"] == w1["items"] else ", scaled"
        lines.append(
            f"| {title} | {statistics.median(one['seconds']):.3g} s{scaled} "
            f"| {_ratio(one['bare_ase'])} | {_ratio(one['bare_quacc'])} | {one['items']:,} |"
        )
    return lines


def _relaxations(w1: dict[str, Any]) -> list[str]:
    ours = w1["contestants"].get("fan_out")
    title = f"{w1['items']:,} relaxations: throughput, of the bare pool's with plain ASE"
    return [f"| {title} | {_ratio(ours['bare_ase'])} | ≥ 0.9 |"] if ours else []


def _short(w2: dict[str, Any]) -> list[str]:
    few, many = w2["items"]
    each, title = w2["each"], f"{many:,} items of {w2['item_ms']:.1f} ms"
    rows = [
        f"| {title}: throughput, of the bare pool's with plain ASE | {_ratio(w2['bare_ase'])} | |",
        f"| the same, of the bare pool's with `static_job` | {_ratio(w2['bare_quacc'])} | |",
    ]
    for name, process in (("peak_memory", "flow process"), ("server_peak_memory", "server")):
        middle = len(w2[name]["MiB"]) // 2
        sizes = [
            statistics.median(w2[name]["MiB"][half])
            for half in (slice(middle), slice(middle, None))
        ]
        rows.append(
            f"| most memory of the {process}, {many:,} items of {few:,} items "
            f"| {_ratio(w2[name])}, {sizes[0]:.0f} and {sizes[1]:.0f} MiB | ≤ 1.2 |"
        )
    return [
        *rows,
        f"| requests to the Prefect API, an item | **{each['requests']:.4f}** | ≤ 0.05 |",
        f"| messages on its websockets, an item | {each['websocket_messages']:.4f} | |",
        f"| its database, an item | {each['bytes']:.0f} B | |",
        f"| CPU time of the server, an item | {1e3 * each['cpu']:.2f} ms | |",
        f"| results database, an item | {each['results_bytes']:.0f} B | |",
    ]


def _records(records: dict[str, Any]) -> list[str]:
    count = records["items"]
    worst = min(one["runs"].get("COMPLETED", 0) for one in records["rounds"])
    states = min(sum(one["states"].values()) for one in records["rounds"])
    return [
        f"| {count:,} task runs of one item: completed ones on the server | **{worst:,}** "
        f"| {count:,} |",
        f"| states of theirs | {states:,} | {3 * count:,} |",
    ]


def _cached(w3: dict[str, Any]) -> list[str]:
    return [
        f"| {w3['items']:,} relaxations once more: how much quicker | {_ratio(w3, 0)} | ≥ 100 |"
    ]


def _killed(w4: dict[str, Any]) -> list[str]:
    values = [one["ratio"] for one in w4["rounds"]]
    worst, best = max(values), min(values)
    return [
        "| killed half-way and run again: items computed, of all items "
        f"| **{statistics.median(values):.4f}** ({best:.4f} to {worst:.4f}) | ≤ 1.01 |"
    ]


def _linear(w5: dict[str, Any]) -> list[str]:
    _, _, farthest = straight_line(w5)
    low, high = min(w5["items"]), max(w5["items"])
    return [
        f"| time for {low:,} to {high:,} items: farthest from a straight line "
        f"| **{100 * farthest:.1f} %** | |"
    ]


_ROWS = {
    "W1": _relaxations,
    "W2": _short,
    "records": _records,
    "W3": _cached,
    "W4": _killed,
    "W5": _linear,
}


def _ratio(one: dict[str, Any], digits: int = 2) -> str:
    low, high = one["range"]
    return f"**{one['ratio']:.{digits}f}** ({low:.{digits}f} to {high:.{digits}f})"


def straight_line(w5: dict[str, Any]) -> tuple[float, float, float]:
    """Fit seconds = start + each * items; return both, and the largest relative deviation."""
    import numpy as np

    items = np.array(w5["items"], dtype=float)
    seconds = np.array([statistics.median(values) for values in w5["seconds"]])
    each, start = np.polyfit(items, seconds, 1, w=1 / seconds)  # few items count as much as many
    deviation = (start + each * items) / seconds - 1
    return float(start), float(each), float(abs(deviation).max())


def plot(w5: dict[str, Any], path: Path) -> None:
    """Draw seconds over items, and the straight line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "quacc"  # the same numbers give the same file
    start, each, _ = straight_line(w5)
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    points = [
        (items, one)
        for items, values in zip(w5["items"], w5["seconds"], strict=True)
        for one in values
    ]
    high = max(w5["items"])
    axes.plot(
        [0, high],
        [start, start + each * high],
        color="0.6",
        label=f"{start:.1f} s + {1e3 * each:.2f} ms an item",
    )
    axes.plot(*zip(*points, strict=True), "o", color="#0b6e99", label="measured")
    axes.set(xlabel="items", ylabel="time (s)", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
