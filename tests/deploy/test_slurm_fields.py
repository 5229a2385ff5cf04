"""The form of the pool, and what the worker uses of Prefect's."""

import re

import pytest
from prefect.workers.base import BaseWorker
from pydantic import ValidationError

from quacc.deploy.slurm_fields import SlurmConfiguration
from quacc.deploy.slurm_worker import SlurmWorker


def test_the_form_shows_one_type_help_and_bounds():
    template = SlurmWorker.get_default_base_job_template()
    fields = template["variables"]["properties"]
    assert list(fields)[:3] == ["site", "partition", "account"]
    assert set(fields) == set(template["job_configuration"])
    for name, field in fields.items():
        assert field["description"].endswith("."), name
        assert "anyOf" not in field, name
    assert fields["nodes"]["minimum"] == 1
    assert "default" not in fields["nodes"]
    for text in ("00:30:00", "2-12:00:00", ""):
        assert re.search(fields["walltime"]["pattern"], text)
    for text in ("30 minutes", "1:2", "00:61:00"):
        assert not re.search(fields["walltime"]["pattern"], text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prologue": ["module load x\n#SBATCH --account=other"]},
        {"directives": ["--mem=1G\nrm -rf /"]},
        {"partition": "a b"},
        {"account": "x;y"},
        {"attempts": 0},
        {"gpus": -1},
    ],
)
def test_no_field_writes_other_lines(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SlurmConfiguration(**wrong)


def test_the_names_of_prefects_worker_exist():
    """They are overridden, or called; all but the first two are private."""
    for name in (
        "get_and_submit_flow_runs",
        "kill_infrastructure",
        "_cancel_run",
        "_get_scheduled_flow_runs",
        "_release_limit_slot",
        "_submit_run",
        "_submit_run_and_capture_errors",
        "_sync_and_initialize",
    ):
        assert callable(getattr(BaseWorker, name)), name
    worker = BaseWorker.__init__.__code__.co_names
    for name in ("_limit", "_runs_task_group", "_submitting_flow_run_ids", "_work_pool"):
        assert name in worker, name
