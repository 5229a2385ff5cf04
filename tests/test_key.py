"""Equal calculations have equal keys; different ones don't."""

import datetime
import decimal
import enum
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read, write

from quacc.errors import InputError
from quacc.key import calculation_key, digest


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(enum.StrEnum):
    ONE = "1"


def key(atoms=None, **changes):
    asked = {
        "recipe": "emt.relax_job",
        "version": 1,
        "atoms": bulk("Cu") if atoms is None else atoms,
        "parameters": {"fmax": 0.01, "steps": 10},
        "fingerprint": "emt 1",
    }
    return calculation_key(**(asked | changes))


def test_it_is_a_sha256():
    assert len(key()) == 64
    assert int(key(), 16)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "emt.static_job"},
        {"version": 2},
        {"parameters": {"fmax": 0.02, "steps": 10}},
        {"parameters": {"fmax": 0.01, "steps": 10, "asap_cutoff": False}},
        {"fingerprint": "emt 2"},
        {"extra": "file"},
        {"atoms": bulk("Al")},
        {"atoms": bulk("Cu", a=3.62)},
        {"atoms": bulk("Cu", cubic=True)},
    ],
)
def test_every_part_counts(change):
    assert key(**change) != key()


def test_spelling_does_not_count():
    assert key(parameters={"steps": 10.0, "fmax": np.float64(0.01)}) == key()
    assert digest((1, 2)) == digest([1, 2]) == digest(np.array([1, 2]))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({3, 1, 2}) == digest({2, 3, 1})


def test_large_whole_numbers_keep_all_their_digits():
    assert digest(2**53) != digest(2**53 + 1)
    assert digest(2**127 + 1) != digest(2**127)
    assert digest(2**53) == digest(float(2**53)) == digest(np.int64(2**53))
    assert len({digest(value) for value in (float("inf"), float("nan"), -1e300, 1e300)}) == 4


def test_types_that_mean_different_things_differ():
    different = [None, "None", 0, False, "", "0", [], {}, [0], {"a": 0}, b"", "a", 1j, True, 1]
    assert len({digest(value) for value in different}) == len(different)
    assert digest({1: 0}) != digest({"1": 0})


def test_one_object_twice_is_the_same_as_two_equal_ones():
    shared = [1, 2]
    assert digest([shared, shared]) == digest([[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("set_initial_magnetic_moments", [1.0, 0, 0, 0]),
        ("set_initial_charges", [1.0, 0, 0, 0]),
        ("set_masses", [60.0] * 4),
        ("set_constraint", FixAtoms([0])),
        ("set_pbc", [True, True, False]),
    ],
)
def test_what_atoms_carry_counts(name, value):
    plain, changed = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    getattr(changed, name)(value)
    assert key(changed) != key(plain)


def test_moments_of_zero_are_no_moments():
    atoms = bulk("Cu")
    atoms.set_initial_magnetic_moments([0.0])
    assert key(atoms) == key()


def test_constraints_differ():
    first, second = bulk("Cu"), bulk("Cu")
    first.set_constraint(FixCartesian(0, (True, False, False)))
    second.set_constraint(FixCartesian(0, (False, True, False)))
    assert len({key(first), key(second), key()}) == 3


def test_momenta_count_only_where_they_matter():
    atoms = bulk("Cu")
    atoms.set_momenta([[0, 0, 1.0]])
    assert key(atoms) == key()
    assert key(atoms, momenta=True) != key(momenta=True)


def test_info_and_calculator_results_do_not_count():
    from ase.calculators.emt import EMT

    atoms = bulk("Cu")
    atoms.info["note"] = "mine"
    atoms.calc = EMT()
    atoms.get_potential_energy()
    assert key(atoms) == key()


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "json", "vasp"])
def test_the_same_structure_from_a_file(tmp_path, suffix):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    write(tmp_path / f"a.{suffix}", atoms)
    assert key(read(tmp_path / f"a.{suffix}")) == key(atoms)


