"""Barriers, against plain ASE, symmetry, and what goes wrong."""

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS

from quacc.atoms.same import check_match, matched
from quacc.errors import (
    JobsFailedError,
    ParameterError,
    PreemptedError,
    StructureError,
)
from quacc.recipes.emt.core import neb_job, relax_job
from quacc.recipes.mopac.core import neb_job as mopac_neb
from quacc.recipes.mopac.core import relax_job as mopac_relax
from quacc.runners import checkpoint
from tests.emt import neb_flow


def gold_on_aluminium():
    """ASE's own tutorial: gold hops from one hollow of Al(100) to the next."""
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms(mask=[atom.tag > 1 for atom in slab]))
    other = slab.copy()
    other[-1].x += other.get_cell()[0, 0] / 2
    return slab, other


def with_ase():
    ends = gold_on_aluminium()
    for end in ends:
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.01)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate()
    BFGS(band, logfile=None).run(fmax=0.01)
    return [image.get_potential_energy() for image in images]


@pytest.mark.parametrize("optimizer", ["FIRE", "BFGS"])
def test_gold_on_aluminium_is_that_of_plain_ase(optimizer):
    expected = np.array(with_ase())
    options = {"images": 3, "fmax": 0.01, "optimizer": optimizer}
    result = neb_flow(*gold_on_aluminium(), relax_kwargs={"fmax": 0.01}, neb_kwargs=options)
    np.testing.assert_allclose(result["energies"], expected, atol=2e-3)
    assert result["barrier"] == pytest.approx(expected.max() - expected[0], abs=1e-3)
    assert result["converged"]
    assert result["largest_force"] < 0.01
    # Both hollows are the same.
    assert result["reaction_energy"] == pytest.approx(0, abs=1e-4)
    assert result["barrier"] == pytest.approx(result["reverse_barrier"], abs=1e-4)
    np.testing.assert_allclose(result["energies"], result["energies"][::-1], atol=2e-3)


def test_the_highest_image_is_a_saddle_point():
    ends = [relax_job(end, fmax=0.01) for end in gold_on_aluminium()]
    result = neb_job(*ends, images=3, fmax=0.01)
    free = result["results"]["forces"][[atom.tag <= 1 for atom in result["atoms"]]]
    assert np.linalg.norm(free, axis=1).max() < 0.02
    assert result["results"]["energy"] == pytest.approx(max(result["energies"]))
    bare = neb_job(*ends, images=4, fmax=0.01, climb=False)
    assert bare["barrier"] < result["barrier"] - 0.005  # no image is at the top
    assert result["history"]["barrier"][-1] == pytest.approx(result["barrier"], abs=1e-6)


def test_a_vacancy_migrates():
    whole = bulk("Cu", cubic=True) * 2
    final = whole.copy()
    near = int(whole.get_distances(0, range(1, len(whole)), mic=True).argmin()) + 1
    final.positions[near] = whole.positions[0]
    result = neb_flow(whole[1:], final[1:])
    assert result["reaction_energy"] == pytest.approx(0, abs=1e-3)
    # Measured for copper: 0.70 eV (Landolt-Boernstein III/25); EMT and a small cell are near.
    assert 0.3 < result["barrier"] < 1.1


def test_a_stopped_band_goes_on_where_it_was(monkeypatch):
    monkeypatch.setenv("QUACC_CHECKPOINT_INTERVAL", "0.000001")
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 0)
    ends = [relax_job(end, fmax=0.01) for end in gold_on_aluminium()]
    whole = neb_job(*ends, images=3, fmax=0.01)
    steps = 0
    original = checkpoint.stopping

    def after_five(*args):
        nonlocal steps
        steps += 1
        return "a test" if steps == 8 else original(*args)

    monkeypatch.setattr(checkpoint, "stopping", after_five)
    with pytest.raises(PreemptedError):
        neb_job(*ends, images=3, fmax=0.01)
    resumed = neb_job(*ends, images=3, fmax=0.01)
    assert resumed["provenance"]["attempts"] == 2
    assert resumed["steps"] == whole["steps"]
    np.testing.assert_allclose(resumed["energies"], whole["energies"], atol=1e-9)


@pytest.mark.mopac
def test_images_of_a_program_are_computed_at_the_same_time():
    """Ammonia turns inside out; the pyramid's barrier is symmetric."""
    ammonia = molecule("NH3")
    turned = ammonia.copy()
    turned.positions[:, 2] *= -1
    turned.positions += ammonia.positions[0] - turned.positions[0]
    ends = [mopac_relax(one, fmax=0.005) for one in (ammonia, turned)]
    alone = mopac_neb(*ends, images=3, fmax=0.05)
    together = mopac_neb(*ends, images=3, fmax=0.05, parallel=3)
    assert together["key"] == alone["key"]
    np.testing.assert_allclose(together["energies"], alone["energies"], atol=1e-6)
    assert together["barrier"] == pytest.approx(together["reverse_barrier"], abs=0.01)
    assert 0.05 < together["barrier"] < 1.0


def test_without_a_barrier_it_says_so():
    initial = bulk("Cu", cubic=True) * (2, 1, 1)
    final = initial.copy()
    final.positions[3] += 0.3
    result = neb_job(initial, final, images=3, climb=False)
    assert any("no barrier" in warning for warning in result["warnings"])
    assert any("ends are not relaxed" in warning for warning in result["warnings"])


def test_orders_of_atoms():
    initial, final = gold_on_aluminium()
    mixed = final[[1, 0, *range(2, len(final))]]
    with pytest.raises(StructureError, match=r"different orders: together.*matched"):
        check_match(initial, mixed)
    check_match(initial, mixed, exchange=True)
    again = matched(initial, mixed)
    np.testing.assert_allclose(again.positions, final.positions)
    with pytest.raises(StructureError, match="the same"):
        check_match(initial, initial)
    with pytest.raises(StructureError, match="different atoms"):
        check_match(initial, final[1:])
    larger = final.copy()
    larger.set_cell(final.cell * 1.1)
    with pytest.raises(StructureError, match="different cells"):
        check_match(initial, larger)
    with pytest.raises(StructureError, match="elements in different orders"):
        check_match(initial, final[[len(final) - 1, *range(len(final) - 1)]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "images"),
        ({"optimizer": "LBFGS"}, "FIRE"),
        ({"spring": -1}, "spring"),
        ({"imags": 3}, "images"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ParameterError, match=message):
        neb_flow(*gold_on_aluminium(), neb_kwargs=options)


def test_ends_that_relax_to_the_same_minimum():
    initial = bulk("Cu", cubic=True) * 2
    initial.positions[0] += 0.1
    initial.set_constraint(FixAtoms(range(1, len(initial))))
    final = initial.copy()
    final.positions[0] -= 0.2
    with pytest.raises((StructureError, JobsFailedError), match="the same"):
        neb_flow(initial, final, relax_kwargs={"fmax": 1e-4})
