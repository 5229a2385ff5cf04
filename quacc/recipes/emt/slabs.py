"""``bulk_to_slabs_flow`` with effective medium theory."""

from quacc.recipes.tools.workflow import with_calculator
from quacc.recipes.workflows import bulk_to_slabs

bulk_to_slabs_flow = with_calculator(bulk_to_slabs.bulk_to_slabs_flow, "emt")
