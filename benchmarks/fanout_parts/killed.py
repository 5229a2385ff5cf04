"""W4: what a killed campaign computes again."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from fanout_parts.arena import Arena, say
from fanout_parts.items import fingerprint, items
from fanout_parts.server import running_server
from fanout_parts.sizes import Sizes

BOUND = 600.0
"""The longest that half of a campaign may take (s)."""
COUNTING = Path(__file__).resolve().parent / "counting"


def killed(arena: Arena, sizes: Sizes) -> dict[str, Any]:
    """Kill -9 at half-way, and the same again; count what EMT itself has computed."""
    given = {fingerprint(atoms) for atoms in items("relax", sizes.relax)}
    rounds = []
    for number in range(sizes.rounds):
        say(f"W4, {number + 1} of {sizes.rounds}")
        counts, results = (Path(tempfile.mkdtemp(dir=arena.scratch)) for _ in range(2))

        def computed(folder: Path = counts) -> int:
            """How often a structure that was given, not one on the way, has been computed."""
            lines = (line for file in folder.iterdir() for line in file.read_text().splitlines())
            return sum(line in given for line in lines)

        extra = {
            "PYTHONPATH": f"{COUNTING}{os.pathsep}{COUNTING.parents[1]}",
            "FANOUT_COUNTS": str(counts),
        }
        options: dict[str, Any] = {"job": "relax", "items": sizes.relax, "extra": extra}
        with (
            running_server(arena.scratch) as server,
            arena.started("fan_out", server, results, **options) as (process, folder),
        ):
            end = time.monotonic() + BOUND
            # The job's first run in the flow process counts one.
            while (first := computed() - 1) < sizes.relax / 2:
                if process.poll() is not None or time.monotonic() > end:
                    log = (folder / "log").read_text()
                    raise SystemExit(f"W4 was not half done:\n{log[-3000:]}")
                time.sleep(0.2)
            process.kill()
            process.wait()
            # At once, while the workers may still be there.
            arena.must("fan_out", server, results, **options)
        total = computed() - 2
        rounds.append({"first": first, "total": total, "ratio": round(total / sizes.relax, 4)})
    return {"items": sizes.relax, "rounds": rounds}
