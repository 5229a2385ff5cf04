"""One job on one item, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture

from quacc.cluster.transport import pack_arguments, unpack_arguments
from quacc.prefect.chunk_run import load_task
from quacc.prefect.tasks import JobTask, as_task, formula
from quacc.recipes.tools.verbs import bare
from quacc.runners.calculation import Calculation
from quacc.runners.job import at_once, calculation_of, plan_of


class Job:
    """A function whose calls are packed together."""

    def __init__(self, function: Callable[..., Any]) -> None:
        own = as_task(function)
        self.function: Callable[..., Any] = bare(own)
        self.announce = own.announce if isinstance(own, JobTask) else None
        self.task: Task[..., Any] = load_task(own)
        self.is_recipe = plan_of(self.function) is not None
        self.what = own.name.rpartition(".")[2].removesuffix("_job")


@dataclass(eq=False)
class Call:
    """One job on one item."""

    job: Job
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    number: int
    after: PrefectFuture[Any] | None = None
    """The task run whose result is the item."""
    key: str | None = None
    calculation: Calculation[Any] | None = None
    tries: int = 1
    run: PrefectFuture[Any] | None = None
    """The task run that computed it."""

    packed: bytes | None = None

    @cached_property
    def name(self) -> str:
        """The item's formula, or what there is of one."""
        return formula(self.args[0]) if self.args else ""

    @cached_property
    def natoms(self) -> int:
        """How many atoms the structure has; 1 where this is not known."""
        structure = self.args[0] if self.args else None
        if isinstance(structure, Mapping):
            structure = structure.get("atoms")
        try:
            return len(structure) if hasattr(structure, "positions") else 1  # type: ignore[arg-type]
        except TypeError:
            return 1

    @cached_property
    def at_once(self) -> int:
        """How many like it a model computes at once."""
        return at_once(self.job.function, self.kwargs)

    def asked(self) -> Calculation[Any] | None:
        """Return its calculation, made anew where only its arguments are kept."""
        if self.calculation is not None:
            return self.calculation
        args, kwargs = self.arguments()
        return calculation_of(self.job.function, args, kwargs)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments, packed or not."""
        if self.packed is None:
            return self.args, dict(self.kwargs)
        return unpack_arguments(self.packed)

    def pack(self) -> bytes:
        """Return the arguments as bytes, which are all that is kept of them from now on."""
        if self.packed is None:
            self.packed = pack_arguments(self.args, dict(self.kwargs))
            _ = self.name, self.natoms  # while they can be told
            self.args = ()
        return self.packed


@dataclass
class Counts:
    """How many calls have ended, each counted once."""

    computed: int = 0
    cached: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """All of them."""
        return self.computed + self.cached + self.failed
