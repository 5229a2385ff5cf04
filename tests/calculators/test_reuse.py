"""Calculators that are kept for the next calculation, what runs elsewhere, and what is mended."""

import threading

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from quacc.calculators.codes.emt import EMTCode
from quacc.calculators.keyword import Keyword, count
from quacc.errors import CalculationError, ParameterError
from quacc.recipes.emt import core
from quacc.runners.job import job
from quacc.runners.neb import neb
from quacc.runners.relax import relax
from quacc.runners.static import static

built = []


class Kept(EMT):
    broken = False

    def calculate(self, *args, **kwargs):
        if self.broken:
            raise RuntimeError("the device has gone")
        super().calculate(*args, **kwargs)


class KeptCode(EMTCode):
    name = "kept"
    reuse = True
    options = {"cores": Keyword(1, "of the machine", count)}

    def build(self, parameters, place):
        calculator = Kept(**parameters)
        built.append((calculator, place))
        return calculator


CODE = KeptCode()
static_job, relax_job, neb_job = job(CODE, static), job(CODE, relax), job(CODE, neb)


@pytest.fixture(autouse=True)
def _none_built(monkeypatch):
    monkeypatch.setattr("quacc.calculators.reuse._kept", threading.local())
    built.clear()


def test_one_calculator_serves_a_thread_and_gives_the_same_numbers():
    atoms = bulk("Cu") * 2
    atoms.rattle(0.1, seed=0)
    for structure in ("Cu", atoms, "Au", atoms):
        for mine, plain in ((static_job, core.static_job), (relax_job, core.relax_job)):
            found, expected = mine(structure), plain(structure)
            for name in ("energy", "forces", "stress"):
                np.testing.assert_array_equal(found["results"][name], expected["results"][name])
    assert len(built) == 1
    thread = threading.Thread(target=static_job, args=("Cu",))
    thread.start()
    thread.join()
    assert len(built) == 2
    static_job("Cu", asap_cutoff=True)
    assert len(built) == 3


def test_what_was_built_from_other_files_serves_nobody(monkeypatch):
    static_job("Cu")
    monkeypatch.setattr(KeptCode, "version", lambda self: "of other weights")
    static_job("Cu")
    assert len(built) == 2


def test_images_of_a_path_have_one_each_and_leave_them():
    ends = []
    for position in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        atoms = bulk("Cu", cubic=True) * 2
        del atoms[0]
        atoms[0].position = np.array(position) * 0.1 + atoms[0].position
        ends.append(atoms)
    found = neb_job(ends[0], ends[1], images=3, steps=2)
    first = len(built)
    again = neb_job(ends[1], ends[0], images=3, steps=2)
    assert len(built) == first > 1
    expected = core.neb_job(ends[0], ends[1], images=3, steps=2)
    assert found["results"]["energy"] == expected["results"]["energy"]
    assert again["converged"] in (True, False)


def test_a_calculator_that_failed_serves_nobody_else(monkeypatch):
    static_job("Cu")
    monkeypatch.setattr(built[0][0], "broken", True)
    with pytest.raises(CalculationError, match="the device has gone"):
        static_job("Au")
    static_job("Au")
    assert len(built) == 2


def test_an_option_is_in_no_key_and_comes_to_the_calculator():
    result = static_job("Cu", cores=4)
    assert result["key"] == static_job.plan("Cu").key
    assert built[0][1].options == {"cores": 4}
    assert result["provenance"]["options"] == {"cores": 4}
    assert "cores" not in result["parameters"]
    with pytest.raises(ParameterError, match="cores must be a whole number"):
        static_job("Cu", cores=0)
