"""The same as Prefect flows."""

from quacc.prefect import as_flow
from tests import emt

adsorption_flow = as_flow(emt.adsorption_flow)
batch_flow = as_flow(emt.batch_flow)
bulk_to_slabs_flow = as_flow(emt.bulk_to_slabs_flow)
defects_flow = as_flow(emt.defects_flow)
double_relax_flow = as_flow(emt.double_relax_flow)
elastic_flow = as_flow(emt.elastic_flow)
eos_flow = as_flow(emt.eos_flow)
hull_flow = as_flow(emt.hull_flow)
magnetic_order_flow = as_flow(emt.magnetic_order_flow)
md_flow = as_flow(emt.md_flow)
molecule_flow = as_flow(emt.molecule_flow)
neb_flow = as_flow(emt.neb_flow)
order_flow = as_flow(emt.order_flow)
phonon_flow = as_flow(emt.phonon_flow)
qha_flow = as_flow(emt.qha_flow)
reaction_flow = as_flow(emt.reaction_flow)
stacking_fault_flow = as_flow(emt.stacking_fault_flow)
ts_flow = as_flow(emt.ts_flow)
vacancy_flow = as_flow(emt.vacancy_flow)
