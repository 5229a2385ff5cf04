"""Forms of workflows, schedules, and entrypoints, without a server."""

import inspect
import json
import socket
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.schema_tools.validation import is_valid_schema

from quacc.calculators import code_names, get_code
from quacc.deploy import values
from quacc.deploy.deployments import MODULE
from quacc.deploy.fields import number
from quacc.deploy.forms import form, names
from quacc.deploy.schedules import schedule, words
from quacc.errors import InputError, ParameterError, StructureError
from quacc.prefect import workflows
from quacc.recipes.tools.documented import JOBS, explained, explained_fully, plan_of_job
from quacc.recipes.tools.workflow import check_workflow

CU = "Cu\n1.0\n0 1.8 1.8\n1.8 0 1.8\n1.8 1.8 0\nCu\n1\nDirect\n0 0 0"
REQUIRED = {
    "adsorbate": "O",
    "atoms": "Cu",
    "final": "Cu",
    "initial": "Cu",
    "pre_relax_job": "emt.relax_job",
    "reaction": "N2 + 3 H2 -> 2 NH3",
    "source": ["Cu"],
    "structure": "Cu",
    "structures": ["Cu"],
}
PLANS = [*JOBS, "md", "neb", "ts"]


def test_every_workflow_and_job_has_one():
    flows = [name for name in vars(workflows) if name.endswith("_flow") and name != "as_flow"]
    tracked = [name.removesuffix("_flow") for name in flows]
    assert names() == sorted([*tracked, *JOBS])


def inner(schema):
    """Yield each field of a form, and those inside of it."""
    for name, one in schema["properties"].items():
        yield name, one
        if one.get("type") == "object":
            yield from inner(one)


