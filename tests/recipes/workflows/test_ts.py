"""Transition states, against bands, symmetry, and relaxations that symmetry holds."""

import numpy as np
import pytest
from ase import units
from ase.build import add_adsorbate, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixedPlane
from ase.vibrations import Vibrations

from quacc.errors import ParameterError, PreemptedError, StructureError
from quacc.recipes import workflows
from quacc.recipes.emt.core import freq_job, relax_job, ts_job
from quacc.runners import checkpoint
from tests.emt import neb_flow, ts_flow


def gold_on_aluminium():
    """ASE's own tutorial: gold hops from one hollow of Al(100) to the next."""
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms(mask=[atom.tag > 1 for atom in slab]))
    return slab


def near_the_bridge():
    guess = gold_on_aluminium()
    guess[-1].position += [guess.cell[0, 0] / 4 - 0.2, 0.1, 0.3]
    mode = np.zeros((len(guess), 3))
    mode[-1, 0] = 1
    return guess, mode


def test_a_hop_has_the_barrier_of_its_band():
    start = gold_on_aluminium()
    end = start.copy()
    end[-1].x += end.cell[0, 0] / 2
    band = neb_flow(start, end, neb_kwargs={"images": 3, "fmax": 0.01})
    guess, mode = near_the_bridge()
    result = ts_flow(guess, ts_kwargs={"mode": mode})
    assert result["converged"]
    assert result["imaginary_modes"] == 1
    assert result["barrier"] == pytest.approx(band["barrier"], abs=2e-3)
    assert result["barrier"] == pytest.approx(result["reverse_barrier"], abs=1e-3)  # by symmetry
    # The bridge is in the middle, and the mode points from the initial hollow to the final one.
    initial, top, final = (one.positions[-1] for one in result["images"])
    assert top[0] == pytest.approx((initial[0] + final[0]) / 2, abs=0.02)
    assert final[0] - initial[0] == pytest.approx(guess.cell[0, 0] / 2, abs=0.02)
    assert result["mode"][-1, 0] > 0.5


def test_without_a_mode_the_hessian_of_the_guess_gives_it():
    guess, mode = near_the_bridge()
    with_mode, without = ts_job(guess, mode=mode), ts_job(guess)
    assert without["results"]["energy"] == pytest.approx(with_mode["results"]["energy"], abs=1e-3)
    assert without["imaginary_modes"] == 1
    free = guess.positions.shape[0] - 8
    assert without["force_calls"] > 6 * free


def test_frequencies_are_those_of_freq_job_and_of_ase(tmp_path):
    guess, mode = near_the_bridge()
    found = ts_job(guess, mode=mode)
    again = freq_job(found, thermo="harmonic")
    np.testing.assert_allclose(found["frequencies"], again["frequencies"], atol=1e-4)
    atoms = found["atoms"].copy()
    atoms.calc = EMT()
    free = [atom.index for atom in atoms if atom.tag <= 1]
    ase = Vibrations(atoms, indices=free, name=str(tmp_path / "vib"))
    ase.run()
    lowest = ase.get_energies()[0] / units.invcm
    assert lowest.imag == pytest.approx(-found["frequencies"][0], abs=0.2)
    forces = np.linalg.norm(found["results"]["forces"][free], axis=1)
    assert forces.max() < 0.01


@pytest.mark.tblite
def test_ammonia_turns_inside_out_through_the_plane():
    """Its transition state is the minimum in the plane, by symmetry."""
    from quacc.recipes.tblite.core import relax_job, ts_job

    flat = molecule("NH3")
    flat.positions[:, 2] = 0.0
    plane = flat.copy()
    plane.set_constraint([FixedPlane(i, (0, 0, 1)) for i in range(4)])
    plane = relax_job(plane, fmax=1e-3)
    pyramid = relax_job("NH3", fmax=1e-3)
    guess = molecule("NH3")
    guess.positions[1:, 2] *= 0.3
    guess.positions[0, 2] *= 0.3
    result = workflows.ts_flow(guess, calculator="tblite", ts_kwargs={"fmax": 1e-3})
    expected = plane["results"]["energy"] - pyramid["results"]["energy"]
    assert result["barrier"] == pytest.approx(expected, abs=1e-4)
    assert result["reverse_barrier"] == pytest.approx(expected, abs=1e-4)
    assert result["imaginary_modes"] == 1
    assert len(result["frequencies"]) == 6
    centred = result["atoms"].positions - result["atoms"].positions.mean(axis=0)
    assert np.linalg.svd(centred)[1][2] < 0.01  # flat (Å)
    assert ts_job(molecule("NH3"), steps=1)["converged"] is False


def test_a_stopped_search_goes_on_where_it_was(monkeypatch):
    monkeypatch.setenv("QUACC_CHECKPOINT_INTERVAL", "0.000001")
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 0)
    guess, mode = near_the_bridge()
    whole = ts_job(guess, mode=mode)
    original = checkpoint.stopping
    for stop in (4, whole["steps"] + 8):  # in the walk, and in the Hessian
        asked = 0

        def after(*args, stop=stop):
            nonlocal asked
            asked += 1
            return "a test" if asked == stop else original(*args)

        monkeypatch.setattr(checkpoint, "stopping", after)
        with pytest.raises(PreemptedError):
            ts_job(guess, mode=mode)
        monkeypatch.setattr(checkpoint, "stopping", original)
        resumed = ts_job(guess, mode=mode)
        assert resumed["provenance"]["attempts"] == 2
        assert resumed["steps"] == whole["steps"]
        assert resumed["force_calls"] == whole["force_calls"]
        np.testing.assert_allclose(
            resumed["history"]["energy"], whole["history"]["energy"], atol=1e-9
        )
        np.testing.assert_allclose(resumed["frequencies"], whole["frequencies"], atol=1e-6)


def test_what_is_no_transition_state_is_told():
    guess, mode = near_the_bridge()
    short = ts_job(guess, mode=mode, steps=1)
    assert not short["converged"]
    assert any("did not converge in 1 steps" in text for text in short["warnings"])
    # Above an atom of the surface, symmetry holds the gold on a maximum in two directions.
    top = gold_on_aluminium()
    top[-1].position += [top.cell[0, 0] / 4, top.cell[1, 1] / 4, 1.0]
    along = np.zeros((len(top), 3))
    along[-1] = [1, 1, 0]
    higher = ts_job(relax_job(top, fmax=1e-3), mode=along)
    assert higher["imaginary_modes"] == 2
    assert any(
        "has one imaginary mode, but this structure has 2" in one for one in higher["warnings"]
    )


def test_wrong_modes_are_refused():
    guess, mode = near_the_bridge()
    with pytest.raises(ParameterError, match=r"shape \(12, 3\), but there are 13 atoms"):
        ts_job(guess, mode=mode[1:])
    with pytest.raises(ParameterError, match="mode"):
        ts_job(guess, mode=mode * np.nan)
    with pytest.raises(ParameterError, match="must be numbers"):
        ts_job(guess, mode="up")
    still = np.zeros((13, 3))
    still[0] = 1.0
    with pytest.raises(ParameterError, match="none of the atoms that are not fixed"):
        ts_job(guess, mode=still)
    guess.set_constraint(FixedPlane(0, (0, 0, 1)))
    with pytest.raises(StructureError, match="FixedPlane"):
        ts_job(guess, mode=mode)
