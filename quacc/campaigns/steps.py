"""What a campaign's file says: its steps, in the order in which they can run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, get_args, get_type_hints

from quacc.calculators import get_code
from quacc.campaigns import leaderboard
from quacc.campaigns.located import Key, Located
from quacc.campaigns.references import ITEM, Reference, parsed, references
from quacc.errors import InputError, QuaccError, suggest
from quacc.recipes.report import workflows
from quacc.recipes.tools.documented import JOBS, plan_of_job
from quacc.recipes.tools.workflow import calculator_name, resolved, workflow_of_job
from quacc.settings import get_settings

_TOP = ("calculator", "steps")
_STEP = ("run", "calculator", "foreach", "with", "needs")
_OTHER_WORDS = {
    "uses": "run",
    "workflow": "run",
    "recipe": "run",
    "job": "run",
    "depends_on": "needs",
    "after": "needs",
    "for_each": "foreach",
    "loop": "foreach",
    "matrix": "foreach",
    "structures": "foreach",
    "parameters": "with",
    "params": "with",
    "args": "with",
    "jobs": "steps",
    "tasks": "steps",
}
_LEADERBOARD = "leaderboard"


@dataclass(frozen=True)
class Step:
    """One step: a workflow, or a job, on one structure or on each item."""

    name: str
    run: str
    """Such as eos, relax or leaderboard."""
    function: Callable[..., Any]
    """The workflow."""
    parameters: dict[str, Any]
    """As given, with references, and with the calculator."""
    calculator: str
    """Its name; empty for a leaderboard, and for one that the items decide."""
    foreach: Any
    """A reference, or a list; None for a step that runs once."""
    needs: tuple[str, ...]
    """Names of the steps that come before, also those that are referred to."""
    each: bool
    """Whether ``foreach`` is given."""

    @property
    def key(self) -> Key:
        """Where it is in the file."""
        return ("steps", self.name)

    @property
    def is_leaderboard(self) -> bool:
        """Whether it compares models, which is not done item by item."""
        return self.run == _LEADERBOARD

    @property
    def structures(self) -> list[str]:
        """The parameters that take structures."""
        return _required(self.function)

    @property
    def structure(self) -> str | None:
        """The one that takes the item; None where there is none."""
        return next(iter(self.structures), None)


@dataclass(frozen=True)
class Campaign:
    """A campaign's file, read and checked; see :func:`quacc.campaigns.check.load`."""

    file: Path
    located: Located = field(repr=False)
    steps: tuple[Step, ...]
    """Each after those that it needs."""

    def step(self, name: str) -> Step:
        """Return a step by its name."""
        return next(one for one in self.steps if one.name == name)

    def levels(self) -> list[list[Step]]:
        """Return the steps in groups, each of which needs only those before it."""
        depth: dict[str, int] = {}
        for step in self.steps:
            depth[step.name] = 1 + max((depth[one] for one in step.needs), default=-1)
        return [
            [step for step in self.steps if depth[step.name] == one]
            for one in range(max(depth.values()) + 1)
        ]


def read(file: Path) -> Campaign:
    """Return what a file says; names are checked, nothing that they stand for is looked at.

    Raises
    ------
    InputError
        Lists the mistakes, with their lines.
    """
    located = Located(file)
    content = located.content
    if not isinstance(content, dict) or not isinstance(content.get("steps"), dict):
        key: Key = ("steps",) if isinstance(content, dict) and "steps" in content else ()
        if isinstance(content, dict):
            _check_keys(located, (), content, _TOP)
        located.add(key, "A campaign has steps, each with a name: steps: {relax: {run: relax}}.")
        located.raise_mistakes()
    _check_keys(located, (), content, _TOP)
    if not content["steps"]:
        located.add(("steps",), "There are none. Add one, such as relax: {run: relax}.")
    default = content.get("calculator")
    found = [_step(located, name, one, default) for name, one in content["steps"].items()]
    steps = {one.name: one for one in found if one is not None}
    if not located.mistakes:
        for step in steps.values():
            _check_references(located, step, steps)
    located.raise_mistakes()
    return Campaign(file, located, _ordered(located, steps))


