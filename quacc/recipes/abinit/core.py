"""Jobs with ABINIT: plane waves and pseudopotentials or PAW."""

from quacc.calculators.codes.abinit import CODE
from quacc.runners.electrons import bands, dos
from quacc.runners.job import job
from quacc.runners.md import md
from quacc.runners.neb import neb
from quacc.runners.relax import relax
from quacc.runners.saddle import ts
from quacc.runners.static import static
from quacc.runners.vibrations import freq

static_job = job(CODE, static)
relax_job = job(CODE, relax)
md_job = job(CODE, md)
freq_job = job(CODE, freq)
neb_job = job(CODE, neb)
ts_job = job(CODE, ts)
bands_job = job(CODE, bands)
dos_job = job(CODE, dos)
