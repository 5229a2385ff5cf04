"""Presets: from which files, in which order, and what of them reaches the jobs."""

from functools import partial

import pytest
from typer.testing import CliRunner

from quacc.calculators.presets import described, merge, preset, preset_names
from quacc.cli.main import app
from quacc.errors import InputError, ParameterError
from quacc.local import run
from quacc.recipes.espresso.core import static_job
from quacc.recipes.lj import core as lj
from quacc.recipes.tools.workflow import first_submissions, resolved, workflow_of_job
from quacc.recipes.workflows import double_relax_flow, eos_flow
from quacc.runners.job import planned
from quacc.settings import change_settings


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the folder of the user's presets."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "quacc" / "presets"
    folder.mkdir(parents=True)
    return folder


def test_every_shipped_preset_is_accepted_by_its_calculators(own):
    rows = described()
    assert [row[0] for row in rows] == ["insulator", "metal", "precise"]
    for name, codes, meaning in rows:
        assert meaning
        for code in codes.split(", "):
            assert preset(code, name)


def test_shipped_then_shared_then_own(own, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "precise.yaml").write_text("espresso: {ecutwfc: 90, kspacing: 0.02}")
    (own / "precise.yaml").write_text("espresso: {ecutwfc: 100, input_data: {degauss: 0.001}}")
    with change_settings(presets_dir=str(shared)):
        found = preset("espresso", "precise")
    assert found == {
        "ecutwfc": 100,
        "kspacing": 0.02,
        "input_data": {"conv_thr": 1e-10, "degauss": 0.001},
    }
    assert preset("espresso", "precise")["kspacing"] == 0.03
    (own / "precise.yaml").write_text("espresso: {ecutwfc: 70}")  # read again
    assert preset("espresso", "precise")["ecutwfc"] == 70


def test_later_presets_win_and_keywords_above_all(own):
    (own / "mesh.yaml").write_text("espresso: {kpts: [2, 2, 2]}")
    found = preset("espresso", "precise", "mesh", "insulator")
    assert "kspacing" not in found  # only one of them counts
    assert found["input_data"] == {"conv_thr": 1e-10, "occupations": "fixed"}
    above = merge("espresso", found, {"kspacing": 0.1, "input_data": {"occupations": "smearing"}})
    assert above == {
        "ecutwfc": 80.0,
        "kspacing": 0.1,
        "input_data": {"conv_thr": 1e-10, "occupations": "smearing"},
    }


def test_sections_and_spellings_of_input_data(own):
    below = {"input_data": {"occupations": "fixed", "degauss": 0.02}}
    for above in ({"system": {"occupations": "smearing"}}, {"SYSTEM": {"Occupations": "smearing"}}):
        found = merge("espresso", below, {"input_data": above})["input_data"]
        assert found["system"] == {"occupations": "smearing", "degauss": 0.02}
    found = merge("espresso", {"input_data": {"system": {"degauss": 0.1}}}, below)["input_data"]
    assert found["system"] == {"occupations": "fixed", "degauss": 0.02}
    found = merge("espresso", below, {"input_data": {"Occupations": "smearing"}})["input_data"]
    assert found == {"degauss": 0.02, "Occupations": "smearing"}


def test_none_takes_nothing_away(own):
    assert merge("espresso", {"kspacing": 0.02}, {"kpts": None}) == {"kspacing": 0.02, "kpts": None}


def test_what_is_returned_is_the_caller_s_own(own):
    preset("espresso", "metal")["input_data"]["degauss"] = 99
    assert preset("espresso", "metal")["input_data"]["degauss"] == 0.015


def test_what_reaches_a_job_that_is_run_as_a_workflow(own):
    calculator = {"name": "espresso", "preset": "metal"}
    flow = workflow_of_job("static")
    given = {"pseudopotentials": {"Al": "Al.pz-vbc.UPF"}, "kpts": [2, 2, 2]}
    given |= {"input_data": {"mixing_beta": 0.3}}
    (first,) = first_submissions(flow, "Al", calculator=calculator, **given)
    found = planned(first.job, (first.item,), first.kwargs).parameters
    assert (found["kpts"], found["kspacing"]) == ([2, 2, 2], None)
    assert found["input_data"] == {
        "occupations": "smearing",
        "smearing": "mv",
        "degauss": 0.015,
        "mixing_beta": 0.3,
    }


def test_a_preset_that_changes_in_the_meantime(own):
    (own / "mine.yaml").write_text("lj: {epsilon: 0.0104, sigma: 3.4}")
    calculator = {"name": "lj", "preset": "mine"}
    result = double_relax_flow(
        "Ar", relax, "lj.relax_job", calculator=calculator, pre_relax_kwargs={"file": own}
    )
    assert result["parameters"]["calculator"] == {"name": "lj", "epsilon": 0.0104, "sigma": 3.4}


def relax(atoms, file):
    """A job of a user's own, while which the preset goes."""
    (file / "mine.yaml").unlink()
    return lj.relax_job(atoms, epsilon=0.0104, sigma=3.4)


