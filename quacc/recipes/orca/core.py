"""Jobs with ORCA: Hartree-Fock, density functional theory and MP2 of molecules."""

from quacc.calculators.codes.orca import CODE
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
