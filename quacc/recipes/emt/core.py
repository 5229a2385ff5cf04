"""Jobs with effective medium theory: fast, in memory, for fcc metals and their alloys."""

from quacc.calculators.emt import CODE
from quacc.recipes import jobs

static_job = jobs.job_of(CODE, __name__, jobs.static_job)
relax_job = jobs.job_of(CODE, __name__, jobs.relax_job)
md_job = jobs.job_of(CODE, __name__, jobs.md_job)
freq_job = jobs.job_of(CODE, __name__, jobs.freq_job)
neb_job = jobs.job_of(CODE, __name__, jobs.neb_job)
