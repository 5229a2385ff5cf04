"""Two lanes of tests at once: those that wait, and those that compute.

What waits (for Slurm's clock, a server's patience, the start of a worker) leaves the processors to
others, so that some more workers of pytest-xdist than processors have such tests; each of these
tests is a piece of work of its own. What computes stays together by file, on as many workers as
there are processors. A worker whose lane is empty helps the other.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

WAITING = (
    "tests/prefect/test_notebook.py",
    "tests/prefect/test_faults_nodes.py",
    "tests/prefect/test_chaos.py",
    "tests/prefect/test_lost_server.py",
    "tests/bench/test_train_and_benchmark.py",
    "tests/cluster/test_allocation.py",
    "tests/cli/test_main.py",
    "tests/prefect/test_security.py",
    "tests/prefect/test_slow_api.py",
    "tests/sites/test_doctor.py",
    "tests/prefect/test_cancel.py",
    "tests/prefect/test_faults.py",
    "tests/cluster/test_spawn.py",
    "tests/deploy/test_recovery.py",
    "tests/deploy/test_slurm_pool.py",
    "tests/deploy/",
    "tests/prefect/",
)
"""Beginnings of the paths of tests that wait; what takes longest comes first."""

COMPUTING = (
    "docs/properties.md",
    "docs/calculators.md",
    "tests/test_editors.py",
    "tests/runners/test_checkpoint.py",
    "tests/test_local.py",
    "tests/bench/test_references.py",
    "tests/bench/test_reporters.py",
    "tests/campaigns/",
    "tests/recipes/",
    "tests/cache/test_results.py",
    "tests/runners/test_md.py",
    "tests/runners/test_vibrations.py",
    "docs/",
    "README.md",
    "tests/cli/test_terminal.py",
    "tests/cli/test_site.py",
    "tests/store/test_scale.py",
    "tests/store/test_safety.py",
    "tests/store/test_postgres.py",
    "tests/calculators/test_calculators.py",
    "tests/atoms/test_slabs.py",
)
"""The same for tests that compute, or start programs that do, for more than a second or two."""

LONG = (
    # What ends, and what waits for it: nodes, servers, flows.
    "tests/cluster/test_allocation.py",
    "tests/prefect/test_cancel.py",
    "tests/prefect/test_chaos.py",
    "tests/prefect/test_faults.py",
    "tests/prefect/test_faults_nodes.py",
    "tests/prefect/test_faults_store.py",
    "tests/prefect/test_interrupts.py",
    "tests/prefect/test_lost_server.py",
    "tests/prefect/test_slow_api.py",
    "tests/deploy/test_recovery.py",
    "tests/deploy/test_slurm_pool.py",
    # Several programs, servers or notebooks of their own in each test.
    "tests/bench/test_page.py",
    "tests/bench/test_run.py::test_the_command",
    "tests/campaigns/test_resume.py",
    "tests/cli/test_terminal.py",
    "tests/cluster/test_spawn.py",
    "tests/prefect/test_caching.py",
    "tests/deploy/test_server.py",
    "tests/deploy/test_server_postgres.py",
    "tests/deploy/test_deployments.py",
    "tests/deploy/test_lesson.py::test_as_printed",
    "tests/prefect/test_environment.py",
    "tests/prefect/test_fanout.py::test_a_passing_error_is_tried_again",
    "tests/prefect/test_fanout.py::test_interrupted_and_run_again",
    "tests/prefect/test_fanout.py::test_on_prefects_dask",
    "tests/prefect/test_many_flows.py",
    "tests/prefect/test_new_database.py",
    "tests/prefect/test_notebook.py",
    "tests/prefect/test_other_caches.py",
    "tests/prefect/test_properties.py",
    "tests/prefect/test_security.py",
    "tests/prefect/test_two_flows.py",
    "tests/prefect/test_versions.py",
    "tests/sites/test_doctor.py",
    "tests/recipes/test_cookbook.py",
    "tests/recipes/test_notebooks.py",
    "tests/recipes/test_screening.py",
    "tests/store/test_safety.py",
    "tests/store/test_scale.py",
    "tests/store/test_upkeep.py",
    "tests/test_additions.py",
    "tests/test_editors.py",
    # Statistics, grids, and large crystals.
    "tests/atoms/test_slabs.py::test_slabs_do_not_depend_on_last_digits",
    "tests/atoms/test_slabs.py::test_turning_over_is_a_rotation",
    "tests/bench/test_physics.py",
    "tests/bench/test_references.py",
    "tests/calculators/test_calculators.py::test_noble_gases_have_published_parameters",
    "tests/recipes/workflows/test_elastic.py",
    "tests/recipes/workflows/test_faults.py",
    "tests/recipes/workflows/test_md.py",
    "tests/recipes/workflows/test_phonons.py",
    "tests/recipes/workflows/test_qha.py",
    "tests/runners/test_checkpoint.py",
    "tests/runners/test_md.py",
    "tests/runners/test_vibrations.py",
    "tests/bench/test_run.py::test_in_batch_jobs_the_numbers_are_the_same",
    "tests/bench/test_run.py::test_in_a_flow_the_numbers_are_the_same",
    "tests/bench/test_run.py::test_models_that_fail",
    # Pages that compute much.
    "docs/benchmarking.md",
    "docs/calculators.md",
    "docs/campaign-classes.md",
    "docs/campaigns.md",
    "docs/properties.md",
    "docs/start.md",
    "docs/surfaces.md",
)
"""Files whose tests have the marker ``long``, and a command of their own."""

LONG_MARKERS = {
    "abinit",
    "cp2k",
    "espresso",
    "gpu",
    "lammps",
    "ml",
    "mopac",
    "nwchem",
    "pyscf",
    "tblite",
}
"""Tests of codes that take seconds to start, or to compute: they are long, too."""

TOGETHER = (
    "tests/deploy/test_server.py",
    "tests/deploy/test_server_postgres.py",
    "tests/deploy/test_deployments.py",
    "tests/deploy/test_slurm_pool.py",
    "tests/prefect/test_security.py",
    "tests/prefect/test_slow_api.py",
    "tests/sites/test_doctor.py",
)
"""Files of tests that wait, which share what takes long to make."""

PROCESSORS = 2
"""Workers for what computes."""


def waits(nodeid: str) -> bool:
    """Return whether a test, or a file, is of the lane of what waits."""
    return nodeid.startswith(WAITING)


def place(nodeid: str) -> int:
    """Return the place of a test, or of a file, in its lane."""
    lane = WAITING if waits(nodeid) else COMPUTING
    return next((i for i, start in enumerate(lane) if nodeid.startswith(start)), len(lane))


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Give each worker of pytest-xdist the next piece of work of its lane."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return nodeid if waits(file) and file not in TOGETHER else file

    def _assign_work_unit(self, node: Any) -> None:
        waiting = int(node.gateway.id.removeprefix("gw")) >= PROCESSORS
        mine = [scope for scope in self.workqueue if waits(scope) == waiting]
        if mine:
            self.workqueue.move_to_end(min(mine, key=place), last=False)
        else:  # of the other lane, what is shortest
            self.workqueue.move_to_end(max(self.workqueue, key=place), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        # A worker begins a test when it knows the one after it; what it knows, no other can take.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)
