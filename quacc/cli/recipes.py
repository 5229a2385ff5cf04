"""``quacc recipes``: which workflows there are, and what they take and return."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_type_hints

import typer

from quacc.errors import InputError, suggest

app = typer.Typer(
    invoke_without_command=True, help="List the workflows, or show one: `quacc recipes show eos`."
)


@app.callback()
def list_recipes(context: typer.Context) -> None:
    """List the workflows, with one line each."""
    if context.invoked_subcommand:
        return
    from rich.table import Table
    from rich.text import Text

    from quacc.cli.tables import console
    from quacc.recipes.report import workflows

    table = Table(box=None, header_style="bold")
    table.add_column("workflow", no_wrap=True)
    table.add_column("what it does")
    for name, module in sorted(workflows().items()):
        doc = inspect.getdoc(getattr(module, name)) or ""
        table.add_row(Text(name.removesuffix("_flow")), Text(doc.partition("\n")[0]))
    console().print(table)
    typer.echo("Parameters and outputs of one:  quacc recipes show NAME")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Such as eos.")]) -> None:
    """Show a workflow: parameters, defaults, units, outputs and sources."""
    flow = find(name)
    signature = inspect.signature(flow)
    typer.echo(f"{flow.__module__}.{flow.__name__}\n")
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        typer.echo(f"  {parameter.name}{'' if required else f' = {parameter.default!r}'}")
    typer.echo(f"\n{inspect.getdoc(flow)}\n")
    typer.echo(_outputs(flow))


def find(name: str) -> Any:
    """Return a workflow by its name, with or without ``_flow``.

    Raises
    ------
    InputError
        There is none.
    """
    from quacc.recipes.report import workflows

    full = name if name.endswith("_flow") else f"{name}_flow"
    if full not in workflows():
        names = [one.removesuffix("_flow") for one in workflows()]
        raise InputError(
            f"There is no workflow {name!r}.{suggest(name, names)} There are {', '.join(names)}."
        )
    return getattr(workflows()[full], full)


def _outputs(flow: Any) -> str:
    """Return what is in the result, from the comments of its type."""
    import ast
    import textwrap

    kind = get_type_hints(flow)["return"]
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    lines = [f"The result ({kind.__name__}):"]
    for field, comment in zip(body, [*body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        lines.append(f"  {ast.unparse(field.target)}: {ast.unparse(field.annotation)}")
        if isinstance(comment, ast.Expr) and isinstance(comment.value, ast.Constant):
            lines += [f"      {line.strip()}" for line in str(comment.value.value).splitlines()]
    return "\n".join(lines)