@pytest.mark.parametrize("name", names())
def test_no_field_takes_json_and_every_one_is_explained(name):
    schema = form(name).schema
    is_valid_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    for field, one in inner(schema):
        assert len(one["description"].split()) > 1, field
        assert not {"anyOf", "oneOf", "$ref"} & {*one}, field  # which the dashboard shows as tabs
        if one.get("type") == "object":
            assert one["properties"], field
            assert one["additionalProperties"] is False
        elif one.get("type") == "array":
            assert one["items"]["type"] in ("string", "integer", "number"), field
        else:
            assert one.get("type") in ("string", "integer", "number", "boolean") or one["enum"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", names())
def test_all_that_a_person_can_type_is_asked_for(name):
    function = plan_of_job(name) if name in JOBS else form(name).serial
    fields = {one.name for one in form(name).fields}
    missing = inspect.signature(function).parameters.keys() - fields
    assert missing <= {"code", "calc_kwargs", "copy_files"}


@pytest.mark.parametrize("name", [*names(), "md", "neb", "ts"])
def test_units_are_those_of_the_documentation(name):
    function = plan_of_job(name) if name in PLANS and name != "md" else form(name).serial
    for one in inspect.signature(function).parameters.values():
        if str(one.annotation).split(" ")[0] in ("int", "float"):
            unit = number(name, one.name).unit
            assert unit in explained_fully(function)[one.name], one.name


def wrong(field):
    """Yield values just out of the bounds of a number."""
    step = 1 if field["type"] == "integer" else 1e-6
    if "exclusiveMinimum" in field:
        yield field["exclusiveMinimum"]
    if "minimum" in field:
        yield field["minimum"] - step
    if "maximum" in field:
        yield field["maximum"] + step


@pytest.mark.parametrize("name", [one for one in names() if one not in JOBS])
def test_bounds_of_workflows_are_those_that_they_check(name):
    """A form must not refuse what the workflow takes."""
    asked = form(name)
    given = {
        one.name: REQUIRED[one.name]
        for one in asked.fields
        if one.required and one.name != "calculator"
    }
    for one in asked.fields:
        for value in wrong(one.schema) if one.schema.get("type") in ("integer", "number") else ():
            with pytest.raises(ParameterError, match=one.name):
                asked.check({**given, "calculator": "emt", one.name: value})
            arguments = asked.arguments({**given, "calculator": "emt"})
            with pytest.raises(InputError, match=one.name):
                check_workflow(asked.serial, **{**arguments, one.name: value})


@pytest.mark.parametrize("job", PLANS)
def test_bounds_of_jobs_are_those_that_they_check(job):
    ends = {"initial": "Cu", "final": "Cu"} if job == "neb" else {"atoms": "Cu"}
    for name, one in inspect.signature(plan_of_job(job)).parameters.items():
        if str(one.annotation).split(" ")[0] not in ("int", "float"):
            continue
        field = {"type": str(one.annotation).split(" ")[0], **number(job, name).schema()}
        field["type"] = "integer" if field["type"] == "int" else "number"
        given = dict(ends)
        if name.endswith(("_barrier", "_minima", "_area")):
            given |= {"thermo": "hindered", "translation_barrier": 0.1, "site_area": 6.0}
            given |= {"rotation_barrier": 0.1, "rotational_minima": 6}
        for value in wrong(field):
            with pytest.raises(ParameterError, match=name):
                plan_of_job(job)(get_code("emt"), **{**given, name: value})


def test_a_calculator_is_a_menu_of_those_that_have_the_jobs():
    def menu(name):
        return form(name).schema["properties"]["calculator"]["enum"]

    assert menu("eos") == code_names()
    assert "espresso" in menu("bands")
    assert "emt" not in menu("bands")


def test_what_is_filled_in_becomes_the_arguments_of_the_workflow():
    given = {
        "atoms": " Cu ",
        "calculator": "lj",
        "keywords": ["epsilon=0.4", "sigma=2.3"],
        "relax_job": "emt.relax_job",
        "static_job": "static_job",
        "points": 9,
        "form": "vinet",
        "relax_kwargs": {"fmax": 0.02, "keywords": ["trajectory=true"], "steps": None},
        "static_kwargs": {},
    }
    assert form("eos").arguments(given) == {
        "atoms": "Cu",
        "calculator": {"name": "lj", "preset": [], "epsilon": 0.4, "sigma": 2.3},
        "relax_job": "emt.relax_job",
        "static_job": "static_job",
        "points": 9,
        "form": "vinet",
        "relax_kwargs": {"fmax": 0.02, "trajectory": True},
        "static_kwargs": {},
    }
    given = {"atoms": "Cu", "calculator": "emt", "relax_job": "none"}
    assert form("eos").arguments(given)["relax_job"] is None
    given = {"atoms": "Cu", "calculator": "emt", "substitutions": ["Cu=[Au, Pd]"]}
    assert form("defects").arguments(given)["substitutions"] == {"Cu": ["Au", "Pd"]}
    given = {"reaction": "2 X -> X2", "calculator": "emt", "structures": ["X=/a/x.xyz"]}
    assert form("reaction").arguments(given)["structures"] == {"X": "/a/x.xyz"}


def test_what_the_workflow_decides_itself_is_not_asked_for():
    def nested(name, keywords):
        return form(name).schema["properties"][keywords]["properties"]

    assert "relax_cell" not in nested("eos", "relax_kwargs")
    assert nested("double_relax", "pre_relax_kwargs")["relax_cell"]["enum"][:2] == [False, True]
    assert not any("default" in one for one in nested("eos", "relax_kwargs").values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"atoms": "Cu", "calculator": "emt", "point": 9}, "no 'point'. Did you mean 'points'"),
        ({"atoms": "Cu", "calculator": "emt", "points": 4}, "points: 4 is less"),
        ({"atoms": "Cu", "calculator": "emt", "form": "x"}, "form: 'x' is not one of"),
        ({"calculator": "emt"}, "atoms is missing"),
        ({"atoms": "Cu", "calculator": "em"}, "calculator: 'em' is not one of"),
        (
            {"atoms": "Cu", "calculator": "emt", "relax_kwargs": {"fmaxx": 1}},
            "relax_kwargs has no 'fmaxx'. Did you mean 'fmax'",
        ),
        ({"atoms": "Cu", "calculator": "emt", "keywords": ["fmax"]}, "KEY=VALUE"),
        ({"atoms": "a\nb\nc", "calculator": "emt"}, "no POSCAR"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        form("eos").arguments(given)


@pytest.mark.parametrize(("kind", "name"), [("cif", "cu.cif"), ("vasp", "POSCAR")])
def test_the_text_of_a_file_is_a_structure(kind, name, tmp_path):
    gold = bulk("AuCu", "rocksalt", a=5.0)
    ase.io.write(tmp_path / name, gold, format=kind)
    read = values.structure((tmp_path / name).read_text())
    assert sorted(read.symbols) == ["Au", "Cu"]
    assert np.isclose(read.get_volume(), gold.get_volume())
    assert read.pbc.all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_x\n_cell_length_a 3", "no CIF file"),
        ("data_x\n_atom_site_moment.label\nA", "magnetic moments"),
        (CU.replace("1.8", "0.1"), "closer|near|overlap|distance"),
    ],
)
def test_a_text_that_is_no_structure(text, message):
    with pytest.raises(StructureError, match=message):
        values.structure(text)


