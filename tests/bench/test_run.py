"""Models × tasks: what is run, what is known, and what becomes of models that fail."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from quacc.bench import records
from quacc.bench.models import gather_models
from quacc.bench.run import expect, make_pairs, run
from quacc.bench.tasks import gather_jobs, gather_task_type, gather_tasks
from quacc.errors import InputError, StoreError
from quacc.settings import change_settings

QUACC = shutil.which("quacc", path=str(Path(sys.executable).parent))
METALS = ["Al", "Cu", "Ni"]


def yml(folder, name, text):
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


@pytest.fixture
def models(tmp_path):
    """EMT in Pythons in which it fails for nickel, in one way each."""
    (tmp_path / "broken").mkdir()
    yml(
        tmp_path / "broken",
        "sitecustomize.py",
        """\
        import os
        from ase.calculators.emt import EMT

        def calculate(self, atoms=None, *args, **kwargs):
            whole(self, atoms, *args, **kwargs)
            if "Ni" in atoms.symbols:
                how = os.environ["BROKEN"]
                if how == "crash":
                    os.abort()
                while how == "never":
                    pass
                self.results["energy"] = float("nan")

        whole, EMT.calculate = EMT.calculate, calculate
        """,
    )
    text = []
    for how in ("crash", "never", "nan"):
        python = yml(
            tmp_path,
            f"python-{how}",
            f"""\
            #!/bin/sh
            export PYTHONPATH={tmp_path / "broken"} BROKEN={how}
            exec {sys.executable} "$@"
            """,
        )
        python.chmod(0o755)
        text.append(_model(how, python))
    text.append(_model("nowhere", tmp_path / "no" / "python"))
    return yml(tmp_path, "models.yml", "\n".join(text))


def _model(name, python):
    return (
        f"{name}: {{title: EMT, calculator: emt, family: embedded atom, licence: LGPL, "
        # Others than those of the model emt, whose results would be taken for theirs.
        f"parameters: {{asap_cutoff: true}}, environment: {python}}}"
    )


def test_pairs_are_gathered():
    pairs = gather_jobs(["emt", "lj"], task_types=["physics"])
    assert {task.type for task, _ in pairs} == {"physics"}
    assert {model.name for _, model in pairs} == {"emt", "lj"}
    tagged = gather_jobs(["emt"], tags=["bulk", "metric"])
    assert "eos_bulk" in [task.name for task, _ in tagged]
    assert all({"bulk", "metric"} <= {*task.entry.tags} for task, _ in tagged)
    tasks = gather_tasks(["eos_bulk", "diatomics"])
    ((task, model),) = gather_task_type(gather_models(["emt"]), "reference", tasks)
    assert (task.name, model.name) == ("eos_bulk", "emt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {title: X, calculater: emt, family: f, licence: l}", "Did you mean 'calculator'"),
        ("x: {title: X, calculator: emmt, family: f, licence: l}", "no calculator 'emmt'"),
        ("x: {title: X, calculator: lj, family: f, licence: l, parameters: {eps: 1}}", "'eps'"),
        ("x: {title: X, calculator: emt, family: f}", "licence is missing"),
        ("x: {title: X, calculator: emt, family: f, licence: l, skip: 3}", "skip = 3"),
        ("../x: {title: X, calculator: emt, family: f, licence: l}", "letters, digits"),
        ("[]", "a file of names"),
        ("x: {", "cannot be read"),
    ],
)
def test_a_model_that_makes_no_sense(tmp_path, text, message):
    file = yml(tmp_path, "m.yml", text)
    with pytest.raises(InputError, match=message) as error:
        gather_models(files=[file])
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{workflow: eso, data: {name: dcdft}}", "Did you mean 'eos'"),
        ("{workflow: eos, data: {name: dcdf}}", "Did you mean 'dcdft'"),
        ("{workflow: eos, data: {name: dcdft, onyl: [Cu]}}", "Did you mean 'only'"),
        ("{workflow: eos, data: {name: dcdft, only: [Xx]}}", "no 'Xx'"),
        ("{workflow: eos, data: {name: dcdft}, parameters: {point: 7}}", "Did you mean 'points'"),
        ("{workflow: elastic, data: {name: dcdft}}", "name the metrics"),
        ("{workflow: eos, data: {name: structures, file: x.json}}", "name its licence"),
        ("{workflow: eos, data: {name: structures, file: x.json, licence: CC0}}", "its hash"),
    ],
)
def test_a_task_that_makes_no_sense(tmp_path, text, message):
    file = yml(tmp_path, "t.yml", f"t: {{title: T, type: reference, {text[1:]}")
    with pytest.raises(InputError, match=message):
        gather_tasks(["t"], [file])[0].data  # noqa: B018


def test_a_file_that_all_may_write_names_no_python(tmp_path):
    file = yml(tmp_path, "m.yml", _model("x", "/tmp/python"))
    file.chmod(0o666)
    with pytest.raises(InputError, match="every user may write to it"):
        gather_models(files=[file])


def test_what_a_model_is_for_decides_its_record(tmp_path):
    text = "x: {title: X, calculator: emt, family: f, licence: l, functional: PBE"
    keys = []
    for more in ("", ", elements: [Cu]"):
        file = yml(tmp_path, "m.yml", f"{text}{more}}}")
        (pair,) = make_pairs(gather_jobs(["x"], ["eos_bulk"], model_files=[file]), METALS)
        keys.append(pair.key())
    assert keys[0] != keys[1]


def test_another_functional_is_marked(tmp_path):
    file = yml(
        tmp_path,
        "t.yml",
        "t: {title: T, type: reference, workflow: eos, data: {name: dcdft, level: PBEsol (X)}}",
    )
    model = yml(
        tmp_path, "m.yml", "x: {title: X, calculator: emt, family: f, licence: l, functional: PBE}"
    )
    pairs = gather_jobs(["x"], ["t"], model_files=[model], task_files=[file])
    (record,) = run(pairs, elements=["Cu"])
    assert record["marks"] == ["the reference is PBEsol (X), the model's energies are PBE"]
    # Its numbers are known, and what is said of it is what the file says now.
    model.write_text(model.read_text().replace("functional: PBE", "functional: PBEsol"))
    pairs = gather_jobs(["x"], ["t"], model_files=[model], task_files=[file])
    (again,) = run(pairs, elements=["Cu"], tell=lambda *_: pytest.fail("computed again"))
    assert again["marks"] == []
    assert again["cases"] == record["cases"]


def test_names_that_are_unknown():
    with pytest.raises(InputError, match="Did you mean 'emt'"):
        gather_models(["emtt"])
    with pytest.raises(InputError, match="Did you mean 'eos_bulk'"):
        gather_tasks(["eos_bulc"])
    with pytest.raises(InputError, match="no type of tasks"):
        gather_jobs(["emt"], task_types=["references"])
    with pytest.raises(InputError, match="tag"):
        gather_jobs(["emt"], tags=["bulky"])


def test_a_record_and_what_is_known():
    ((task, model),) = gather_jobs(["emt"], ["eos_bulk"])
    first = task.run_task(model, elements=[*METALS, "Fe"])
    assert first["state"] == "complete"
    states = {one["name"]: one["state"] for one in first["cases"]}
    assert states == {"Al": "done", "Cu": "done", "Fe": "skipped", "Ni": "done"}
    assert "no parameters for Fe" in next(o["reason"] for o in first["cases"] if o["name"] == "Fe")
    metric = first["metrics"]["volume_error"]
    assert (metric["n"], metric["of"]) == (3, 4)
    errors = [one["errors"]["volume_error"] for one in first["cases"] if one["state"] == "done"]
    assert metric["value"] == pytest.approx(np.mean(errors), rel=1e-12)
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert first["task"]["data"]["licence"]
    assert any("reference is PBE" in mark for mark in first["marks"])
    # A model that says the mean of all references does worse than one that knows a little.
    assert first["task"]["metrics"]["volume_error"]["chance"] > metric["value"]

    seen = []
    again = run([(task, model)], elements=[*METALS, "Fe"], tell=lambda *_: seen.append(1))[0]
    assert again == first
    assert not seen
    other = run([(task, model)], elements=["Cu"])[0]
    assert other["key"] != first["key"]
    assert [one["name"] for one in other["cases"]] == ["Cu"]
    assert json.loads(json.dumps(first)) == first


def test_an_interrupted_run_goes_on_per_structure():
    """Of a probe, whose numbers are in no database but the record's."""
    pairs = gather_jobs(["emt"], ["diatomics"])

    def interrupt(pair, ended, failed, total):
        if ended == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pairs, elements=METALS, cores=1, tell=interrupt)
    (left,) = records.every()
    assert left["state"] == "partial"
    assert [one["state"] for one in left["cases"]].count("done") == 2
    (pair,) = make_pairs(pairs, METALS)
    assert expect(pair).known == 2
    totals = []
    (whole,) = run(pairs, elements=METALS, tell=lambda p, e, f, total: totals.append(total))
    assert totals == [1]
    assert whole["state"] == "complete"
    assert expect(pair).known == 3


