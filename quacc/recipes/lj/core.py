"""Jobs with the Lennard-Jones potential: in memory, for noble gases and for tests."""

from quacc.calculators.lj import CODE
from quacc.recipes import jobs

static_job = jobs.job_of(CODE, __name__, jobs.static_job)
relax_job = jobs.job_of(CODE, __name__, jobs.relax_job)
md_job = jobs.job_of(CODE, __name__, jobs.md_job)
freq_job = jobs.job_of(CODE, __name__, jobs.freq_job)
neb_job = jobs.job_of(CODE, __name__, jobs.neb_job)
