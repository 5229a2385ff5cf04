"""``quacc calculators``: which codes can be used here, and why the others can't."""

from __future__ import annotations


def calculators() -> None:
    """List the calculators: usable here or not, and why."""
    from rich.console import Console
    from rich.table import Table

    from quacc.calculators import code_names, get_code

    table = Table(box=None, header_style="bold")
    for column in ("calculator", "usable here", "version", "elements", "what it is"):
        table.add_column(column, overflow="fold")
    for name in code_names():
        code = get_code(name)
        missing = code.missing()
        elements = "all" if code.elements is None else " ".join(sorted(code.elements))
        usable = "yes" if missing is None else f"no: {missing}"
        table.add_row(name, usable, "-" if missing else code.version(), elements, code.title)
    Console().print(table)
