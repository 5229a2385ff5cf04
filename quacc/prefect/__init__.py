"""Everything that touches Prefect and Dask."""

from quacc.prefect.flows import as_flow
from quacc.prefect.runner import make_runner
from quacc.prefect.tasks import as_task

__all__ = ["as_flow", "as_task", "make_runner"]
