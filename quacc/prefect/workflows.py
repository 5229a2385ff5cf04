"""All workflows as Prefect flows, in which every job is a task run."""

from quacc.prefect.flows import as_flow
from quacc.recipes import workflows

adsorption_flow = as_flow(workflows.adsorption_flow)
batch_flow = as_flow(workflows.batch_flow)
bulk_to_slabs_flow = as_flow(workflows.bulk_to_slabs_flow)
defects_flow = as_flow(workflows.defects_flow)
double_relax_flow = as_flow(workflows.double_relax_flow)
elastic_flow = as_flow(workflows.elastic_flow)
eos_flow = as_flow(workflows.eos_flow)
hull_flow = as_flow(workflows.hull_flow)
magnetic_order_flow = as_flow(workflows.magnetic_order_flow)
md_flow = as_flow(workflows.md_flow)
molecule_flow = as_flow(workflows.molecule_flow)
neb_flow = as_flow(workflows.neb_flow)
order_flow = as_flow(workflows.order_flow)
phonon_flow = as_flow(workflows.phonon_flow)
qha_flow = as_flow(workflows.qha_flow)
reaction_flow = as_flow(workflows.reaction_flow)
stacking_fault_flow = as_flow(workflows.stacking_fault_flow)
ts_flow = as_flow(workflows.ts_flow)
vacancy_flow = as_flow(workflows.vacancy_flow)
