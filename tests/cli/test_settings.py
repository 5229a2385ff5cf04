"""``quacc settings``, and as a program of its own."""

import os
import stat
import subprocess
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from quacc.cli.settings import app
from quacc.errors import QuaccError


@pytest.fixture
def file(tmp_path):
    return tmp_path / ".quacc.yaml"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for variable in [*os.environ]:
        if variable.startswith("QUACC_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments, **environment):
        result = CliRunner().invoke(app, arguments, env=environment)
        error = result.exception
        if not isinstance(error, QuaccError | SystemExit | None):
            raise error
        # The command quacc prints what is wrong.
        stderr = f"{result.stderr}{error}\n" if isinstance(error, QuaccError) else result.stderr
        return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=stderr)

    return run


def row(output, name):
    [line] = [line for line in output.splitlines() if f"│ {name} " in line]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_show(settings, file):
    file.write_text("results_dir: ~/results\ncommands:\n  mopac: '[bold]srun mopac'\n")
    shown = settings("show", QUACC_COMPRESS="no")
    assert shown.returncode == 0
    assert row(shown.stdout, "results_dir")[1:3] == [str(file.parent / "results"), str(file)]
    assert row(shown.stdout, "store")[1:3] == [f"{file.parent}/results/results.db", "default"]
    assert row(shown.stdout, "compress")[1:3] == ["False", "environment variable QUACC_COMPRESS"]
    assert row(shown.stdout, "commands.mopac")[1:3] == ["[bold]srun mopac", str(file)]
    assert "Gzip" in row(shown.stdout, "compress")[3]


def test_program(settings, file):
    program = ["quacc", "settings"]
    done = subprocess.run([*program, "set", "compress", "no"], capture_output=True, text=True)
    assert done.stdout == f"Set compress to no in {file}.\n"
    environment = {**os.environ, "QUACC_COMPRES": "no"}
    shown = subprocess.run([*program, "show"], capture_output=True, text=True, env=environment)
    assert row(shown.stdout, "compress")[1:3] == ["False", str(file)]
    assert shown.returncode == 1
    assert "Did you mean 'QUACC_COMPRESS'?" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_show_with_mistakes(settings, file):
    file.write_text("result_dir: /x\nscratch_dir: /scratch\n")
    shown = settings("show", QUACC_COMPRES="no", QUACC_STORE="mysql://me:geheim@host/db")
    assert shown.returncode == 1
    assert row(shown.stdout, "scratch_dir")[1:3] == ["/scratch", str(file)]
    assert row(shown.stdout, "store")[2] == "default"
    assert f"'result_dir' ({file})" in shown.stderr
    assert "Did you mean 'QUACC_COMPRESS'?" in shown.stderr
    assert "postgresql://" in shown.stderr
    assert "geheim" not in shown.stdout + shown.stderr


def test_show_with_a_broken_file(settings, file):
    file.write_text("compress: true\nstore: 'open\n")
    shown = settings("show", QUACC_RESULTS_DIR="/x")
    assert shown.returncode == 1
    assert row(shown.stdout, "results_dir")[1] == "/x"
    assert f"Cannot read {file}: line 3: " in shown.stderr
    assert "begins in line 2. Correct it in a text editor." in shown.stderr


def test_passwords_are_not_shown(settings, file):
    url = "postgresql://me:geheim@host/db"
    done = settings("set", "store", url)
    shown = settings("show")
    assert file.read_text() == f"store: {url}\n"
    assert row(shown.stdout, "store")[1] == "postgresql://me:***@host/db"
    assert "geheim" not in done.stdout + done.stderr + shown.stdout + shown.stderr


COMMENTED = """\
# My settings

# on the project's disk
results_dir: "~/results"  # backed up

commands:
  # queue
  mopac: srun mopac  # one core
  vasp: |
    srun
    vasp

# no space left
compress: true
# the end
"""


def test_set_keeps_comments_and_order(settings, file):
    file.write_text(COMMENTED)
    assert settings("set", "commands.Mopac", "srun -n 1 mopac").returncode == 0
    assert settings("set", "compress", "no").returncode == 0
    assert settings("set", "results_dir", "$HOME/elsewhere").returncode == 0
    expected = COMMENTED.replace("srun mopac", "srun -n 1 mopac")
    expected = expected.replace("compress: true", "compress: false")
    expected = expected.replace("~/results", "$HOME/elsewhere")
    assert _words(file.read_text()) == _words(expected)
    assert row(settings("show").stdout, "results_dir")[1] == f"{file.parent}/elsewhere"


def _words(text):
    return [line.split() for line in text.splitlines()]  # a comment may move sideways


def test_new_settings_leave_the_other_lines_alone(settings, file):
    text = COMMENTED.replace("mopac", "orca")
    file.write_text(text)
    assert settings("set", "commands.mopac", "srun mopac").returncode == 0
    assert settings("set", "scratch_dir", "/scratch").returncode == 0
    lines = file.read_text().splitlines()
    lines.remove("  mopac: srun mopac")
    lines.remove("scratch_dir: /scratch")
    assert lines == text.splitlines()


