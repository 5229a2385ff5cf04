"""``quacc calculators`` tells what can be used, whatever is broken."""

import pytest
from typer.testing import CliRunner

from quacc.calculators import code_names, get_code
from quacc.cli.main import app


def call(**environment):
    environment = {"COLUMNS": "400", **environment}
    done = CliRunner().invoke(app, ["calculators"], env=environment, catch_exceptions=False)
    assert done.exit_code == 0
    rows = {line.split()[0]: line for line in done.output.splitlines() if line}
    assert rows["emt"].split()[1] == rows["lj"].split()[1] == "yes"
    return rows, done.output


def test_commands_that_start_no_calculator_are_named():
    rows, output = call(QUACC_COMMANDS='{"turbomole": "srun ridft", "mopca": "mopac"}')
    assert "commands.mopca names no calculator" in output
    assert "Did you mean 'mopac'?" in output
    assert "commands.turbomole names no calculator" in output
    assert "Warning" not in call()[1]
    assert "No such" not in rows["mopac"]


@pytest.mark.parametrize("text", ["exec mopac\n", "#!/bin/sh\nexec sleep 30\n"])
def test_a_program_that_does_not_work(tmp_path, monkeypatch, text):
    monkeypatch.setattr("quacc.calculators.program.PATIENCE", 0.2)
    launcher = tmp_path / "launch"
    launcher.write_text(text)
    launcher.chmod(0o755)
    rows, _ = call(QUACC_COMMANDS__MOPAC=str(launcher))
    assert rows["mopac"].split()[1] == "no:"
    assert "commands.mopac" in rows["mopac"]


def test_other_mistakes_are_shown_in_the_row():
    assert "No closing quotation" in call(QUACC_COMMANDS__MOPAC="mopac 'x [bold]")[0]["mopac"]
    assert "Did you mean 'QUACC_STORE'?" in call(QUACC_STOR="/x.db")[0]["mopac"]


def test_one_is_shown_with_all_that_it_takes():
    for name in code_names():
        done = CliRunner().invoke(app, ["calculators", "show", name], env={"COLUMNS": "400"})
        assert done.exit_code == 0, done.output
        code = get_code(name)
        for word, keyword in {**code.keywords, **code.options}.items():
            assert word in done.output
            assert keyword.meaning.split()[0] in done.output
        assert code.title in done.output
    assert CliRunner().invoke(app, ["calculators", "show", "etm"]).exit_code == 1
