"""Jobs with MOPAC. Energies are heats of formation; see :mod:`quacc.calculators.mopac`."""

from quacc.calculators.mopac import CODE
from quacc.recipes import jobs

static_job = jobs.job_of(CODE, __name__, jobs.static_job)
relax_job = jobs.job_of(CODE, __name__, jobs.relax_job)
md_job = jobs.job_of(CODE, __name__, jobs.md_job)
freq_job = jobs.job_of(CODE, __name__, jobs.freq_job)
neb_job = jobs.job_of(CODE, __name__, jobs.neb_job)
