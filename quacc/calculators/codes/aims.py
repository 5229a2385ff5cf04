"""FHI-aims: all electrons, numeric atom-centred orbitals; a program under a licence of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.aims import AimsProfile, AimsTemplate
from ase.calculators.calculator import Calculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.data import atomic_numbers

from quacc.calculators.code import Code, Place
from quacc.calculators.files import read
from quacc.calculators.keyword import (
    Check,
    Keyword,
    count,
    flag,
    one_of,
    or_none,
    positive,
    three_counts,
    whole,
)
from quacc.calculators.planewaves import last_lines, messages_in
from quacc.calculators.program import Program
from quacc.errors import CalculationError, ParameterError, StructureError
from quacc.extras import check_spin, unpaired_of

_WORD = re.compile(r"[\w.+\-]+( [\w.+\-]+)*")


def _functional(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ParameterError(f"{name} must be a functional in FHI-aims's words, not {value!r}.")
    first = value.lower().split()[0]
    if first in _BEYOND:
        raise ParameterError(
            f"{name} cannot be {value!r}: FHI-aims adds the correlation after the SCF, and has no "
            "forces of it."
        )


_BEYOND = ("mp2", "xdh-pbe0", "xyg3", "xygjos", "lrc-xyg3", "zrs1", "scsrpa", "screx", "cohsex")


def _folders(name: str, value: Any) -> None:
    names = value.values() if isinstance(value, Mapping) and value else [value]
    for one in names:
        parts = one.split("/") if isinstance(one, str) else [""]
        if not all(re.fullmatch(r"\w[\w.+\-]*", part) for part in parts):
            raise ParameterError(
                f"{name} must be a folder in that of the setting pseudopotentials.aims, such as "
                f"'defaults_2020/tight', or {{element: folder}}, not {value!r}."
            )


def _control(name: str, value: Any) -> None:
    """Refuse what control.in cannot have, and what quacc or a keyword decides."""
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{keyword of control.in: value}}, not {value!r}.")
    for keyword, given in value.items():
        if not isinstance(keyword, str) or not re.fullmatch(r"[A-Za-z]\w*", keyword):
            raise ParameterError(f"{name} cannot have {keyword!r}, which is no keyword.")
        lower = keyword.lower()
        if lower in _KEYWORDS:
            raise ParameterError(f"{name} cannot set {keyword}: pass {_KEYWORDS[lower]}=… instead.")
        if lower in _DECIDED or lower.startswith(_OTHER_JOBS):
            raise ParameterError(
                f"{name} cannot set {keyword}: charge and spin are those of the structure, quacc "
                "moves the atoms and the cell, one SCF at a time, and an SCF that did not converge "
                "is no result. Relaxations and dynamics are jobs of their own."
            )
        for one in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
            plain = isinstance(one, bool | int | float | str)
            if not plain or (isinstance(one, str) and not re.fullmatch(r"[\w .:=/+\-]*", one)):
                raise ParameterError(
                    f"{name} cannot set {keyword} to {given!r}: a value is True or False, a "
                    "number, a text of words (none for a keyword without value), or a list of them."
                )


_KEYWORDS = {
    **{one: one for one in ("xc", "charge", "relativistic", "sc_iter_limit")},
    "spin": "spin_polarized",
    **{f"sc_accuracy_{one}": f"sc_accuracy_{one}" for one in ("rho", "etot", "eev", "forces")},
    **dict.fromkeys(("k_grid", "k_grid_density", "k_points_external"), "kpts"),
    "occupation_type": "occupation_type",
    **dict.fromkeys(("compute_analytical_stress", "compute_numerical_stress"), "stress"),
    **dict.fromkeys(("species", "species_dir", "tier"), "species_defaults"),
    "fixed_spin_moment": "fixed_spin_moment",
}
"""Keywords of control.in that are quacc's, and under which name."""
_DECIDED = frozenset(
    [
        *("compute_forces", "compute_heat_flux", "total_energy_method", "qpe_calc", "dry_run"),
        *("postprocess_anyway", "use_pimd_wrapper", "multiplicity", "external_pressure", "plumed"),
    ]
)
_OTHER_JOBS = (
    *("relax_", "md_", "dfpt", "magnetic_response", "neutral_excitation", "rt_tddft", "transport"),
    *("restart", "elsi_restart"),
)
"""How keywords begin that move atoms, restart, or compute something other than one SCF."""


