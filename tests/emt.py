"""All workflows with effective medium theory."""

from quacc.recipes import workflows
from quacc.recipes.tools.workflow import with_calculator

adsorption_flow = with_calculator(workflows.adsorption_flow, "emt")
batch_flow = with_calculator(workflows.batch_flow, "emt")
bulk_to_slabs_flow = with_calculator(workflows.bulk_to_slabs_flow, "emt")
defects_flow = with_calculator(workflows.defects_flow, "emt")
double_relax_flow = with_calculator(workflows.double_relax_flow, "emt")
elastic_flow = with_calculator(workflows.elastic_flow, "emt")
eos_flow = with_calculator(workflows.eos_flow, "emt")
hull_flow = with_calculator(workflows.hull_flow, "emt")
magnetic_order_flow = with_calculator(workflows.magnetic_order_flow, "emt")
md_flow = with_calculator(workflows.md_flow, "emt")
molecule_flow = with_calculator(workflows.molecule_flow, "emt")
neb_flow = with_calculator(workflows.neb_flow, "emt")
order_flow = with_calculator(workflows.order_flow, "emt")
phonon_flow = with_calculator(workflows.phonon_flow, "emt")
qha_flow = with_calculator(workflows.qha_flow, "emt")
reaction_flow = with_calculator(workflows.reaction_flow, "emt")
stacking_fault_flow = with_calculator(workflows.stacking_fault_flow, "emt")
ts_flow = with_calculator(workflows.ts_flow, "emt")
vacancy_flow = with_calculator(workflows.vacancy_flow, "emt")
