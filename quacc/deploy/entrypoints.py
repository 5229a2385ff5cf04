"""Every workflow and job as a flow that a worker loads by its name in this module.

Deployments name them, such as ``quacc.deploy.entrypoints.eos``. Their parameters are those of
the form (:mod:`quacc.deploy.forms`), as a person filled it in.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from quacc.deploy.forms import Form, form
from quacc.deploy.runner_here import RunnerHere
from quacc.deploy.values import structure
from quacc.errors import StructureError
from quacc.prefect.flows import JobFlow, as_flow, run_name
from quacc.prefect.notify import notify


def _entrypoint(name: str) -> JobFlow:
    asked = form(name)
    tracked = as_flow(asked.serial)

    def run(**given: Any) -> Any:
        return tracked.fn(**asked.arguments(given))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = inspect.getdoc(asked.serial)
    run.serial = asked.serial  # type: ignore[attr-defined]
    keyword = inspect.Parameter.KEYWORD_ONLY
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(one.name, keyword)
            if one.required
            else inspect.Parameter(one.name, keyword, default=one.schema.get("default"))
            for one in asked.fields
        ]
    )
    return JobFlow(
        run,
        name=f"{name}_flow",
        flow_run_name=lambda: _run_name(asked),
        task_runner=RunnerHere(),
        on_failure=[notify],
        on_crashed=[notify],
        validate_parameters=False,  # the form does, and says it better
    )


def _run_name(asked: Form) -> str:
    """Return the name of the flow run, such as "eos Cu"; of a file, its own name."""
    text = flow_run.get_parameters().get(asked.fields[0].name)
    try:
        given = structure(text) if isinstance(text, str) else text
    except StructureError:  # the flow says what is wrong with it
        given = None
    if isinstance(given, str):  # of a path, its end
        given = Path(given).name
    return run_name(asked.serial, given)


adsorption = _entrypoint("adsorption")
bands = _entrypoint("bands")
batch = _entrypoint("batch")
bulk_to_slabs = _entrypoint("bulk_to_slabs")
defects = _entrypoint("defects")
dfpt = _entrypoint("dfpt")
dos = _entrypoint("dos")
double_relax = _entrypoint("double_relax")
elastic = _entrypoint("elastic")
eos = _entrypoint("eos")
freq = _entrypoint("freq")
hull = _entrypoint("hull")
magnetic_order = _entrypoint("magnetic_order")
md = _entrypoint("md")
molecule = _entrypoint("molecule")
neb = _entrypoint("neb")
order = _entrypoint("order")
phonon = _entrypoint("phonon")
qha = _entrypoint("qha")
reaction = _entrypoint("reaction")
relax = _entrypoint("relax")
stacking_fault = _entrypoint("stacking_fault")
static = _entrypoint("static")
ts = _entrypoint("ts")
vacancy = _entrypoint("vacancy")
work_function = _entrypoint("work_function")
