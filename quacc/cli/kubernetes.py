"""``quacc kubernetes``: a workflow, or the worker of a pool, in a Kubernetes cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True, help="Let a Kubernetes cluster serve workflows: manifests, apply, stop."
)

File = Annotated[Path, typer.Argument(help="Of manifests, from `quacc kubernetes manifests`.")]


@app.command()
def manifests(
    workflow: Annotated[str, typer.Argument(help="Such as eos, see `quacc recipes`.")],
    image: Annotated[str, typer.Option(help="Container image with quacc in it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A new file; it holds the secrets, mode 0600.")
    ],
    namespace: Annotated[str, typer.Option(help="Of the cluster.")] = "quacc",
    pool: Annotated[
        str | None,
        typer.Option(help="A work pool of type kubernetes: its worker, instead of serving."),
    ] = None,
    replicas: Annotated[int, typer.Option(min=0, help="Number of processes.")] = 1,
    pull_policy: Annotated[
        str, typer.Option(help="Always, IfNotPresent or Never.")
    ] = "IfNotPresent",
    cpu: Annotated[str, typer.Option(help="Cores of each, such as 2 or 500m.")] = "1",
    memory: Annotated[str, typer.Option(help="Of each, such as 2Gi.")] = "2Gi",
    secrets: Annotated[
        Path | None,
        typer.Option(
            help="File of PREFECT_API_URL=… and PREFECT_API_AUTH_STRING=… or PREFECT_API_KEY=…; "
            "those of the environment, if not given."
        ),
    ] = None,
) -> None:
    """Write the manifests of a workflow, checked, to a file."""
    from io import BytesIO

    from ruamel.yaml import YAML

    from quacc.deploy import manifests as made
    from quacc.deploy.forms import form
    from quacc.errors import InputError
    from quacc.ownfiles import write_own

    if output.exists():
        raise InputError(f"{output} exists. Choose another name, or remove it.")
    found = made.manifests(
        form(workflow).name,
        image,
        made.secrets_from(os.environ, secrets),
        namespace=namespace,
        pool=pool,
        replicas=replicas,
        pull_policy=pull_policy,
        cpu=cpu,
        memory=memory,
    )
    stream = BytesIO()
    YAML(typ="safe").dump_all(found, stream)
    write_own(output, stream.getvalue())
    typer.echo(f"{output}: {', '.join(one['kind'] for one in found)}")


@app.command()
def check(file: File) -> None:
    """Check manifests without a cluster."""
    found = _read(file)
    typer.echo(f"{len(found)} manifests are as Kubernetes wants them.")


@app.command()
def apply(file: File) -> None:
    """Make all of it in the cluster that kubectl would talk to, or change it to what is said."""
    from quacc.deploy import kube

    for one in kube.apply(_read(file)):
        typer.echo(f"{one} is there.")


@app.command()
def status(
    namespace: Annotated[str, typer.Option(help="Of the cluster.")] = "quacc",
) -> None:
    """Show what of quacc runs in the cluster."""
    from quacc.deploy import kube

    found = kube.status(namespace)
    for one in found:
        problem = f"; {one['problem']}" if one["problem"] else ""
        typer.echo(f"{one['name']}: {one['ready']} of {one['wanted']} ready{problem}")
    if not found:
        typer.echo(f"Nothing of quacc is in the namespace {namespace}.")
        raise typer.Exit(1)


@app.command()
def stop(file: File) -> None:
    """Delete all of it from the cluster, the secret too; the namespace stays."""
    from quacc.deploy import kube

    gone = kube.stop(_read(file))
    typer.echo(f"Deleted: {', '.join(gone)}." if gone else "Nothing of it was there.")


def _read(file: Path) -> list[dict[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from quacc.deploy.manifests import check
    from quacc.errors import InputError

    try:
        found = list(YAML(typ="safe").load_all(file.read_text()))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if not found or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{file} holds no manifests.")
    check(found)
    return found
