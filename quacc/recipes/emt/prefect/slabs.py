"""Surfaces with effective medium theory, every job a Prefect task run."""

from quacc.prefect import as_flow
from quacc.recipes.emt import slabs

bulk_to_slabs_flow = as_flow(slabs.bulk_to_slabs_flow)
