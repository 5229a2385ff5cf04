"""The property workflows as Prefect flows, and from the command line."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.context import FlowRunContext

from quacc.recipes import report
from quacc.recipes.emt.core import relax_job
from quacc.recipes.workflows.converge import converge
from quacc.store import Store
from quacc.util.wflows import make_runner
from tests import emt
from tests.tracked import defects_flow, elastic_flow, eos_flow, hull_flow, phonon_flow

pytestmark = pytest.mark.usefixtures("prefect_server")

README = Path(__file__).parents[2] / "README.md"


def call(*arguments, **environment):
    return subprocess.run(
        ["quacc", *arguments], capture_output=True, text=True, env=os.environ | environment
    )


def jobs():
    return {row.key for row in Store().select() if row.recipe.endswith("_job")}


def test_flows_are_the_serial_ones():
    @flow(task_runner=make_runner())
    def campaign():
        return (
            eos_flow("Cu"),
            phonon_flow("Cu", supercell=[2, 2, 2]),
            hull_flow(["Cu", "Au"]),
            defects_flow("Cu", substitutions={"Cu": ["Au"]}, supercell=[2, 2, 2]),
        )

    for tracked, serial in zip(
        campaign(),
        (
            emt.eos_flow("Cu"),
            emt.phonon_flow("Cu", supercell=[2, 2, 2]),
            emt.hull_flow(["Cu", "Au"]),
            emt.defects_flow("Cu", substitutions={"Cu": ["Au"]}, supercell=[2, 2, 2]),
        ),
        strict=True,
    ):
        assert tracked["key"] == serial["key"]
        assert report.table(tracked) == report.table(serial)
        assert report.summary(Store().get(tracked["key"])) == report.summary(serial)


def test_more_points_compute_only_what_is_new():
    @flow(task_runner=make_runner())
    def campaign(points):
        return eos_flow("Cu", points=points)

    campaign(7)
    before = jobs()
    assert len(before) == 8
    campaign(11)
    assert len(jobs() - before) == 4


def test_converge_takes_flows_of_prefect():
    @flow(task_runner=make_runner())
    def campaign():
        return converge(eos_flow, "points", [5, 7], "Cu")

    result = campaign()
    assert result["property"] == "volume"
    assert np.ptp([one["volume"] for one in result["properties"]]) < 0.05
    assert len(jobs()) == 8  # those of the larger; the smaller's are among them


LATEST = {"sort": "CREATED_DESC"}
"""Of several tests' that run at the same time."""


def test_the_dashboard_has_table_and_figure():
    @flow(task_runner=make_runner())
    def campaign():
        return elastic_flow(bulk("Cu"))

    result = campaign()
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json=LATEST).json()
    mine = [one for one in found if result["key"][:10] in (one["description"] or "")]
    assert sorted(one["key"] for one in mine) == [
        "emt-elastic-flow",
        "emt-elastic-flow-figure",
        "emt-elastic-flow-structure",
    ]
    assert [one["type"] for one in mine].count("table") == 1
    for one in mine:
        assert "bulk modulus" in one["description"]
        assert f"`quacc results show {result['key'][:10]}`" in one["description"]


def test_a_stored_result_names_its_flow_run():
    runs = []

    @flow
    def campaign():
        runs.append(FlowRunContext.get().flow_run.id)
        return eos_flow(bulk("Cu"), points=5)

    result = campaign()
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(parent_flow_run_id={"any_": runs})
        (inner,) = client.read_flow_runs(flow_run_filter=chosen)
    assert "flow_run" not in result
    assert Store().get(result["key"])["flow_run"] == str(inner.id)
    shown = call("results", "show", result["key"][:10], COLUMNS="200")
    assert str(inner.id) in shown.stdout


def test_the_dashboard_has_the_warnings():
    result = elastic_flow(bulk("Cu", a=3.7), relax_job=None, points=1)
    assert any("under a stress" in warning for warning in result["warnings"])
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json=LATEST).json()
    mine = [one for one in found if result["key"][:10] in (one["description"] or "")]
    assert len(mine) == 3
    for warning in result["warnings"]:
        assert all(f"**Warning:** {warning}" in one["description"] for one in mine)