@pytest.mark.parametrize("text", [None, "", "# only a comment", "commands:\n", "{}\n"])
def test_first_setting(settings, file, text):
    if text is not None:
        file.write_text(text)
    assert settings("set", "commands.mopac", "srun mopac").returncode == 0
    assert row(settings("show").stdout, "commands.mopac")[1] == "srun mopac"
    assert file.read_text().startswith((text or "").rstrip("{}\n"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("result_dir", "/x", "Did you mean 'results_dir'?"),
        ("comands.mopac", "x", "Did you mean 'commands.mopac'?"),
        ("results_dir", "here", "absolute"),
        ("results_dir", "", "absolute"),
        ("compress", "maybe", "boolean"),
        ("commands", "srun", "own name"),
        ("commands.mopac", " ", "at least 1 character"),
        ("commands.mopca", "mopac", "Did you mean 'mopac'?"),
        ("commands.emt", "emt", "commands.emt names no calculator that starts a program"),
        ("store", "/tmp/foo", "must end in '.db'"),
        ("checkpoint_interval", "0", "greater than 0"),
        ("walltime_margin", "inf", "finite number"),
        ("results_dir", "/tmp/\udcff", "no text"),
        ("commands.mopac", "/tmp/\udcff", "unicode"),
    ],
)
def test_set_refuses(settings, file, name, value, message):
    file.write_text(COMMENTED)
    done = settings("set", name, value)
    assert done.returncode == 1
    assert message in done.stderr
    assert file.read_text() == COMMENTED


def test_set_works_beside_other_mistakes(settings, file):
    file.write_text("result_dir: /x\ncompress: maybe\n")
    assert settings("set", "compress", "yes").returncode == 0
    assert file.read_text() == "result_dir: /x\ncompress: true\n"


def test_set_leaves_a_broken_file_alone(settings, file):
    file.write_text("store: 'open\n")
    done = settings("set", "compress", "yes")
    assert done.returncode == 1
    assert "Cannot read" in done.stderr
    assert file.read_text() == "store: 'open\n"


def test_unset_in_a_broken_file_names_the_line(settings, file):
    file.write_bytes(b"compress: true\nresults_dir: /tmp/\xff\n")
    done = settings("unset", "results_dir")
    assert done.returncode == 1
    assert f"Cannot read {file}: line 2 holds bytes that are no text" in done.stderr
    assert "Correct it in a text editor" in done.stderr
    assert file.read_bytes() == b"compress: true\nresults_dir: /tmp/\xff\n"


def test_what_could_not_be_read_again_is_not_written(settings, file):
    text = "stor: &here /x.db\nstore: *here\n"
    file.write_text(text)
    done = settings("unset", "stor")  # would leave an alias of nothing
    assert done.returncode == 1
    assert "would become unreadable (line 1: found undefined alias" in done.stderr
    assert file.read_text() == text


def test_undecodable_bytes_on_the_command_line(settings, file):
    program = ["quacc", "settings", "set", "results_dir", b"/tmp/\xff"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds bytes that are no text" in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_set_says_what_is_stronger(settings):
    assert "QUACC_COMPRESS" in settings("set", "compress", "no", QUACC_COMPRESS="1").stderr
    assert settings("set", "compress", "no").stderr == ""


def test_set_follows_links(settings, file):
    target = file.parent / "dotfiles" / "quacc.yaml"
    target.parent.mkdir()
    target.write_text("compress: true\n")
    file.symlink_to(target)
    assert settings("set", "compress", "no").returncode == 0
    assert file.is_symlink()
    assert target.read_text() == "compress: false\n"
    assert [path.name for path in target.parent.iterdir()] == ["quacc.yaml"]


def test_set_in_a_home_that_does_not_exist(settings, tmp_path):
    done = settings("set", "compress", "no", HOME=str(tmp_path / "gone"))
    assert done.returncode == 1
    assert "Cannot write" in done.stderr


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("results_dir", ['results_dir: "~/results"  # backed up']),
        ("commands.mopac", ["  mopac: srun mopac  # one core"]),
        ("commands.VASP", ["  vasp: |", "    srun", "    vasp", ""]),
        ("compress", ["compress: true"]),
    ],
)
def test_unset_cuts_out_its_lines_only(settings, file, name, gone):
    file.write_text(COMMENTED)
    done = settings("unset", name)
    assert done.returncode == 0
    assert f"Removed {name}" in done.stdout
    text = file.read_text()
    assert len(text.splitlines()) == len(COMMENTED.splitlines()) - len(gone)
    assert text == COMMENTED.replace("\n".join(gone) + "\n", "")


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("stor: x\ncompress: true\n", "stor", "compress: true\n"),
        ("comands:\n  a: b\n  c: d\n# e\nstore: /x\n", "comands", "# e\nstore: /x\n"),
        ("commands.mopac: x\nstore: /x\n", "commands.mopac", "store: /x\n"),
        ("store:\n# about\ncompress: true\n", "store", "# about\ncompress: true\n"),
        ("commands:\n  mopac: x\nstore: /x\n", "commands.mopac", "store: /x\n"),
        ("commands:\n  mopac: x\n", "commands", ""),
        ("5: x\nstore: /x\n", "5", "store: /x\n"),
        ("lst:\n- a\n- b\nstore: /x\n", "lst", "store: /x\n"),
        ("{stor: x, compress: true}\n", "stor", "{compress: true}\n"),
        ("commands: {a: b, c: d}\n", "commands.a", "commands: {c: d}\n"),
        ("store: /x\nstor: y", "stor", "store: /x\n"),
    ],
)
def test_unset(settings, file, text, name, left):
    file.write_text(text)
    assert settings("unset", name).returncode == 0
    assert file.read_text() == left


def test_unset_of_what_is_not_set(settings, file):
    file.write_text("comands: {}\n")
    done = settings("unset", "commands")
    assert "commands is not set" in done.stdout
    assert "Did you mean 'comands'?" in done.stdout
    assert file.read_text() == "comands: {}\n"
