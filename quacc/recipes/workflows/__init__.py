"""All workflows: called with ``calculator="emt"``, or with jobs."""

from quacc.recipes.workflows.adsorption import adsorption_flow
from quacc.recipes.workflows.batch import batch_flow
from quacc.recipes.workflows.bulk_to_slabs import bulk_to_slabs_flow
from quacc.recipes.workflows.converge import converge
from quacc.recipes.workflows.defects import defects_flow
from quacc.recipes.workflows.double_relax import double_relax_flow
from quacc.recipes.workflows.elastic import elastic_flow
from quacc.recipes.workflows.eos import eos_flow
from quacc.recipes.workflows.hull import hull_flow
from quacc.recipes.workflows.magnetic_order import magnetic_order_flow
from quacc.recipes.workflows.md import md_flow
from quacc.recipes.workflows.molecule import molecule_flow
from quacc.recipes.workflows.neb import neb_flow
from quacc.recipes.workflows.order import order_flow
from quacc.recipes.workflows.phonon import phonon_flow
from quacc.recipes.workflows.qha import qha_flow
from quacc.recipes.workflows.reaction import reaction_flow
from quacc.recipes.workflows.stacking_fault import stacking_fault_flow
from quacc.recipes.workflows.ts import ts_flow
from quacc.recipes.workflows.vacancy import vacancy_flow

__all__ = [
    "adsorption_flow",
    "batch_flow",
    "bulk_to_slabs_flow",
    "converge",
    "defects_flow",
    "double_relax_flow",
    "elastic_flow",
    "eos_flow",
    "hull_flow",
    "magnetic_order_flow",
    "md_flow",
    "molecule_flow",
    "neb_flow",
    "order_flow",
    "phonon_flow",
    "qha_flow",
    "reaction_flow",
    "stacking_fault_flow",
    "ts_flow",
    "vacancy_flow",
]