def test_models_that_fail(models, tmp_path):
    pairs = gather_jobs(
        ["crash", "emt", "lj", "nan", "never", "nowhere"], ["eos_bulk"], model_files=[models]
    )
    begun = time.monotonic()
    found = {
        one["model"]["name"]: one for one in run(pairs, elements=METALS, time_limit=20.0, cores=2)
    }
    assert time.monotonic() - begun < 200
    assert found["emt"]["state"] == "complete"
    alone = yml(tmp_path, "alone.yml", _model("alone", sys.executable))
    with change_settings(results_dir=tmp_path / "alone"):
        (whole,) = run(gather_jobs(["alone"], ["eos_bulk"], model_files=[alone]), elements=METALS)
    assert whole["state"] == "complete"
    for name, message in {
        "crash": "SIGABRT|signal 6|Aborted|ended",
        "nan": "nan|finite",
        "never": "The pair's 20 s were over",
    }.items():
        one = found[name]
        assert one["state"] == "partial", (name, one["reason"])
        states = {case["name"]: case for case in one["cases"]}
        assert states["Al"]["state"] == states["Cu"]["state"] == "done"
        assert states["Ni"]["state"] == "failed"
        assert re.search(message, states["Ni"]["reason"]), (name, states["Ni"]["reason"])
        assert states["Ni"]["traceback"]
        # What the others say is what they say without a failure beside them.
        for symbol in ("Al", "Cu"):
            same = next(case for case in whole["cases"] if case["name"] == symbol)
            assert states[symbol]["values"] == same["values"]
        assert one["metrics"]["delta"]["n"] == 2
    assert found["nowhere"]["state"] == "unavailable"
    assert "There is no Python" in found["nowhere"]["reason"]
    assert found["lj"]["state"] == "skipped"
    assert "takes none" in found["lj"]["reason"]


