"""The fields of a Slurm pool, as its form shows them; what is left empty is the site's."""

from __future__ import annotations

from typing import Annotated, Any

from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

_HIDDEN = ("name", "labels", "command")
"""Prefect's fields that mean nothing here."""


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)  # none at all, which the form shows as an empty field


_Line = Annotated[str, Field(pattern=r"^[^\r\n]*$")]
_Word = Annotated[str, Field(pattern=r"^[\w.,@-]*$")]
_Walltime = Annotated[str, Field(pattern=r"^((\d+-)?\d+:[0-5]\d:[0-5]\d)?$")]
_Memory = Annotated[str, Field(pattern=r"^([1-9]\d*(\.\d+)? ?[kKmMgGtT]([iI]?[bB])?)?$")]
_Count = Annotated[int, Field(ge=1)]
_Empty = SkipJsonSchema[None]  # the form shows one type, not two to choose from


def _optional() -> Any:
    """Return a field that may be left empty."""
    return Field(default=None, json_schema_extra=_no_default)


class _Fields(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    site: _Line | _Empty = _optional()
    """Profile of the machine (`quacc site ls`), or a file that ends in .yaml. It fills the fields
    that are left empty."""
    partition: _Word | _Empty = _optional()
    """Partition, or queue, that the job goes to."""
    account: _Word | _Empty = _optional()
    """Project that is charged."""
    walltime: _Walltime | _Empty = _optional()
    """Longest time the job may run, HH:MM:SS or D-HH:MM:SS. A flow that needs longer goes on in
    another job."""
    nodes: _Count | _Empty = _optional()
    """Nodes of the job."""
    cores: _Count | _Empty = _optional()
    """Cores of each node that the job uses."""
    memory: _Memory | _Empty = _optional()
    """Memory of each node that the job uses, such as 16GB."""
    gpus: Annotated[int, Field(ge=0)] | _Empty = _optional()
    """GPUs of each node that the job uses."""
    constraint: _Line | _Empty = _optional()
    """Kind of node, such as cpu (Slurm's -C)."""
    prologue: list[_Line] = []
    """Shell lines that the job runs first, after those of the site: modules, environment."""
    directives: list[_Line] = []
    """More options of sbatch, such as --qos=long or --reservation=mine."""
    python: _Line | _Empty = _optional()
    """Python on the nodes, in which quacc is installed; the worker's, if left empty."""
    attempts: _Count = 10
    """How many jobs a flow run may have, one after the other, when the walltime ends them. A job
    in which nothing was finished is the last."""


class SlurmVariables(_Fields, BaseVariables):
    """What a person may set, for the pool, a deployment, or one run."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **kwargs)
        properties = {k: v for k, v in schema["properties"].items() if k not in _HIDDEN}
        properties["env"] = properties.pop("env")  # the last
        return schema | {"properties": properties}


class SlurmConfiguration(_Fields, BaseJobConfiguration):
    """The values for one run."""

    @classmethod
    def json_template(cls) -> dict[str, Any]:
        return {k: v for k, v in super().json_template().items() if k not in _HIDDEN}


class SlurmResult(BaseWorkerResult):
    """The identifier is Slurm's of the job; the end is told by the worker, so the status is 0."""
