"""Silicon's equation of state by each code that has PBE or was fitted to it, beside all electrons.

python benchmarks/eos.py                  compute, print, write eos.json
python benchmarks/eos.py --update-docs    put it into docs/benchmarks.md
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from report import run

RESULT = Path(__file__).resolve().with_suffix(".json")
START, END = ("<!-- table: benchmarks/eos.py -->", "<!-- end of silicon's table -->")
POTENTIALS = Path(__file__).resolve().parents[1] / ".envs" / "ml" / "bin" / "python"

POINTS, STEP = 7, 0.0067  # the volumes from 0.94 to 1.06 of all electrons' one
MESH = {"occopt": 1, "nshiftk": 1, "shiftk": [[0.0, 0.0, 0.0]]}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Quantum ESPRESSO, `Si.pbe-rrkj.UPF`": (
        "espresso",
        {"pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"}, "ecutwfc": 30.0, "kpts": [6, 6, 6]},
    ),
    "ABINIT, its default pseudopotential": (
        "abinit",
        {"ecut": 15.0, "kpts": [6, 6, 6], "input_data": MESH},
    ),
    "CHGNet 0.3.0": ("chgnet", {"model": "0.3.0"}),
    "SevenNet-0": ("sevenn", {"model": "7net-0"}),
}


def compute() -> dict[str, Any]:
    from ase.build import bulk
    from ase.collections import dcdft

    from quacc.recipes.workflows import eos_flow
    from quacc.settings import change_settings

    reference = dcdft.data["Si"]
    crystal = bulk("Si", a=(8 * reference["wien2k_volume"]) ** (1 / 3))
    found = {
        "WIEN2k": {
            "volume": reference["wien2k_volume"],
            "bulk_modulus": reference["wien2k_B"],
            "derivative": reference["wien2k_Bp"],
        }
    }
    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as home:
        os.environ["HOME"] = home
        environments = {"chgnet": str(POTENTIALS), "sevenn": str(POTENTIALS)}
        with change_settings(results_dir=Path(home) / "results", environments=environments):
            for name, (code, keywords) in CASES.items():
                result = eos_flow(
                    crystal,
                    relax_job=None,
                    calculator={"name": code, **keywords},
                    points=POINTS,
                    step=STEP,
                )
                fit = next(one for one in result["fits"] if one["form"] == "birchmurnaghan")
                found[name] = {
                    "volume": result["volume"] / 2,
                    "bulk_modulus": result["bulk_modulus"],
                    "derivative": result["bulk_modulus_derivative"],
                    "residual": fit["residual"] / 2 * 1e3,
                }
                print(name, found[name], flush=True)
    return found


def table(results: dict[str, Any]) -> str:
    lines = [
        "| silicon, PBE | V₀, Å³ per atom | | B₀, GPa | B′ | residual, meV per atom |",
        "|---|---|---|---|---|---|",
    ]
    reference = results["WIEN2k"]["volume"]
    for name, one in results.items():
        away = "" if name == "WIEN2k" else f"{one['volume'] / reference - 1:+.2%}"
        residual = f"{one['residual']:.3f}" if "residual" in one else ""
        lines.append(
            f"| {name} | {one['volume']:.3f} | {away} | {one['bulk_modulus']:.1f} "
            f"| {one['derivative']:.2f} | {residual} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(__doc__, RESULT, (START, END), compute, table)