class AimsCode(Code):
    name = "aims"
    title = "FHI-aims"
    site_moments = True
    keywords = {
        "xc": Keyword(
            "pbe",
            "the functional in FHI-aims's words, such as pbesol, scan or 'hse06 0.11', which needs "
            "control={'hse_unit': 'bohr-1'}",
            Check("", _functional),
        ),
        "species_defaults": Keyword(
            "defaults_2020/intermediate",
            "basis functions and grids: a folder in that of the setting pseudopotentials.aims, "
            "such as defaults_2020/tight, or {element: folder}",
            Check("", _folders),
        ),
        "kspacing": Keyword(
            0.04, "distance of k-points (1/Å, without 2π, as in ASE)", or_none(positive)
        ),
        "kpts": Keyword(None, "instead of a distance (k_grid)", three_counts),
        "spin_polarized": Keyword(
            None, "spin collinear rather than none; None: with magnetic moments", flag
        ),
        "fixed_spin_moment": Keyword(
            False, "keep the sum of the magnetic moments, with which the SCF starts", flag
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "relativistic": Keyword(
            "atomic_zora scalar",
            "scalar relativity, with which energies and forces agree",
            one_of("atomic_zora scalar", "none"),
        ),
        "occupation_type": Keyword(
            "gaussian",
            "the smearing",
            one_of("gaussian", "methfessel-paxton", "fermi", "cold"),
        ),
        "width": Keyword(0.01, "of the smearing (eV)", positive),
        "sc_accuracy_rho": Keyword(1e-6, "convergence of the density (electrons)", positive),
        "sc_accuracy_etot": Keyword(1e-6, "convergence of the total energy (eV)", positive),
        "sc_accuracy_eev": Keyword(1e-3, "convergence of the sum of eigenvalues (eV)", positive),
        "sc_accuracy_forces": Keyword(
            None, "convergence of the forces (eV/Å); None: not checked", positive
        ),
        "sc_iter_limit": Keyword(200, "maximum number of SCF iterations", count),
        "stress": Keyword(
            "analytical",
            "of a crystal; numerical: from 12 more SCFs, for functionals without the other",
            one_of("analytical", "numerical"),
        ),
        "control": Keyword(
            {},
            "anything else of control.in, as in its manual; a list under output: a line for each",
            Check("", _control),
        ),
    }
    program = Program(
        "aims",
        "aims.x",
        r"FHI-aims version\s*:\s*(\S+)",
        ask_with=("--version",),
        parallel=True,
        scratch=("*.csc",),
    )
    properties = ("energy", "forces", "stress")
    converging = frozenset({"kspacing", "kpts"})
    either = (converging,)
    tested = "not run: input and parsing are tested against genuine files"
    handles = {
        "pbc": "honoured: none or all three; one or two are refused",
        "charges": "honoured: their sum, refused unless it is a whole number",
        "moments": "honoured as the start of the SCF (`initial_moment`); their sum is kept with "
        "`fixed_spin_moment=True`; refused with `spin_polarized=False`; so are vectors",
    }
    install = "it comes with a licence of MS1P e.V. (https://fhi-aims.org)"
    citation = """@article{Blum2009,
  author = {Blum, Volker and Gehrke, Ralf and Hanke, Felix and Havu, Paula and Havu, Ville and
    Ren, Xinguo and Reuter, Karsten and Scheffler, Matthias},
  title = {Ab initio molecular simulations with numeric atom-centered orbitals},
  journal = {Computer Physics Communications}, volume = {180}, pages = {2175--2196}, year = {2009},
  doi = {10.1016/j.cpc.2009.06.022}
}
@article{Havu2009,
  author = {Havu, V. and Blum, V. and Havu, P. and Scheffler, M.},
  title = {Efficient {O(N)} integration for all-electron electronic structure calculation using
    numeric basis functions},
  journal = {Journal of Computational Physics}, volume = {228}, pages = {8367--8379}, year = {2009},
  doi = {10.1016/j.jcp.2009.08.008}
}"""

    def missing(self) -> str | None:
        if reason := super().missing():
            return reason
        root = self.folder()
        if root is None:
            return (
                "The setting pseudopotentials.aims names no folder; it is FHI-aims's "
                "species_defaults, which holds defaults_2020: `quacc settings set "
                "pseudopotentials.aims FOLDER`."
            )
        if not root.is_dir():
            return f"There is no folder {str(root)!r}, named by the setting pseudopotentials.aims."
        return None

    def folder(self) -> Path | None:
        """Return the folder of species defaults, from the settings."""
        from quacc.settings import get_settings

        found = get_settings().pseudopotentials.get(self.name)
        return Path(found) if found else None

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name the species defaults of each element, charge, spin and k-points.

        Raises
        ------
        ParameterError
            The species defaults of an element are missing.
        """
        found = dict(parameters)
        found["charge"] = self.charge(atoms, parameters)
        if found["spin_polarized"] is None:
            found["spin_polarized"] = unpaired_of(atoms) is not None
        given = parameters["species_defaults"]
        elements = sorted({*atoms.symbols})
        if isinstance(given, Mapping):
            if without := [one for one in elements if one not in given and "*" not in given]:
                raise ParameterError(
                    f"species_defaults names no folder for {', '.join(without)}: {dict(given)!r}. "
                    "The name '*' stands for all others."
                )
            found["species_defaults"] = {one: given.get(one, given.get("*")) for one in elements}
        else:
            found["species_defaults"] = dict.fromkeys(elements, given)
        if not atoms.pbc.any():
            if parameters["kpts"] is not None:
                raise ParameterError(
                    f"kpts={list(parameters['kpts'])} is for crystals, but the structure has no "
                    "pbc. Leave it out, or set atoms.pbc = True."
                )
            found["kspacing"] = None
        self.files(found)
        return found

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        root = self.folder()
        if root is None or not root.is_dir():
            self.require_here()
        assert root is not None
        return [
            _species_file(root, folder, element)
            for element, folder in parameters["species_defaults"].items()
        ]

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        lower = {str(name).lower() for name in above}
        return {n: value for n, value in below.items() if str(n).lower() not in lower} | {**above}

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        for element, file in zip(
            parameters["species_defaults"], self.files(parameters), strict=True
        ):
            _check_species(element, file)
        control = {name.lower(): value for name, value in parameters["control"].items()}
        words = parameters["xc"].lower().split()
        if words[0] in ("hse03", "hse06", "lc_wpbeh") and (
            len(words) < 2 or "hse_unit" not in control
        ):
            raise ParameterError(
                f"xc={parameters['xc']!r} needs its screening parameter and the unit of it, which "
                "decide the energy: xc='hse06 0.11' with control={'hse_unit': 'bohr-1'}."
            )
        heavy = sorted({s for s, z in zip(atoms.symbols, atoms.numbers, strict=True) if z > 20})
        if heavy and parameters["relativistic"] == "none":
            warnings.append(f"{', '.join(heavy)} are computed without relativity.")
        if parameters["spin_polarized"] and unpaired_of(atoms) is None:
            if "default_initial_moment" not in control:
                raise ParameterError(
                    "spin_polarized=True needs magnetic moments to start from: "
                    "atoms.set_initial_magnetic_moments(), or "
                    "control={'default_initial_moment': 1.0}."
                )
        elif "default_initial_moment" in control:
            raise ParameterError(
                "default_initial_moment of control is for spin_polarized=True without magnetic "
                "moments in the structure, which are taken where there are any."
            )
        return warnings

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        if atoms.pbc.any() and not atoms.pbc.all():
            raise StructureError(
                f"FHI-aims has molecules and crystals of three dimensions, but the structure has "
                f"pbc={atoms.pbc.tolist()}. Set atoms.pbc = True with a vacuum so wide that the "
                "energy does not depend on it; for the dipole of a slab, see use_dipole_correction "
                "of its manual, which control takes."
            )
        super().check_state(atoms, parameters)
        if parameters["spin_polarized"] is False and unpaired_of(atoms) is not None:
            raise ParameterError(
                "spin_polarized=False contradicts the initial magnetic moments of the structure. "
                "Remove them with atoms.set_initial_magnetic_moments(), or leave it out."
            )
        electrons, unpaired = self.electron_count(atoms, parameters), unpaired_of(atoms)
        if parameters["fixed_spin_moment"]:
            if unpaired is None:
                raise ParameterError(
                    "fixed_spin_moment=True needs magnetic moments, whose sum it keeps: "
                    "atoms.set_initial_magnetic_moments()."
                )
            if not atoms.pbc.any():
                check_spin(electrons, unpaired, atoms.get_chemical_formula())
        if electrons < 1:
            raise StructureError(
                f"With the charge {self.charge(atoms, parameters):+d}, "
                f"{atoms.get_chemical_formula()} has {electrons} electrons, and there is nothing "
                "to compute."
            )

    def assumptions(self, atoms: Atoms, given: Mapping[str, Any]) -> list[str]:
        electrons = self.electron_count(atoms, given)
        quiet = given.get("spin_polarized") or unpaired_of(atoms) is not None
        if atoms.pbc.any() or electrons % 2 == 0 or quiet:
            return []
        return [
            f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, and is "
            "computed without spin: its energy is too high. Give it magnetic moments with "
            "atoms.set_initial_magnetic_moments()."
        ]

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        calculator: Any = _Aims(
            template=_Template(self.files(parameters)),
            profile=AimsProfile(command=self.program.run_command()),
            directory=str(place.folder),
            parameters=dict(parameters),
        )
        return calculator

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "aims.out")
        if _NOT_CONVERGED.search(output):
            return (
                "the SCF did not converge. Look at the structure, its charge and moments; then "
                "pass more sc_iter_limit, a larger width for a metal, or a smaller "
                "control={'charge_mix_param': 0.02}"
            )
        lines = [line.strip() for line in output.splitlines()]
        stops = [line.strip("* ") for line in lines if re.match(r"\*{2,3} +\w", line)]
        if not stops and _THE_END not in output:
            stops = [line.strip("* ") for line in lines[-15:] if re.match(r"\* +\w", line)]
        found = stops[-3:] or messages_in(read(directory / "aims.err"))
        if found:
            return "; ".join(dict.fromkeys(found))
        if last := last_lines(output):
            return f"it wrote no error; its last lines are: {last}"
        # The file is there once the program was started.
        silent = (directory / "aims.out").is_file()
        return "it wrote no output; check that the setting commands.aims starts it" * silent or None


_THE_END = "Have a nice day."
_CONVERGED = "Self-consistency cycle converged."
_NOT_CONVERGED = re.compile(
    "SELF-CONSISTENCY CYCLE DID NOT CONVERGE|scf_solver: SCF cycle not converged"
)


def _species_file(root: Path, folder: str, element: str) -> Path:
    file = root / folder / f"{atomic_numbers[element]:02}_{element}_default"
    if file.is_file():
        return file
    name = file.name
    there = sorted(str(one.parent.relative_to(root)) for one in root.glob(f"**/{name}"))
    raise ParameterError(
        f"There is no {name!r} in {str(root / folder)!r}. "
        f"{element} is in {', '.join(there) or 'no folder there'}: choose with species_defaults. "
        "The setting pseudopotentials.aims names FHI-aims's species_defaults."
    )


def _check_species(element: str, file: Path) -> None:
    """Refuse a file of species defaults that is of another element, or of several species."""
    text = re.sub(r"#.*", "", read(file))
    species = re.findall(r"(?m)^\s*species\s+(\S+)", text)
    nuclei = [float(one) for one in re.findall(r"(?m)^\s*nucleus\s+([\d.]+)", text)]
    if species != [element] or nuclei != [atomic_numbers[element]]:
        says = f"species {', '.join(species) or 'none'}, nucleus {nuclei}"
        raise ParameterError(
            f"The species defaults {str(file)!r} for {element} are of another element, or of none: "
            f"{says}."
        )


def _spelled(value: Any) -> str:
    """Return a value as control.in has it, with all its digits."""
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, list | tuple):
        return " ".join(_spelled(one) for one in value)
    return repr(value) if isinstance(value, float) else str(value)


def control_in(atoms: Atoms, parameters: Mapping[str, Any], species: Sequence[Path]) -> str:
    """Return control.in."""
    from ase.io.espresso import kspacing_to_grid

    smearing = [parameters["occupation_type"], float(parameters["width"])]
    if parameters["occupation_type"] == "methfessel-paxton":
        smearing.append(1)  # the order
    lines: list[tuple[str, Any]] = [
        ("xc", parameters["xc"]),
        ("spin", "collinear" if parameters["spin_polarized"] else "none"),
        ("relativistic", parameters["relativistic"]),
        ("charge", float(parameters["charge"])),
        ("occupation_type", smearing),
        *((f"sc_accuracy_{one}", parameters[f"sc_accuracy_{one}"]) for one in _ACCURACIES),
        ("sc_iter_limit", parameters["sc_iter_limit"]),
        ("compute_forces", True),
    ]
    if parameters["fixed_spin_moment"]:
        moment = float(atoms.get_initial_magnetic_moments().sum())
        lines.append(("fixed_spin_moment", moment))
    if atoms.pbc.all():
        mesh = parameters["kpts"] or kspacing_to_grid(atoms, parameters["kspacing"])
        lines += [("k_grid", list(mesh)), (f"compute_{parameters['stress']}_stress", True)]
    elif not parameters["charge"]:  # the dipole of an ion depends on the origin
        lines.append(("output", ["dipole"]))
    for name, value in parameters["control"].items():
        lines.append((name, value))
    text = [
        f"{name:<34} {_spelled(one)}".rstrip() + "\n"
        for name, value in lines
        if value is not None
        for one in (value if name == "output" and not isinstance(value, str) else [value])
    ]
    return "".join([*dict.fromkeys(text), "\n", *(f"{read(file).rstrip()}\n" for file in species)])


_ACCURACIES = ("rho", "etot", "eev", "forces")


def geometry_in(atoms: Atoms) -> str:
    """Return geometry.in.

    Without constraints, so that all forces are there; and without charges of atoms, which FHI-aims
    takes for the start of the SCF alone: the charge is in control.in.
    """
    lines = []
    if atoms.pbc.all():
        lines += [f"lattice_vector {_numbers(vector)}\n" for vector in atoms.cell.array]
    moments = atoms.get_initial_magnetic_moments()
    for symbol, position, moment in zip(atoms.symbols, atoms.positions, moments, strict=True):
        lines.append(f"atom {_numbers(position)} {symbol}\n")
        if moment:
            lines.append(f"    initial_moment {float(moment)!r}\n")
    return "".join(lines)


def _numbers(vector: Any) -> str:
    return " ".join(f"{one:.16f}" for one in vector)


class _Aims(GenericFileIOCalculator):
    """As ASE's, with another template; see there."""

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.atoms = atoms.copy()


class _Template(AimsTemplate):
    """Input and output as ASE has them, but for what would be wrong.

    ASE's writers are about to leave it; its control.in is of a neutral system whatever the charges
    of the atoms say, shifts even meshes of k-points off Γ, and has six digits of the smearing. Its
    reader takes an SCF that did not converge, and where the energy of the cell is missing, that of
    one atom.
    """

    def __init__(self, species: Sequence[Path]) -> None:
        super().__init__()
        self._species = species
        self._asked: tuple[Atoms, Mapping[str, Any]] | None = None

    def write_input(
        self, profile: Any, directory: Any, atoms: Any, parameters: Any, properties: Any
    ) -> None:
        folder = Path(directory)
        # Output of an earlier run must not be taken for that of one which died without a word.
        for name in (self.outputname, self.errorname):
            (folder / name).unlink(missing_ok=True)
        (folder / "geometry.in").write_text(geometry_in(atoms))
        (folder / "control.in").write_text(control_in(atoms, parameters, self._species))
        self._asked = atoms.copy(), parameters

    def read_results(self, directory: Any) -> dict[str, Any]:
        assert self._asked is not None
        if _cut_off(output := read(Path(directory) / self.outputname)):
            raise CalculationError(
                f"FHI-aims did not come to its end: {CODE.diagnose(Path(directory))}."
            )
        return read_results(output, *self._asked)


def _cut_off(output: str) -> bool:
    return _THE_END not in "".join(output.rstrip().splitlines(keepends=True)[-5:])


def read_results(output: str, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a run.

    The energy is the electronic free energy, of which the forces are the derivative, as with the
    other calculators; ``energy_zero`` is extrapolated to no smearing, which FHI-aims calls the
    total energy corrected.

    Raises
    ------
    CalculationError
        FHI-aims did not come to its end, its SCF did not converge, something is missing, or it
        computed another structure or spin than it was told.
    """
    from ase.io.aims import AimsParseError, get_aims_out_chunks, get_header_chunk

    if _cut_off(output):
        raise CalculationError("FHI-aims did not come to its end: its output is cut off or empty.")
    _, converged, after = output.rpartition(_CONVERGED)
    if not converged or "Begin self-consistency loop" in after or _NOT_CONVERGED.search(after):
        raise CalculationError(
            f"The SCF of FHI-aims did not converge within {parameters['sc_iter_limit']} "
            "iterations. Look at the structure, its charge and moments; then pass more "
            "sc_iter_limit, or a smaller control={'charge_mix_param': 0.02}."
        )
    block = after.partition("Energy and forces in a compact form:")[2]
    energies = {
        name: re.search(rf"\| {words} +: +(\S+) eV", block) for name, words in _ENERGIES.items()
    }
    periodic = bool(atoms.pbc.all())
    wanted = {"energies": all(energies.values()), "forces": "Total atomic forces" in block}
    if periodic:
        # The numerical stress is there before the last SCF, which is of the structure itself.
        wanted["stress"] = _STRESS[parameters["stress"]] in (
            after if parameters["stress"] == "analytical" else output
        )
    if lacking := [name for name, there in wanted.items() if not there]:
        raise CalculationError(f"FHI-aims printed no {' and no '.join(lacking)} after its SCF.")
    lines = iter(output.splitlines(keepends=True))
    try:
        header = get_header_chunk(lines)
        *others, last = get_aims_out_chunks(lines, header)
        _same_structure(header.initial_atoms, atoms)
        channels = header.n_spins
        found = {name: float(match[1]) for name, match in energies.items() if match}
        results: dict[str, Any] = {**found, "forces": last.forces}
        if periodic:
            results["stress"] = last.stress
        if parameters["spin_polarized"] and last.magmom is not None:
            results["magmom"] = last.magmom
        if not periodic and not parameters["charge"] and last.dipole is not None:
            results["dipole"] = last.dipole
    except (AimsParseError, ValueError, IndexError) as error:
        raise CalculationError(f"The output of FHI-aims cannot be read: {error}.") from error
    if channels != (2 if parameters["spin_polarized"] else 1):
        raise CalculationError(
            f"FHI-aims computed with {channels} spin channels, and not what its control.in says "
            f"(spin_polarized={parameters['spin_polarized']}). Look at its output."
        )
    if others and not (periodic and parameters["stress"] == "numerical"):
        raise CalculationError(
            f"FHI-aims computed {len(others) + 1} structures, but was given one. Look at its "
            "output."
        )
    if np.shape(results["forces"]) != (len(atoms), 3):
        raise CalculationError("FHI-aims printed forces of another number of atoms.")
    return {"energy": results["free_energy"], **results}


_ENERGIES = {"free_energy": "Electronic free energy", "energy_zero": "Total energy corrected"}
_STRESS = {
    "analytical": "Analytical stress tensor - Symmetrized",
    "numerical": "Calculation of numerical stress completed",
}


def _same_structure(computed: Atoms, told: Atoms) -> None:
    same = computed.get_chemical_symbols() == told.get_chemical_symbols() and (
        computed.pbc.all() == told.pbc.all()
    )
    if same:
        moved = computed.positions - told.positions
        if told.pbc.all():
            same = np.abs(computed.cell.array - told.cell.array).max() < _PRINTED
            parts = told.cell.scaled_positions(moved)
            moved = told.cell.cartesian_positions(parts - np.rint(parts))
        same = bool(same and np.abs(moved).max() < _PRINTED)
    if not same:
        raise CalculationError(
            "The output of FHI-aims is of another structure than the one that was given to it. "
            "Look at its geometry.in and its output."
        )


_PRINTED = 1e-5
"""How far positions as FHI-aims prints them, with 8 digits, may be from those of the input (Å)."""

CODE = AimsCode()
