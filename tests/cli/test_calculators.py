"""``quacc calculators`` tells what can be used, whatever is broken."""

import json
import os
import pty
import subprocess

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
    output = call(QUACC_COMMANDS='{"turbomole": "srun ridft", "mopca": "mopac"}')[1]
    assert "commands.mopca names no calculator" in output
    assert "Did you mean 'mopac'?" in output
    assert "commands.turbomole names no calculator" in output
    assert "Warning" not in call()[1]
    assert "mopac: No such" not in output


@pytest.mark.parametrize("text", ["exec mopac\n", "#!/bin/sh\nexec sleep 30\n"])
def test_a_program_that_does_not_work(tmp_path, monkeypatch, text):
    monkeypatch.setattr("quacc.calculators.program.PATIENCE", 0.2)
    launcher = tmp_path / "launch"
    launcher.write_text(text)
    launcher.chmod(0o755)
    rows, _ = call(QUACC_COMMANDS__MOPAC=str(launcher))
    assert rows["mopac"].split()[1] == "no"
    assert "commands.mopac" in rows["mopac:"]


def test_other_mistakes_are_shown_below():
    assert "No closing quotation" in call(QUACC_COMMANDS__MOPAC="mopac 'x [bold]")[0]["mopac:"]
    assert "Did you mean 'QUACC_STORE'?" in call(QUACC_STOR="/x.db")[0]["mopac:"]


def test_reasons_stand_below_the_table_and_use_its_width():
    """In a terminal of 80 columns, words are not stacked one above the other."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["quacc", "calculators"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"QUACC_COMMANDS__MOPAC": "/no/mopac", "COLUMNS": "80", "TERM": "dumb"},
    ):
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    table, reasons = written.decode().split("Not usable here:")
    assert max(map(len, written.decode().splitlines())) <= 80
    [row] = [line for line in table.splitlines() if line.startswith("mopac")]
    assert row.split()[:3] == ["mopac", "no", "-"]
    words = " ".join(reasons.split())
    assert "mopac: The program '/no/mopac' is not found. The setting commands.mopac" in words


def test_for_scripts():
    done = CliRunner().invoke(
        app, ["calculators", "--json"], env={"QUACC_COMMANDS__MOPAC": "/no/mopac"}
    )
    rows = {row["name"]: row for row in json.loads(done.output)}
    assert [*rows] == code_names()
    assert rows["emt"]["usable"] is True
    assert rows["emt"]["reason"] is None
    assert "Cu" in rows["emt"]["elements"]
    assert rows["mopac"]["usable"] is False
    assert "/no/mopac" in rows["mopac"]["reason"]
    assert rows["mopac"]["version"] is None


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
