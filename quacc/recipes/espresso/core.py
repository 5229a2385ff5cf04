"""Jobs with Quantum ESPRESSO: plane waves and pseudopotentials."""

from quacc.calculators.codes.espresso import CODE
from quacc.runners.dfpt import dfpt
from quacc.runners.electrons import bands, dos
from quacc.runners.job import job
from quacc.runners.md import md
from quacc.runners.neb import neb
from quacc.runners.relax import relax
from quacc.runners.saddle import ts
from quacc.runners.static import static
from quacc.runners.vibrations import freq
from quacc.runners.work_function import work_function

static_job = job(CODE, static)
relax_job = job(CODE, relax)
md_job = job(CODE, md)
freq_job = job(CODE, freq)
neb_job = job(CODE, neb)
ts_job = job(CODE, ts)
bands_job = job(CODE, bands)
dos_job = job(CODE, dos)
dfpt_job = job(CODE, dfpt)
work_function_job = job(CODE, work_function)