def test_the_command_line():
    ran = call("run", "eos", "Cu", "Al", "--points", "5", COLUMNS="200")
    assert ran.returncode == 0, ran.stderr
    assert "Running eos of Cu with emt." in ran.stdout
    assert "Al: V0 = " in ran.stdout
    key = ran.stdout.split("quacc results show ")[1].split()[0]
    shown = call("results", "show", key, COLUMNS="200")
    assert "Cu: V0 = " in shown.stdout
    drawn = call("results", "plot", key, "cu.svg")
    assert drawn.returncode == 0, drawn.stderr
    with open("cu.svg") as file:
        assert "volume" in file.read()
    again = call("results", "plot", key, "cu.svg")
    assert again.returncode == 1
    assert "exists" in again.stderr
    cited = call("cite", key)
    assert "@article{Birch1947," in cited.stdout
    assert call("results", "plot", key, "cu.xyz").returncode == 1


def test_a_job_from_the_command_line():
    ran = call("run", "relax", "Cu", "--relax-cell", "--fmax", "0.05", COLUMNS="80")
    assert ran.returncode == 0, ran.stderr
    assert "Running relax of Cu with emt." in ran.stdout
    assert "1 job in" in ran.stdout
    key = relax_job.plan("Cu", relax_cell=True, fmax=0.05).key
    assert key in ran.stdout
    assert jobs() == {key}
    wrong = call("run", "relax", "Cu", "--fmx", "0.05")
    assert wrong.returncode == 1
    assert "Did you mean 'fmax'?" in wrong.stderr


def test_the_readme_shows_what_is_printed():
    (shown,) = re.findall(r"```console\n( .*?)\n```", README.read_text(), flags=re.DOTALL)
    ran = call("run", "bulk_to_slabs", "Cu", COLUMNS="80")
    printed = "\n".join(line.rstrip() for line in ran.stdout.splitlines() if line.strip())
    assert shown in printed, printed


def test_workflows_of_several_structures():
    ran = call("run", "hull", "Cu", "Au", COLUMNS="200")
    assert ran.returncode == 0, ran.stderr
    assert "2 phases of Au-Cu" in ran.stdout


def test_recipes_are_listed_and_shown():
    listed = call("recipes", COLUMNS="200").stdout
    for name in report.workflows():
        assert f"{name.removesuffix('_flow')} " in listed
    shown = call("recipes", "show", "eos", COLUMNS="200").stdout
    for part in (
        "points = 7",
        "bulk_modulus: float",
        "B0 (GPa).",
        "Birch, Phys. Rev. 71",
        "the cell",
    ):
        assert part in shown
    wrong = call("recipes", "show", "eso")
    assert wrong.returncode == 1
    assert "Did you mean 'eos'?" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "eso", "Cu"), "Did you mean 'eos'?"),
        (("run", "eos", "Cu", "--set", "point=5"), "Did you mean 'points'?"),
        (("run", "eos", "Cu", "--set", "points=2"), "points"),
        (("run", "eos", "Cu", "--points", "2"), "points"),
        (("run", "eos", "Cu", "--point", "5"), "Did you mean 'points'?"),
        (("run", "eos", "Cu", "--points"), "The option --points needs a value"),
        (("run", "eos", "Cu", "--points", "--relax-positions"), "The option --points needs a"),
        (("run", "double_relax", "Cu"), "needs --pre-relax-job CALCULATOR.JOB"),
        (("run", "double_relax", "Cu", "--set", "pre_relax_job=lj.relax"), "lj.relax_job"),
        (("run", "bulk_to_slabs", "Cu", "--set", "slab_relax_electron=lj.relax"), "lj.relax_job"),
        (("run", "neb", "Cu"), "takes 2 structures, initial and final, not 1"),
        (("run", "eos", "Cu", "--site", "nowhere"), "nowhere"),
        (("cite", "abcdef"), "abcdef"),
    ],
)
def test_mistakes_are_told_at_once(arguments, message):
    told = call(*arguments)
    assert told.returncode == 1
    assert message in told.stderr
