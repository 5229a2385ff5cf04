"""Summary, table and figure of a work function."""

from __future__ import annotations

from typing import Any

REFERENCES = {"work_function_job": ("Bengtsson1999",)}

_SIDES = ("below", "above")


def summarise(result: Any) -> str:
    below, above = result["work_functions"]
    return f"work functions {below:.3f} eV below, {above:.3f} eV above"


def tabulate(result: Any) -> list[dict[str, Any]]:
    levels = zip(_SIDES, result["vacuum_levels"], result["work_functions"], strict=True)
    return [
        {"side": side, "vacuum level (eV)": level, "work function (eV)": work}
        for side, level, work in levels
    ]


def draw(result: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.plot(result["heights"], result["potential"], color="C0", linewidth=1)
    axes.axhline(result["fermi_energy"], color="black", linewidth=0.5, label="Fermi energy")
    for number, (side, level) in enumerate(zip(_SIDES, result["vacuum_levels"], strict=True)):
        label = f"vacuum {side}"
        axes.axhline(level, color=f"C{number + 1}", linewidth=0.8, linestyle="--", label=label)
    axes.set(xlabel="height (Å)", ylabel="potential (eV)", xlim=(0, result["heights"][-1]))
    axes.set_title(f"{result['formula']}: {summarise(result)}")
    axes.legend()
