"""The options of ``quacc run``."""

import inspect

import pytest
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.cli.options import help_of, option_of, options_in
from quacc.errors import InputError
from quacc.recipes import workflows
from quacc.recipes.emt import core
from quacc.recipes.espresso import core as espresso
from quacc.recipes.tools.documented import JOBS, explained, plan_of_job
from quacc.recipes.workflows import eos_flow

FLOWS = [name for name in workflows.__all__ if name.endswith("_flow")]


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_is_an_option_with_its_meaning(name):
    flow = getattr(workflows, name)
    text = help_of(flow)
    meanings = explained(inspect.getdoc(flow))
    for parameter in inspect.signature(flow).parameters:
        assert option_of(parameter) in text or f"  {parameter.upper()}\n" in text
        assert meanings[parameter].split()[0] in text
        assert "``" not in meanings[parameter]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", JOBS)
def test_every_parameter_of_a_job(name):
    text = help_of(plan_of_job(name))
    own = inspect.signature(plan_of_job(name)).parameters
    job = getattr(core, f"{name}_job", None) or getattr(espresso, f"{name}_job")
    for parameter in inspect.signature(job).parameters:
        if parameter in own and parameter not in ("atoms", "calc_kwargs", "copy_files"):
            assert option_of(parameter) in text
    assert "quacc calculators show NAME" in text
    done = CliRunner().invoke(app, ["run", name, "--help"])
    assert done.output == f"{text}\n"


@pytest.mark.parametrize("words", [["run", "eos", "-h"], ["run", "-c", "emt", "eos", "--help"]])
def test_the_help_of_a_workflow(words):
    done = CliRunner().invoke(app, words)
    assert "--points  (default: 7)\n      Number of volumes" in done.output
    assert done.exit_code == 0


def test_help_without_a_workflow_is_that_of_the_command():
    done = CliRunner().invoke(app, ["run", "-h"])
    assert done.exit_code == 0
    assert "STRUCTURE" in done.output


def test_options_among_structures():
    words = [
        *("Cu", "--points", "5", "Al", "--relax-positions", "a.cif", "--step=0.02"),
        *("--relax-kwargs.fmax", "-1", "--no-relax-positions", "--", "Ag"),
    ]
    assert options_in(words, eos_flow) == (
        ["Cu", "Al", "a.cif", "Ag"],
        [
            ("points", "5"),
            ("relax_positions", "true"),
            ("step", "0.02"),
            ("relax_kwargs.fmax", "-1"),
            ("relax_positions", "false"),
        ],
    )


@pytest.mark.parametrize("words", [["Cu", "--points"], ["Cu", "--points", "--step", "3"]])
def test_an_option_without_a_value(words):
    with pytest.raises(InputError, match="--points needs a value"):
        options_in(words, eos_flow)
