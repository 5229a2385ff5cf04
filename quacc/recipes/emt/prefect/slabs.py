"""The same as a Prefect flow, in which every job is a task run."""

from quacc.prefect import as_flow
from quacc.recipes.emt import slabs

bulk_to_slabs_flow = as_flow(slabs.bulk_to_slabs_flow)