def test_a_potential_whose_file_is_missing(tmp_path):
    entry = (
        "gone: {title: X, calculator: eam, parameters: {potential: gone.eam.alloy}, "
        "family: embedded atom, licence: l}"
    )
    pairs = gather_jobs(
        ["eam-cu", "gone"], ["eos_bulk"], model_files=[yml(tmp_path, "m.yml", entry)]
    )
    assert [model.is_here() for _, model in pairs] == [True, False]
    complete, unavailable = run(pairs, elements=["Cu"])
    assert complete["state"] == "complete"
    assert unavailable["state"] == "unavailable"
    assert "no potential 'gone.eam.alloy'" in unavailable["reason"]


def quacc(*arguments):
    return subprocess.run([QUACC, "bench", *arguments], capture_output=True, text=True, timeout=280)


def test_the_command(models):
    one = ["--models", "emt", "lj", "--tasks", "eos_bulk", "--elements", *METALS, "--local"]
    expected = quacc("run", *one, "--dry-run")
    assert "2 pairs, 3 structures" in expected.stdout, expected.stderr
    done = quacc("run", *one)
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stdout
    assert "mean over crystals; reference: PBE (WIEN2k)" in done.stdout
    again = quacc("run", *one, "--dry-run")
    assert "about 0 s" in again.stdout
    nan = ["--models", "nan", "--tasks", "eos_bulk", "--models-file", models]
    failing = quacc("run", *nan, "--elements", *METALS, "--local")
    assert failing.returncode == 1
    assert "partial" in failing.stdout
    typo = quacc("run", "--models", "emtt")
    assert typo.returncode == 1
    assert "Did you mean 'emt'" in typo.stderr
    listed = quacc("ls", "--models-file", models)
    assert "nowhere" in listed.stdout
    assert "eos_bulk" in listed.stdout


def test_records_that_are_none(tmp_path):
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(StoreError, match="no record"):
        list(records.every([file]))
    file.write_text("[")
    with pytest.raises(StoreError, match="cannot be read"):
        list(records.every([tmp_path]))


@pytest.mark.usefixtures("prefect_server")
def test_in_a_flow_the_numbers_are_the_same(models, monkeypatch, tmp_path):
    from prefect.client.orchestration import get_client

    from quacc.bench.tracked import run_tracked

    pairs = gather_jobs(["emt", "nan"], ["diatomics", "eos_bulk"], model_files=[models])
    with change_settings(results_dir=tmp_path / "there"):
        lines = []
        there = run_tracked(pairs, elements=METALS, tell=lines.append)
    here = run(pairs, elements=METALS)
    for mine, its in zip(here, there, strict=True):
        assert mine["key"] == its["key"]
        assert mine["state"] == its["state"]
        assert [c["values"] for c in mine["cases"]] == [c["values"] for c in its["cases"]]
        assert mine["metrics"] == its["metrics"]
    assert any("pairs failed" in line and "eos_bulk with nan" in line for line in lines)
    with get_client(sync_client=True) as client:
        runs = [r for r in client.read_task_runs() if "bench" in r.tags]
        states = {r.name: r.state_name for r in runs}
    assert states["eos_bulk with emt"] == "Completed"
    assert states["eos_bulk with nan"] == "Failed"


@pytest.mark.slurm
@pytest.mark.usefixtures("prefect_server", "slurm")
def test_in_batch_jobs_the_numbers_are_the_same(on_slurm, tmp_path):
    from quacc.bench.tracked import run_tracked
    from quacc.prefect import make_runner
    from quacc.store import Store

    pairs = gather_jobs(["emt"], ["diatomics", "eos_bulk"])
    with change_settings(results_dir=tmp_path / "there"):
        there = run_tracked(pairs, task_runner=make_runner(on_slurm), elements=METALS)
        jobs = [key for one in there for case in one["cases"] for key in case["jobs"]]
        ids = {one["provenance"]["job_id"] for one in Store().find(jobs).values()}
    assert jobs
    assert None not in ids
    here = run(pairs, elements=METALS)
    assert [one["key"] for one in here] == [one["key"] for one in there]
    for mine, its in zip(here, there, strict=True):
        assert [c["values"] for c in mine["cases"]] == [c["values"] for c in its["cases"]]
