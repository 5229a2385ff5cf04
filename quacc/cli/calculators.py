"""``quacc calculators``: which codes can be used here, and why the others can't."""

from __future__ import annotations


def calculators() -> None:
    """List the calculators: usable here or not, and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators import code_names, get_code, wrong_command
    from quacc.settings import inspect

    table = Table(box=None, header_style="bold")
    for column in ("calculator", "usable here", "version", "elements", "what it is"):
        table.add_column(column, overflow="fold")
    for name in code_names():
        code = get_code(name)
        try:
            missing = code.missing()
            version = "-" if missing else code.version()
        except Exception as error:  # one broken code must not hide the others
            missing, version = str(error) or type(error).__name__, "-"
        elements = "all" if code.elements is None else " ".join(sorted(code.elements))
        usable = "yes" if missing is None else f"no: {missing}"
        table.add_row(*map(Text, (name, usable, version, elements, code.title)))
    console = Console()
    console.print(table)
    for program in inspect()[0].commands:
        if reason := wrong_command(program):
            console.print(Text(f"Warning: {reason}", style="yellow"))