def test_the_same_in_another_process():
    code = (
        "from ase.build import bulk; from quacc.key import digest; "
        "print(digest([bulk('Cu'), {'b', 'a'}, {'x': 1.5}]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest([bulk("Cu"), {"a", "b"}, {"x": 1.5}])


@pytest.mark.parametrize(
    "value", [object(), print, (n for n in [1]), {"a": object()}, [1, {2: print}]]
)
def test_unknown_types_are_errors(value):
    with pytest.raises(InputError, match="cannot be part of a calculation's key"):
        digest(value)


def test_a_constraint_of_another_class_is_an_error():
    class Odd:
        def adjust_positions(self, atoms, new): ...

        def get_removed_dof(self, atoms):
            return 0

        def index_shuffle(self, atoms, ind): ...

    atoms = bulk("Cu")
    atoms._constraints = [Odd()]
    with pytest.raises(InputError, match="Odd"):
        key(atoms)


class WithUnit(float):
    unit = "nm"


class Quantity(np.ndarray):
    pass


def _endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        np.ma.masked_array([1.0, 2.0], mask=[True, False]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array(["2026-01-01"], dtype="datetime64[s]"),
        np.array([1], dtype="timedelta64[ns]"),
        np.array([object()]),
        np.array([1.0]).view(Quantity),
        WithUnit(1),
        np.longdouble(1) + np.longdouble(1e-18),
        np.array([1], dtype=np.longdouble) + np.longdouble(1e-18),
        datetime.datetime(2026, 1, 1),
        datetime.date(2026, 1, 1),
        decimal.Decimal("0.1"),
        range(3),
        bytearray(b"a"),
        Colour.RED,
        _endless(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_more_than_it_looks_is_refused(value):
    for one in (value, [value], {"a": value}):
        with pytest.raises(InputError):
            digest(one)


def test_one_value_one_spelling():
    same = [
        [1, 1.0, np.int8(1), np.uint64(1), np.float16(1), np.array(1), np.array(1.0), Level.LOW],
        [True, np.True_, np.array(True)],
        ["1", np.str_("1"), Text.ONE],
        [0.0, -0.0, 0],
        [[1, None], np.array([1, None], dtype=object)],
        [1j, np.complex64(1j), np.complex128(1j), np.array(1j)],
        [b"a", np.bytes_(b"a")],
        [{"a": {1}}, {"a": frozenset({1.0})}],
        [float("nan"), np.nan, np.float32("nan")],
    ]
    keys = [{digest(value) for value in values} for values in same]
    assert [len(one) for one in keys] == [1] * len(same)
    assert len(set.union(*keys)) == len(same)
    spelled = [{1: 0}, {True: 0}, {"1": 0}, {"True": 0}, {None: 0}, {"None": 0}, {(1,): 0}]
    assert len({digest(value) for value in spelled}) == len(spelled)
    assert len({key(parameters={"a": value}) for value in spelled}) == len(spelled)


def test_paths_are_their_text():
    assert digest(Path("/a/b")) == digest("/a/b")


def test_numbers_that_are_no_elements_have_keys_of_their_own():
    # A fan-out asks for keys before it checks structures, and refuses these alone.
    numbers = (0, 1, 118, 119, 200, -1, -119)
    assert len({key(Atoms(numbers=[number])) for number in numbers}) == len(numbers)


def _water():
    atoms = molecule("H2O")
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_momenta([[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]])
    return atoms


@pytest.mark.parametrize(
    ("atoms", "more", "key"),
    [
        (bulk("Cu", a=3.6), {}, "cf8c805c9a8835ef"),
        (_water(), {}, "467905e34edb3ae6"),
        (_water(), {"momenta": True}, "959fd7a24d450fc9"),
        (
            bulk("NaCl", "rocksalt", a=5.64),
            {"parameters": {"near": _water(), "n": [1, 2.5]}},
            "21b6333b65ae138a",
        ),
    ],
)
def test_keys_stay_what_they_are(atoms, more, key):
    # Else everybody's results would have to be computed again.
    asked = {"recipe": "x.y_job", "version": 1, "atoms": atoms, "fingerprint": "x 1"}
    assert calculation_key(**asked, **({"parameters": {"a": 1}} | more))[:16] == key
