"""CHGNet and SevenNet on a GPU, where a machine has one; never required."""

import shutil
import time
from pathlib import Path

import pytest
from ase.build import bulk

from quacc.recipes.chgnet import core as chgnet
from quacc.recipes.sevenn import core as sevenn
from quacc.settings import change_settings
from tests.at_once import together, values
from tests.potentials import POTENTIALS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        shutil.which("nvidia-smi") is None or not Path(POTENTIALS).exists(),
        reason="needs a GPU, and the potentials (make ml)",
    ),
]


@pytest.mark.parametrize("job", [chgnet.static_job, sevenn.static_job])
def test_many_at_once_are_the_same_numbers_and_quicker(job, record_property):
    items = [bulk("Cu", a=3.4 + 0.005 * number, cubic=True) for number in range(64)]
    times, energies = {}, {}
    environments = {"chgnet": POTENTIALS, "sevenn": POTENTIALS}
    with change_settings(environments=environments):
        for width in (1, 16):
            together(job, items[:width], width, device="cuda")  # which loads it
            begun = time.perf_counter()
            found = values(together(job, items, width, device="cuda"))
            times[width] = time.perf_counter() - begun
            energies[width] = [one["results"]["energy"] for one in found]
    assert energies[16] == pytest.approx(energies[1], rel=1e-5)
    record_property("speed-up", times[1] / times[16])
    assert times[16] < times[1]
