"""Whatever is thrown at a job, only documented errors come out."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quacc.errors import CalculationError, InputError, JobsFailedError
from quacc.recipes.emt import core as emt
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.lj import core as lj
from quacc.recipes.mopac import core as mopac

odd_numbers = st.one_of(
    st.floats(), st.integers(), st.sampled_from([0, -1, 1e-300, 1e300, np.float64("nan"), 1j])
)
odd_values = st.one_of(
    odd_numbers,
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.builds(object),
)
coordinates = st.one_of(st.floats(-5, 5), st.floats(), st.sampled_from([0.0, np.nan, np.inf]))


@st.composite
def odd_atoms(draw):
    n = draw(st.integers(0, 4))
    atoms = Atoms(
        numbers=draw(
            st.lists(st.sampled_from([1, 13, 18, 29, 26, 79, 0, 92]), min_size=n, max_size=n)
        ),
        positions=draw(
            st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=n, max_size=n)
        )
        or None,
        cell=np.reshape(draw(st.lists(coordinates, min_size=9, max_size=9)), (3, 3)),
        pbc=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )
    if n and draw(st.booleans()):
        atoms.set_constraint(FixAtoms([0]))
    elif n > 1 and draw(st.booleans()):
        atoms.set_constraint(FixBondLength(0, 1))
    return atoms


odd_structures = st.one_of(
    odd_atoms(), odd_values, st.sampled_from(["Cu", "N2", "Fe", "nothing.xyz", {"atoms": None}])
)
# Few and short: what is sought are wrong exceptions, not long runs.
JOBS = {
    emt.static_job: ({}, ["asap_cutoff"]),
    emt.relax_job: (
        {"steps": 3},
        [
            "relax_cell",
            "fmax",
            "steps",
            "optimizer",
            "trajectory",
            "require_convergence",
            "asap_cutoff",
        ],
    ),
    emt.md_job: (
        {"steps": 2},
        [
            "dynamics",
            "timestep",
            "temperature",
            "pressure",
            "friction",
            "thermostat_time",
            "barostat_time",
            "seed",
            "sample_every",
            "trajectory",
        ],
    ),
    lj.static_job: ({}, ["epsilon", "sigma", "rc", "ro", "smooth"]),
    lj.relax_job: ({"steps": 3}, ["optimizer", "fmax", "sigma"]),
    lj.md_job: ({"steps": 2}, ["dynamics", "seed", "temperature"]),
    mopac.static_job: ({}, ["method", "charge", "relscf", "task", "copy_files"]),
    mopac.relax_job: ({"steps": 1}, ["fmax", "optimizer", "charge", "copy_files"]),
    lj.freq_job: (
        {},
        ["displacement", "thermo", "temperature", "pressure", "symmetry_number", "spin"],
    ),
}
NAMES = [
    "BFGS",
    "LBFGS",
    "FIRE",
    "BFGSLineSearch",
    "PreconLBFGS",
    "NVE",
    "NPT",
    "Bussi",
    "Langevin",
    "harmonic",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "job",
    [
        pytest.param(
            job, id=f"{code}.{job.__name__}", marks=[pytest.mark.mopac] * (code == "mopac")
        )
        for job in JOBS
        for code in [job.__module__.split(".")[2]]
    ],
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_only_documented_errors(job, data):
    preset, keywords = JOBS[job]
    structure = data.draw(odd_structures)
    name = st.sampled_from(keywords) | st.text("abcdefmxs_", min_size=1, max_size=6)
    given_values = odd_values | st.sampled_from(NAMES)
    options = data.draw(st.dictionaries(name, given_values, max_size=2))
    if isinstance(options.get("steps"), int) and options["steps"] > 10:
        options["steps"] = 10
    before = pickle.dumps(structure.todict()) if isinstance(structure, Atoms) else None
    try:
        with np.errstate(all="ignore"):
            result = job(structure, **preset | options)
    except (InputError, CalculationError) as error:
        assert len(str(error)) > 20
    else:
        assert np.isfinite(result["results"]["energy"])
        assert np.isfinite(result["results"]["forces"]).all()
    if before is not None:
        assert pickle.dumps(structure.todict()) == before


def no_numbers(values):
    """Leave out what is a good value for one of the parameters."""
    good = isinstance(values, int | float) and not isinstance(values, bool) and values > 0
    return not (good or values is None or values is False or values in (0, True, {}))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(
        [
            *["max_index", "min_thickness", "min_vacuum", "min_lateral", "symmetric_only"],
            *["relax_kwargs", "static_kwargs", "slab_relax_electron", "slab_static_electron"],
        ]
    ),
    value=odd_values.filter(no_numbers),
)
def test_one_odd_parameter_of_a_workflow_is_refused(name, value):
    with pytest.raises(InputError):
        bulk_to_slabs_flow("Cu", **{name: value})


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(structure=odd_structures.filter(lambda structure: not isinstance(structure, str)))
def test_odd_structures_of_a_workflow(structure):
    try:
        bulk_to_slabs_flow(structure, relax_kwargs={"steps": 1}, min_thickness=1, min_vacuum=5)
    except (InputError, CalculationError, JobsFailedError) as error:
        assert len(str(error)) > 10
