"""Forms, made from the signature and the documentation of a workflow or a job.

A form is a JSON Schema that Prefect's dashboard shows, its server enforces, and the flow checks
again. No field takes JSON: structures and keywords are texts, everything else is a number, a
switch, a menu, or a list of these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from quacc.calculators import code_names
from quacc.deploy import values
from quacc.deploy.fields import decided
from quacc.deploy.kinds import LINES, PYTHON_ONLY, Kind, kind_of, texts, title_of
from quacc.errors import InputError, ParameterError, suggest
from quacc.recipes.report import jobs_of, workflows
from quacc.recipes.tools.documented import JOBS, explained_fully, nested, pairs, plan_of_job
from quacc.recipes.tools.workflow import workflow_of_job


@dataclass(frozen=True)
class Field:
    """One field of a form."""

    name: str
    schema: dict[str, Any]
    value: Callable[[Any], Any]
    """Returns what the workflow gets, of what was filled in."""
    required: bool = False


@dataclass(frozen=True)
class Form:
    """What people fill in to run a workflow, or a job."""

    name: str
    """Such as eos, or relax."""
    serial: Callable[..., Any]
    """The plain workflow."""
    fields: tuple[Field, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of all fields."""
        return _object("Parameters", self.fields)

    def check(self, given: Mapping[str, Any], *, complete: bool = True) -> None:
        """Refuse what the server would refuse.

        Parameters
        ----------
        complete
            Whether all required fields must be there.

        Raises
        ------
        ParameterError
            Names the fields, and what is wrong with them.
        """
        from prefect.utilities.schema_tools.validation import validate

        errors = validate(dict(given), self.schema, ignore_required=not complete)
        if errors:
            listed = "; ".join(dict.fromkeys(map(_words, errors)))
            raise ParameterError(f"{self.name} cannot run with these parameters: {listed}.")

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the workflow, of what was filled in.

        Raises
        ------
        InputError
            A field has no such value, a required one is missing, or a text cannot be read.
        """
        self.check(given)
        found = _given(self.fields, given)
        calculator, keywords = found.pop("calculator"), found.pop("keywords", {})
        presets = found.pop("preset", [])
        if keywords or presets:
            calculator = {"name": calculator, "preset": presets, **keywords}
        return {**found, "calculator": calculator}

    def filled(self, changes: Sequence[str]) -> dict[str, Any]:
        """Return what texts such as max_index=2 and relax_kwargs.fmax=0.01 fill in.

        A list takes its items one by one, under the same name. The path of a file that exists
        here becomes absolute.

        Raises
        ------
        InputError
            A text is no name and value, or the value cannot be read.
        """
        found: dict[str, Any] = {}
        for name, text in pairs(changes, "--set"):
            *folders, last = name.split(".")
            inner, schema = found, self.schema
            for folder in folders:
                inner = inner.setdefault(folder, {})
                schema = schema.get("properties", {}).get(folder, {})
            field = schema.get("properties", {}).get(last, {})
            located = any(one.name == name and one.value in _LOCATED for one in self.fields)
            text = values.located(text) if located else text
            if field.get("type") == "array" and not text.startswith("["):
                item = text if field["items"]["type"] == "string" else nested([(last, text)])[last]
                inner.setdefault(last, []).append(item)
            else:
                is_text = field.get("type") == "string"
                inner[last] = text if is_text else nested([(last, text)])[last]
        return found


_LOCATED = (values.structure, values.structures, values.source)
"""What fields become that may hold the path of a file."""


def names() -> list[str]:
    """Return the names of all workflows and jobs that have a form."""
    return sorted([*(one.removesuffix("_flow") for one in workflows()), *JOBS])


@cache
def form(name: str) -> Form:
    """Return the form of a workflow such as eos, or of a job such as relax.

    Raises
    ------
    InputError
        There is none of this name.
    """
    short = name.removesuffix("_flow")
    if short in JOBS:
        serial, documented = workflow_of_job(short), plan_of_job(short)
        fields = _fields(short, documented)
        fields[1:1] = _calculator([f"{short}_job"])
    elif f"{short}_flow" in workflows():
        serial = documented = getattr(workflows()[f"{short}_flow"], f"{short}_flow")
        fields = _fields(short, documented)
    else:
        raise InputError(
            f"There is no workflow {name!r}.{suggest(short, names())} There are "
            f"{', '.join(names())}."
        )
    for place, one in enumerate(fields):
        one.schema["position"] = place
    return Form(short, serial, tuple(fields))


def _fields(owner: str, documented: Callable[..., Any]) -> list[Field]:
    """Return the fields for the parameters of a workflow or a job."""
    meanings = explained_fully(documented)
    parameters = list(inspect.signature(documented).parameters.values())
    needed = [one.default for one in parameters if str(one.default).endswith("_job")]
    fields: list[Field] = []
    for one in parameters:
        meaning = meanings.get(one.name, "")
        if one.name == "calculator":
            fields[1:1] = _calculator(needed)
        elif one.name.endswith("_kwargs") and one.name.removesuffix("_kwargs") in _NESTED:
            fields.append(_keywords(owner, one.name, meaning))
        elif _is_asked(one):
            fields.append(_field(one, kind_of(owner, one), meaning))
    return fields


def _is_asked(one: inspect.Parameter) -> bool:
    variable = one.kind is one.VAR_KEYWORD
    return not variable and one.name != "code" and one.annotation not in PYTHON_ONLY


def _field(one: inspect.Parameter, kind: Kind, meaning: str) -> Field:
    schema = {"title": title_of(one.name), **kind.schema}
    schema["description"] = " ".join(part for part in (meaning, kind.help) if part)
    required = one.default is one.empty
    if not required and one.default is not None and one.default != ():
        default = one.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    elif not required and "None" in str(one.annotation) and kind.value is values.job:
        schema["default"] = values.NONE
    return Field(one.name, schema, kind.value, required)


def _calculator(jobs: Sequence[str]) -> list[Field]:
    """Return the fields for a calculator that has some jobs, its presets and its keywords."""
    able = [code for code in code_names() if {*jobs} <= {*jobs_of(code)}]
    menu = {"type": "string", "enum": able, "title": "Calculator"}
    about = "What computes energies and forces; `quacc calculators` explains each."
    listed = "Keywords of the calculator; `quacc calculators show NAME` lists them."
    preset = "Keywords under a name; `quacc presets` lists them. Later ones win over earlier ones."
    return [
        Field("calculator", {**menu, "description": about}, str, required=True),
        Field("preset", {**texts(), "title": "Presets", "description": preset}, list),
        Field(
            "keywords",
            {**texts(), "title": "Keywords", "description": f"{listed} {LINES}"},
            values.keywords,
        ),
    ]


_NESTED = {"relax": "relax", "pre_relax": "relax", "static": "static", "freq": "freq"}
_NESTED |= {"md": "md", "neb": "neb", "ts": "ts"}
"""Keywords of a workflow's job, and the job whose parameters they are."""