def test_texts_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.vasp").write_text(CU)
    asked = form("hull")
    changes = ["structures=mine.vasp", "structures=Cu", "relax_cell=false", "relax_kwargs.fmax=0.1"]
    assert asked.filled([*changes, "relax_kwargs.keywords=a=1"]) == {
        "structures": [str(tmp_path / "mine.vasp"), "Cu"],
        "relax_cell": False,
        "relax_kwargs": {"fmax": 0.1, "keywords": ["a=1"]},
    }
    assert form("eos").filled([f"atoms={CU}"]) == {"atoms": CU}
    assert form("phonon").filled(["supercell=[2, 2, 2]"]) == {"supercell": [2, 2, 2]}
    with pytest.raises(InputError, match="--set takes KEY=VALUE"):
        asked.filled(["relax_cell"])
    with pytest.raises(InputError, match=r"There is no workflow 'eoss'. Did you mean 'eos'"):
        form("eoss")


def test_a_batch_of_a_folder_or_of_names(tmp_path):
    (tmp_path / "a.vasp").write_text(CU)
    arguments = form("batch").arguments({"source": [str(tmp_path)], "calculator": "emt"})
    assert arguments["source"] == str(tmp_path)
    arguments = form("batch").arguments({"source": ["Cu", CU], "calculator": "emt"})
    assert arguments["source"][0] == "Cu"
    assert len(arguments["source"][1]) == 1


def test_references_to_other_functions_are_followed():
    from quacc.recipes.workflows import bulk_to_slabs_flow

    assert "make_slabs" in explained(inspect.getdoc(bulk_to_slabs_flow))["max_index"]
    assert explained_fully(bulk_to_slabs_flow)["max_index"] == "Largest Miller index."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cron": "0 6 * * mon", "tz": "Europe/Berlin"}, "cron 0 6 * * mon, Europe/Berlin"),
        ({"interval": "90m"}, "every 1:30:00, UTC"),
        ({"interval": "2"}, "every 0:00:02, UTC"),
        ({"rrule": "FREQ=WEEKLY;BYDAY=MO", "tz": "Asia/Tokyo"}, "rrule FREQ=WEEKLY;BYDAY=MO, Asia"),
    ],
)
def test_schedules(given, told):
    assert words(schedule(**given)).startswith(told)
    assert schedule(**given) == schedule(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cron": "0 6 * * mon", "interval": "1d"}, "--cron and --interval"),
        ({"cron": "6 o'clock"}, "--cron .* cannot be read"),
        ({"interval": "soon"}, "--interval is at least"),
        ({"interval": "0.5s"}, "at least a second"),
        ({"rrule": "FREQ=OFTEN"}, "--rrule .* cannot be read"),
        ({"rrule": "FREQ=SECONDLY;INTERVAL=5"}, "Take --interval"),
        ({"interval": "1d", "tz": "Europe/Berlim"}, "Did you mean 'Europe/Berlin'"),
        ({"tz": "UTC"}, "--tz needs"),
    ],
)
def test_schedules_that_make_no_sense(given, message):
    with pytest.raises(InputError, match=message):
        schedule(**given)


def test_a_worker_finds_every_flow_by_its_name():
    for name in names():
        flow = load_flow_from_entrypoint(f"{MODULE}.{name}", use_placeholder_flow=False)
        assert flow.name == f"{name}_flow"
        asked = form(name)
        assert [*flow.parameters.properties] == [one.name for one in asked.fields]
        assert {*flow.parameters.required} == {one.name for one in asked.fields if one.required}


def test_the_command_line_loads_no_prefect_before_it_needs_it():
    program = "import sys, quacc.cli.deployment; print('prefect' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "False", shown.stderr


def test_a_server_that_is_not_there(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from typer.testing import CliRunner

    from quacc.cli.main import app
    from quacc.errors import SettingsError

    with pytest.raises(SettingsError, match="No Prefect server is configured"):
        CliRunner().invoke(app, ["deployment", "ls"], catch_exceptions=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(SettingsError, match="answer"):
        CliRunner().invoke(app, ["deployment", "ls"], catch_exceptions=False)