def test_what_reaches_the_jobs_of_a_workflow(own):
    (own / "mesh.yaml").write_text("espresso: {kpts: [2, 2, 2]}")
    calculator = {"name": "espresso", "preset": ["precise", "mesh"], "ecutwfc": 16.0}
    keywords = {"pseudopotentials": {"Si": "Si.pz-vbc.UPF"}}

    def parameters(**more):
        flow = partial(eos_flow, relax_job=None, calculator=calculator)
        first = first_submissions(flow, "Si", static_kwargs={**keywords, **more})[0]
        return planned(first.job, (first.item,), first.kwargs).parameters

    found = parameters()
    assert (found["ecutwfc"], found["kpts"]) == (16.0, [2, 2, 2])
    assert found["input_data"] == {"conv_thr": 1e-10}
    found = parameters(kspacing=0.2, input_data={"degauss": 0.02})
    assert (found["kpts"], found["kspacing"]) == (None, 0.2)
    assert found["input_data"] == {"conv_thr": 1e-10, "degauss": 0.02}


def test_arguments_resolved_twice_are_the_same(own):
    (own / "mesh.yaml").write_text("espresso: {kpts: [2, 2, 2], input_data: {degauss: 0.02}}")
    calculator = {"name": "espresso", "preset": "mesh"}
    given = {"kspacing": 0.2, "input_data": {"mixing_beta": 0.3}}
    once = resolved(eos_flow, ("Si",), {"calculator": calculator, "static_kwargs": given})
    again = resolved(eos_flow, once.args, once.kwargs)
    assert once.arguments["static_kwargs"] == {
        "kpts": None,
        "kspacing": 0.2,
        "input_data": {"degauss": 0.02, "mixing_beta": 0.3},
    }
    assert again.arguments == once.arguments


def test_a_result_has_the_values_and_is_found_again_by_them(own):
    (own / "mine.yaml").write_text("lj: {epsilon: 0.0104, sigma: 3.4}")
    calculator = {"name": "lj", "preset": "mine", "rc": 8.0}
    result = run(eos_flow, "Ar", relax_job=None, calculator=calculator)
    values = {"name": "lj", "epsilon": 0.0104, "sigma": 3.4, "rc": 8.0}
    assert result["parameters"]["calculator"] == values
    assert run(eos_flow, "Ar", relax_job=None, calculator=values)["key"] == result["key"]
    (own / "mine.yaml").write_text("lj: {epsilon: 0.0105, sigma: 3.4}")
    assert run(eos_flow, "Ar", relax_job=None, calculator=calculator)["key"] != result["key"]


def test_two_keywords_of_which_one_counts():
    with pytest.raises(ParameterError, match=r"Only one of kpts and kspacing counts"):
        static_job.plan("Si", kpts=[2, 2, 2], kspacing=0.1)
    assert static_job.plan("Si", kpts=[2, 2, 2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("espresso: {ecutwcf: 60}", "mine.yaml: Unknown keyword 'ecutwcf'. Did you mean 'ecutwfc'"),
        ("espresso: {ecutwfc: -1}", "mine.yaml: ecutwfc"),
        ("espreso: {ecutwfc: 60}", "no calculator. Did you mean 'espresso'"),
        ("espresso: 60", "must give espresso keywords"),
        ("espresso: {", "mine.yaml cannot be read: line 2"),
        ("mopac: {relscf: 0.1}", "says nothing of espresso, only of mopac"),
        (None, "There is no preset 'mine'"),
    ],
)
def test_what_makes_no_sense(own, text, words):
    if text is not None:
        (own / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        preset("espresso", "mine")
    assert words in str(caught.value)


def test_a_name_is_no_path(own):
    (own.parent / "other.yaml").write_text("espresso: {ecutwfc: 60}")
    with pytest.raises(InputError, match="There is no preset"):
        preset("espresso", "../other")
    assert "other" not in preset_names()


def test_a_preset_that_everybody_may_write(own):
    (own / "mine.yaml").write_text("espresso: {ecutwfc: 60}")
    (own / "mine.yaml").chmod(0o666)
    with pytest.raises(InputError, match="chmod o-w"):
        preset("espresso", "mine")


def test_the_list(own):
    (own / "mine.yaml").write_text("description: for alloys\nemt: {asap_cutoff: true}")
    done = CliRunner().invoke(app, ["presets"])
    assert "for alloys" in done.output
    assert str(own) in done.output


def test_on_the_command_line(own):
    (own / "mine.yaml").write_text("emt: {asap_cutoff: true}")
    words = ["run", "static", "Cu", "--preset", "mine"]
    assert CliRunner().invoke(app, words).exit_code == 0
    given = ["run", "static", "Cu", "--calculator.asap_cutoff", "true"]
    assert CliRunner().invoke(app, given).exit_code == 0
    listed = CliRunner().invoke(app, ["results", "ls"]).output
    assert listed.count("emt.static_job") == 1  # the same calculation