def _keywords(workflow: str, name: str, meaning: str) -> Field:
    """Return the field for the keywords of one of a workflow's jobs, with fields of its own.

    They have no defaults: what is left out, the workflow chooses, which may differ.
    """
    job = _NESTED[name.removesuffix("_kwargs")]
    plan = plan_of_job(job)
    meanings = explained_fully(plan)
    fields: list[Field] = []
    for one in inspect.signature(plan).parameters.values():
        structure = "Structure" in str(one.annotation)
        if not _is_asked(one) or structure or one.name in decided(workflow, job):
            continue
        kind = kind_of(job, one)
        if kind.schema.get("type") == "boolean":  # a switch would always say one or the other
            kind = Kind({"enum": [False, True]})
        usual = (
            ""
            if one.default is None
            else f" By default {one.default}, or what the workflow chooses."
        )
        field = _field(one, kind, f"{meanings.get(one.name, '')}{usual}")
        field.schema.pop("default", None)
        fields.append(replace(field, required=False))
    listed = {**texts(), "title": "Keywords", "description": f"Of the calculator. {LINES}"}
    fields.append(Field("keywords", listed, values.keywords))
    for place, field in enumerate(fields):
        field.schema["position"] = place
    about = f"Parameters of {job}_job. {meaning.partition('. ')[2]}".strip()
    schema = {**_object(title_of(name), fields), "description": about}
    return Field(name, schema, partial(_job_keywords, fields))


def _job_keywords(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    found = _given(fields, given)
    return found.pop("keywords", {}) | found


def _given(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of what was filled in; an emptied field is null, and was left out."""
    return {
        one.name: one.value(given[one.name]) for one in fields if given.get(one.name) is not None
    }


def _object(title: str, fields: Sequence[Field]) -> dict[str, Any]:
    required = [one.name for one in fields if one.required]
    return {
        "title": title,
        "type": "object",
        "properties": {one.name: one.schema for one in fields},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _words(error: Any) -> str:
    """Return what is wrong with a field, from an error of JSON Schema's."""
    place = ".".join(map(str, error.absolute_path))
    if error.validator == "additionalProperties":
        known = [*error.schema["properties"]]
        unknown = [name for name in error.instance if name not in known]
        inside = f"{place} has" if place else "there is"
        return f"{inside} no {', '.join(map(repr, unknown))}.{suggest(unknown[0], known)} " + (
            f"There are {', '.join(known)}"
        )
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{', '.join(missing)} is missing"
    return f"{place}: {error.message}" if place else str(error.message)