def _check_keys(located: Located, key: Key, given: dict[Any, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            other = _OTHER_WORDS.get(str(name))
            hint = (
                f" Did you mean {other!r}?"
                if other and other in known
                else suggest(str(name), known)
            )
            located.add(
                (*key, str(name)), f"There is no {str(name)!r}.{hint} There are {', '.join(known)}."
            )


def _step(located: Located, name: Any, given: Any, default: Any) -> Step | None:
    key: Key = ("steps", str(name))
    count = len(located.mistakes)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][\w-]*", name) or name == ITEM:
        located.add(
            key,
            f"{str(name)!r} can be no step's name: letters, digits, _ and -, a letter first; item "
            "is what foreach goes over.",
        )
        return None
    if not isinstance(given, dict):
        located.add(key, "A step says what it runs, such as {run: relax, foreach: [Cu, Al]}.")
        return None
    _check_keys(located, key, given, _STEP)
    if not isinstance(run := given.get("run"), str):
        located.add(
            (*key, "run"), "A step needs run: the name of a workflow or job, such as relax."
        )
        return None
    function = _function(located, (*key, "run"), run)
    parameters = given.get("with") or {}
    if not isinstance(parameters, dict) or not all(isinstance(one, str) for one in parameters):
        located.add((*key, "with"), "It holds parameters, such as {fmax: 0.01}.")
        return None
    foreach = given.get("foreach")
    each = "foreach" in given
    if each and (foreach is None or isinstance(foreach, dict)):
        located.add(
            (*key, "foreach"),
            "It takes a folder, a file, a pattern such as structures/*.xyz, a list, or a step's "
            "results such as ${relax}.",
        )
    parameters = _parsed(located, (*key, "with"), parameters) or {}
    foreach = _parsed(located, (*key, "foreach"), foreach)
    if function is None or len(located.mistakes) > count:
        return None
    parameters = dict(parameters)
    calculator = _calculator(located, key, run, given, default, parameters)
    is_there = len(located.mistakes) == count
    if not _check_parameters(located, key, run, function, parameters, each):
        return None
    if not is_there or (run != _LEADERBOARD and not _resolves(located, key, function, parameters)):
        return None
    named = _needs(located, key, given.get("needs"))
    referred = [one.name for _, one in references([parameters, foreach]) if one.name != ITEM]
    needs = tuple(dict.fromkeys([*named, *referred]))
    return Step(name, run, function, parameters, calculator, foreach, needs, each)


def _parsed(located: Located, key: Key, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _parsed(located, (*key, name), one) for name, one in value.items()}
    if isinstance(value, list):
        return [_parsed(located, (*key, number), one) for number, one in enumerate(value)]
    try:
        return parsed(value)
    except InputError as error:
        located.add(key, str(error))
        return None


def _function(located: Located, key: Key, run: str) -> Callable[..., Any] | None:
    """Return the workflow of this name."""
    if run == _LEADERBOARD:
        return leaderboard.leaderboard
    if run in JOBS:
        return workflow_of_job(run)
    flow = f"{run.removesuffix('_flow')}_flow"
    if flow in workflows():
        found: Callable[..., Any] = getattr(workflows()[flow], flow)
        return found
    names = [*JOBS, *(one.removesuffix("_flow") for one in workflows()), _LEADERBOARD]
    located.add(
        key,
        f"There is no workflow or job {run!r}.{suggest(run, names)} There are {', '.join(names)}.",
    )
    return None


def _calculator(
    located: Located, key: Key, run: str, given: Any, default: Any, parameters: dict[str, Any]
) -> str:
    """Add a step's calculator to its parameters; return its name."""
    where: Key = (*key, "calculator") if "calculator" in given else ("calculator",)
    if run == _LEADERBOARD:
        if "calculator" in given:
            located.add(where, "A leaderboard has models: with: {models: [emt, lj]}.")
        return ""
    if "calculator" in parameters:
        located.add((*key, "with", "calculator"), "It belongs one level up, beside run.")
        return ""
    calculator = given.get("calculator", default) or get_settings().calculator or "emt"
    calculator = parameters["calculator"] = _parsed(located, where, calculator)
    if any(references(calculator)):
        return ""
    try:
        return calculator_name(calculator)
    except QuaccError as error:
        located.add(located.inside(where, _said(located, where, str(error))), str(error))
        return ""


def _check_parameters(
    located: Located,
    key: Key,
    run: str,
    function: Callable[..., Any],
    parameters: dict[str, Any],
    each: bool,
) -> bool:
    """Check the names of a step's parameters, and that none is missing."""
    count = len(located.mistakes)
    known = names_of(run, function, parameters.get("calculator"))
    for name in parameters:
        if name not in known and name != "calculator":
            located.add(
                (*key, "with", name),
                f"{run} has no parameter {name!r}.{suggest(name, known)} "
                f"It has {', '.join(known)}.",
            )
    uses_item = any(one.name == ITEM for _, one in references(parameters))
    missing = [one for one in _required(function, jobs=True) if one not in parameters]
    taken = _required(function)
    if each and not uses_item:
        if missing and taken and missing[0] == taken[0]:
            missing = missing[1:]
        elif not missing:
            first = taken[0] if taken else "tasks"
            located.add(
                (*key, "foreach"),
                f"Nothing takes its items. Leave out {first} of with, which then is the item, or "
                "write ${item} where it belongs.",
            )
    for name in missing if len(located.mistakes) == count else ():
        remedy = f"Add it to with, such as {name}: {_example(name)}"
        if name in taken[:1] and not each:
            remedy += ", or run the step for each of several: foreach: [Cu, Al]"
        located.add(key, f"{run} needs {name}. {remedy}.")
    return len(located.mistakes) == count


def _example(name: str) -> str:
    if name.endswith("_job"):
        return "lj.relax_job"
    return "[Cu, Al]" if name == "structures" else "Cu"


def _resolves(
    located: Located, key: Key, function: Callable[..., Any], parameters: dict[str, Any]
) -> bool:
    """Check that the calculator has the jobs that the step needs."""
    if any(references(parameters.get("calculator"))):
        return True
    jobs = {name: one for name, one in parameters.items() if name.endswith("job")}
    others = [one for one in _required(function) if one not in jobs]
    try:
        resolved(
            function,
            (),
            {**dict.fromkeys(others), **jobs, "calculator": parameters["calculator"]},
        )
    except QuaccError as error:
        said = [name for name, one in jobs.items() if str(one) in str(error)]
        located.add(located.inside(key, [*said, "run"]), str(error))
        return False
    return True


def _needs(located: Located, key: Key, given: Any) -> list[str]:
    needs = [given] if isinstance(given, str) else given or []
    if not isinstance(needs, list) or not all(isinstance(one, str) for one in needs):
        located.add((*key, "needs"), "It takes names of steps, such as [relax].")
        return []
    return needs


def names_of(run: str, function: Callable[..., Any], calculator: Any = None) -> list[str]:
    """Return the names of the parameters of a workflow, or of a job of a calculator."""
    hidden = {"code", "copy_files", "calculator", "job" if run in JOBS else ""}
    source = plan_of_job(run) if run in JOBS else function
    names = [
        one.name
        for one in inspect.signature(source).parameters.values()
        if one.kind is not one.VAR_KEYWORD and one.name not in hidden
    ]
    if run not in JOBS:
        return names
    try:
        code = get_code(calculator_name(calculator))
    except QuaccError:  # which is told elsewhere, or known later
        return names
    return [*names, *(["copy_files"] if code.program else []), *code.keywords, *code.options]


def _required(function: Callable[..., Any], *, jobs: bool = False) -> list[str]:
    """Return the names of the parameters without a default, with or without those of jobs."""
    return [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty
        and one.kind is not one.VAR_KEYWORD
        and (jobs or not one.name.endswith("_job"))
    ]


def _said(located: Located, key: Key, message: str) -> list[str]:
    """Return the names of parameters in a key that a message has as a word, the innermost first."""
    words = set(re.findall(r"\w+", message))
    return [one for one in located.names_in(key) if one in words]


def place(located: Located, step: Step, message: str) -> Key:
    """Return where in a step the value is that a message is about."""
    inner = (*step.key, "with")
    if said := _said(located, inner, message):
        return located.inside(inner, said)
    for key in (inner, (*step.key, "foreach")):
        if (quoted := located.quoted(key, message)) is not None:
            return quoted
    return (*step.key, "foreach" if step.each else "with")


def _check_references(located: Located, step: Step, steps: dict[str, Step]) -> None:
    for key, name in [((*step.key, "needs"), one) for one in step.needs]:
        if name not in steps:
            where = [one for one, ref in _all_references(step) if ref.name == name]
            located.add(
                where[0] if where else key,
                f"There is no step {name!r}.{suggest(name, steps)} There are {', '.join(steps)}.",
            )
    for key, reference in _all_references(step):
        if reference.name == ITEM:
            if not step.each:
                located.add(key, "There is no item without foreach. Add it to the step.")
            elif key == (*step.key, "foreach"):
                located.add(key, "The item is what foreach goes over: name a step, or files.")
            source = step.foreach if isinstance(step.foreach, Reference) else None
            if source is None or source.path or source.name not in steps:
                continue
            of = steps[source.name]
            if not of.each:
                continue
        elif reference.name in steps:
            of = steps[reference.name]
        else:
            continue
        path, fields = reference.path, result_fields(of)
        if reference.name != ITEM and of.each and path and path[0].isdecimal():
            path = path[1:]  # of one of its items
        if path and fields and path[0] not in fields:
            located.add(
                key,
                f"The result of {of.run} has no {path[0]!r}.{suggest(path[0], fields)} "
                f"It has {', '.join(fields)}.",
            )


def _all_references(step: Step) -> list[tuple[Key, Reference]]:
    inner = {name: one for name, one in step.parameters.items() if name != "calculator"}
    return [
        *references(inner, (*step.key, "with")),
        *references(step.parameters.get("calculator"), (*step.key, "calculator")),
        *references(step.foreach, (*step.key, "foreach")),
    ]


def result_fields(step: Step) -> list[str]:
    """Return the names in a step's result; none where they are not known."""
    if step.is_leaderboard:
        return []
    source = plan_of_job(step.run) if step.run in JOBS else step.function
    kind = get_type_hints(source)["return"]
    for one in get_args(kind)[:1]:  # of a calculation
        kind = one
    return [*getattr(kind, "__annotations__", {})]


def _ordered(located: Located, steps: dict[str, Step]) -> tuple[Step, ...]:
    try:
        order = [*TopologicalSorter({one.name: one.needs for one in steps.values()}).static_order()]
    except CycleError as error:
        circle = error.args[1][::-1]
        located.add(
            steps[circle[0]].key,
            f"Steps need one another in a circle: {' needs '.join(circle)}. Take one of these "
            "needs, or references, out.",
        )
        located.raise_mistakes()
    return tuple(steps[name] for name in order)
