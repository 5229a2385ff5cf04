"""Quantum ESPRESSO: plane waves and pseudopotentials, the external program pw.x."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.data import atomic_numbers

from quacc.calculators import density, phx, pwscf
from quacc.calculators.code import LinearResponse, Place, Slice, Spectrum
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import content_of, read
from quacc.calculators.keyword import Check, Keyword, count, flag, one_of, positive
from quacc.calculators.planewaves import (
    PlaneWaves,
    keywords_of,
    last_lines,
    messages_in,
    middle_of_vacuum,
)
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import (
    CalculationError,
    ParameterError,
    StructureError,
    require_number,
    suggest,
)
from quacc.extras import charge_of


def _manifolds(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(
            f"{name} must be {{manifold: eV}} such as {{'Fe-3d': 4.0}}: {value!r}."
        )
    for manifold, energy in value.items():
        element, _, shell = str(manifold).partition("-")
        if element not in atomic_numbers or not re.fullmatch("[1-7][spdf]", shell):
            raise ParameterError(
                f"{name} names shells such as 'Fe-3d' or 'O-2p', but {manifold!r} is none."
            )
        require_number(**{f"{name} of {manifold}": energy})
    if len({str(manifold).partition("-")[0] for manifold in value}) < len(value):
        raise ParameterError(f"{name} takes one shell of an element, not {', '.join(value)}.")


def _a_folder(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ParameterError(
            f"{name} must be the folder of a result, result['directory'], not {value!r}."
        )


def _mix_less(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    data = _flat(parameters["input_data"])
    beta, steps = data.get("mixing_beta", 0.7) / 2, 2 * data.get("electron_maxstep", 100)
    changed = {**data, "mixing_beta": beta, "electron_maxstep": steps}
    words = f"mixing_beta={beta:g} and electron_maxstep={steps}"
    return {**parameters, "input_data": changed}, words


_NOT_CONVERGED = re.compile(r"convergence NOT achieved after\s+(\d+) iterations")

_SCF = Handler(
    "The SCF of pw.x did not converge",
    seen=lambda folder: _NOT_CONVERGED.search(read(folder / "espresso.pwo")) is not None,
    change=_mix_less,
)


_NO_STATES = re.compile(
    "too many bands are not converged|problems computing cholesky|eigenvectors failed to converge"
    r"|S matrix not positive definite|zhegvd error in computing|qr\(X, 0\) failed"
)
"""What pw.x says where its diagonalization fails, as aiida-quantumespresso's parser knows it."""

_ALGORITHMS = ("david", "ppcg", "paro", "cg")
"""In the order in which aiida-quantumespresso tries them."""


def _another_algorithm(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    data = _flat(parameters["input_data"])
    now = str(data.get("diagonalization", "david")).lower()
    place = _ALGORITHMS.index(now) if now in _ALGORITHMS else -1
    name = _ALGORITHMS[(place + 1) % len(_ALGORITHMS)]
    return {
        **parameters,
        "input_data": {**data, "diagonalization": name},
    }, f"diagonalization={name}"


_DIAGONALIZATION = Handler(
    "The diagonalization of pw.x failed",
    seen=lambda folder: (
        _NO_STATES.search(read(folder / "espresso.pwo") + read(folder / "CRASH")) is not None
    ),
    change=_another_algorithm,
    most=len(_ALGORITHMS) - 1,
)


def _dipole(atoms: Atoms, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of pw.x for a dipole layer in the middle of the vacuum.

    Bengtsson, Phys. Rev. B 59, 12301 (1999).
    """
    if given := data.keys() & {"tefield", "dipfield", "edir", "emaxpos", "eopreg", "eamp"}:
        raise ParameterError(
            f"dipole=True sets {', '.join(sorted(given))} of input_data: leave one of both out."
        )
    middle = (middle_of_vacuum(atoms) - _LAYER / 2) % 1
    return {
        "tefield": True,
        "dipfield": True,
        "edir": 3,
        "emaxpos": round(float(middle), 6),
        "eopreg": _LAYER,
        "eamp": 0.0,
    }


_LAYER = 0.05
"""Thickness of the dipole layer, as a part of the cell."""


def _too_few_bands(folder: Path) -> tuple[int, float] | None:
    """Return the number of bands and the occupation of the highest, if that is not empty."""
    found = pwscf.highest_occupation(folder)
    return found if found and found[1] > _EMPTY else None


def _more_bands(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    found = pwscf.highest_occupation(folder)
    assert found is not None
    more = found[0] * 3 // 2 + 4
    return {
        **parameters,
        "input_data": {**_flat(parameters["input_data"]), "nbnd": more},
    }, f"nbnd={more}"


_EMPTY = 0.005
"""An occupation up to which a band counts as empty: aiida-quantumespresso's."""

_BANDS = Handler(
    "The highest band of pw.x was not empty",
    # What the user has chosen is not changed.
    seen=lambda folder: (
        "nbnd" not in read(folder / "espresso.pwi") and _too_few_bands(folder) is not None
    ),
    change=_more_bands,
    most=1,
)


class EspressoCode(PlaneWaves):
    name = "espresso"
    title = "Quantum ESPRESSO (pw.x)"
    keywords = {
        "ecutwfc": Keyword(50.0, "cutoff of the wave functions (Ry)", positive),
        "ecutrho": Keyword(None, "cutoff of the density (Ry); None: 8 times ecutwfc", positive),
        **keywords_of("espresso", "pw.x"),
        "dipole": Keyword(
            False,
            "correct for the dipole of a slab, whose vacuum is along the third cell vector",
            flag,
        ),
        "hubbard_u": Keyword(
            None,
            "Hubbard U (eV) by shell, such as {'Fe-3d': 4.0}",
            Check("", _manifolds),
        ),
        "hubbard_projectors": Keyword(
            "ortho-atomic", "of the Hubbard U", one_of("ortho-atomic", "atomic")
        ),
    }
    options = {
        "npool": Keyword(1, "pools that share the k-points (-nk of pw.x)", count),
        "keep_density": Keyword(
            False, "keep the density, for density_from of other calculations", flag
        ),
        "density_from": Keyword(
            None,
            "folder of a result with keep_density of the same atoms, in nearly the same places: "
            "the SCF starts from its density",
            Check("", _a_folder),
        ),
    }
    program = Program(
        "espresso",
        "pw.x",
        r"Program PWSCF\s+v\.(\S+)",
        parallel=True,
        restart=("out",),  # the density and wave functions
        scratch=("out",),
    )
    handlers = (_SCF, _BANDS, _DIAGONALIZATION)
    debian_folder = "/usr/share/espresso/pseudo"
    debian_package = "quantum-espresso-data"
    isolate_molecule = "pass input_data={'assume_isolated': 'martyna-tuckerman'}"
    isolate_any = (
        "Pass input_data with assume_isolated ('2D' for a layer, 'makov-payne' or "
        "'martyna-tuckerman' for a molecule)"
    )
    handles = {
        "pbc": "honoured: all three; fewer are refused unless `assume_isolated` is given, but for "
        "neutral molecules in a box, with a warning",
        "charges": "honoured: their sum is `tot_charge`, refused unless it is a whole number",
        "moments": "honoured as the start of the SCF; refused with `nspin=1`; so are vectors",
    }
    install = "`apt-get install quantum-espresso` or `conda install -c conda-forge qe`"
    citation = """@article{Giannozzi2017,
  author = {Giannozzi, P. and Andreussi, O. and Brumme, T. and others},
  title = {Advanced capabilities for materials modelling with {Quantum ESPRESSO}},
  journal = {Journal of Physics: Condensed Matter}, volume = {29}, pages = {465901}, year = {2017},
  doi = {10.1088/1361-648X/aa8f79}
}
@article{Giannozzi2009,
  author = {Giannozzi, Paolo and Baroni, Stefano and Bonini, Nicola and others},
  title = {{QUANTUM ESPRESSO}: a modular and open-source software project for quantum simulations of
    materials},
  journal = {Journal of Physics: Condensed Matter}, volume = {21}, pages = {395502}, year = {2009},
  doi = {10.1088/0953-8984/21/39/395502}
}"""

    def candidates(self, folder: Path, symbol: str) -> list[str]:
        return _candidates(folder, symbol)

    def functional(self, file: Path) -> str | None:
        return _functional(file, file.stat().st_mtime_ns)

    def isolated(self, parameters: Mapping[str, Any]) -> bool:
        data = _flat(parameters["input_data"])
        return str(data.get("assume_isolated", "none")).lower() != "none"

    def polarised(self, parameters: Mapping[str, Any]) -> bool:
        data = _flat(parameters["input_data"])
        return bool(data.get("nspin", 1) != 1 or data.get("noncolin"))

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name the pseudopotential of each element, charge and spin.

        Raises
        ------
        ParameterError
            There is none, or several to choose from.
        """
        found = self.choose(atoms, parameters["pseudopotentials"])
        data = dict(parameters["input_data"])
        flat = _flat(data)
        if (charge := charge_of(atoms)) and "tot_charge" not in flat:
            data["tot_charge"] = charge
        if atoms.get_initial_magnetic_moments().any() and not flat.keys() & {"nspin", "noncolin"}:
            data["nspin"] = 2
        if parameters.get("dipole"):
            data |= _dipole(atoms, flat)
        # Keys stay those from before there were these; what the first means is in input_data.
        absent = {"dipole"}
        shells = {
            name: float(value)
            for name, value in (parameters.get("hubbard_u") or {}).items()
            if name.partition("-")[0] in found
        }
        if not shells:
            absent |= {"hubbard_u", "hubbard_projectors"}
        others = {name: value for name, value in parameters.items() if name not in absent}
        if shells:
            others["hubbard_u"] = dict(sorted(shells.items()))
        return {**others, "pseudopotentials": found, "input_data": data}

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        if not any(isinstance(one, Mapping) for one in (*below.values(), *above.values())):
            return super().merged(below, above)
        first, second = _nested(below), _nested(above)
        return {name: {**first[name], **second.get(name, {})} for name in first}

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        # Moments of ASE's reader were zero.
        moments = " moments-2" if self.polarised(parameters) else ""
        return super().fingerprint(parameters) + moments

    def charge(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int:
        charge = _flat(parameters["input_data"]).get("tot_charge")
        if charge is not None and (isinstance(charge, bool) or not isinstance(charge, int | float)):
            raise ParameterError(f"tot_charge must be a number, not {charge!r}.")
        return super().charge(atoms, {"charge": charge})

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        for section, values in _nested(parameters["input_data"]).items():
            for name in _DECIDED.intersection(values):
                if (name, values[name]) not in (("calculation", "scf"), ("ibrav", 0)):
                    raise ParameterError(
                        f"input_data cannot set {name} of &{section.upper()} to {values[name]!r}: "
                        "cell and atoms are those of the structure, quacc moves them, one SCF at a "
                        "time, and knows where its files are. Relaxations and dynamics are jobs of "
                        "their own."
                    )
        warnings += self.check_cell(atoms, parameters)
        data = _flat(parameters["input_data"])
        if data.get("scf_must_converge", True) is not True:
            raise ParameterError(
                "input_data cannot set scf_must_converge to False: energy and forces of an SCF "
                "that has not converged are no result. Pass a larger electron_maxstep or conv_thr."
            )
        if any(name.startswith("starting_magnetization") for name in data):
            raise ParameterError(
                "input_data cannot set starting_magnetization: it comes from the structure. Pass "
                "the moments with atoms.set_initial_magnetic_moments()."
            )
        if any(name.startswith("hubbard_u(") for name in data):
            raise ParameterError(
                "input_data cannot set Hubbard_U, whose numbers of species depend on the moments. "
                "Pass hubbard_u={'Fe-3d': 4.0}."
            )
        self.check_functionals(parameters)
        return warnings

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        data = _flat(parameters["input_data"])
        if data.get("nspin") == 1 and atoms.get_initial_magnetic_moments().any():
            raise ParameterError(
                "nspin=1 contradicts the initial magnetic moments of the structure. Remove them "
                "with atoms.set_initial_magnetic_moments(), or leave nspin out."
            )
        super().check_state(atoms, parameters)

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        data = _flat(parameters["input_data"])
        off = ("none", "", "false", ".false.")
        for name in ("vdw_corr", "london", "xdm", "ts_vdw"):
            if str(data.get(name, "none")).strip().lower() not in off:
                raise twice(self.title, f"{name}={data[name]!r} of input_data")
        found = data.get("input_dft") or self.functional(self.files(parameters)[0])
        if found is None:
            return None
        refuse_functional(self.title, str(found))
        return _IN_WORDS.get(str(found).upper(), str(found))

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        from ase.io.espresso_namelist.namelist import Namelist

        ecutwfc = parameters["ecutwfc"]
        data = Namelist(
            {
                "outdir": "out",
                "tprnfor": True,
                "tstress": True,
                "ecutwfc": ecutwfc,
                "ecutrho": parameters["ecutrho"] or 8 * ecutwfc,
                "occupations": "smearing",
                "smearing": "mv",
                "degauss": 0.01,
                "conv_thr": 1e-8,
            }
        )
        data.to_nested("pw")
        for section, values in _nested(parameters["input_data"]).items():
            data[section].update(values)
        command = self.program.run_command()
        if (npool := place.options["npool"]) > 1:
            command = f"{command} -nk {npool}"
        calculator: Any = _Espresso(
            profile=EspressoProfile(command=command, pseudo_dir=str(self.folder())),
            directory=place.folder,
            input_data=data,
            pseudopotentials=dict(parameters["pseudopotentials"]),
            kpts=parameters["kpts"],
            kspacing=None if parameters["kpts"] else parameters["kspacing"],
        )
        if start := place.options.get("density_from"):
            calculator.start = Path(start).expanduser()
        calculator.described = lambda atoms: self._density_of(atoms, parameters)
        if shells := parameters.get("hubbard_u"):
            version = re.match(r"(\d+)\.(\d+)", self.program.version() or "")
            calculator.hubbard = pwscf.Hubbard(
                shells,
                parameters["hubbard_projectors"],
                as_card=version is None or tuple(map(int, version.groups())) >= (7, 1),
            )
        return calculator

    def check_options(
        self, atoms: Atoms, parameters: Mapping[str, Any], options: Mapping[str, Any]
    ) -> list[str]:
        if (folder := options["density_from"]) is None:
            return []
        if self.polarised(parameters) or parameters.get("hubbard_u"):
            raise ParameterError(
                "With spin or a Hubbard U, the start of the SCF decides which of several states it "
                "finds, and density_from is in no key. Pass "
                f"copy_files={{{folder!r}: 'density.*'}}, whose content is."
            )
        density.require_near(Path(folder).expanduser(), self._density_of(atoms, parameters))
        return []

    def keep(self, parameters: Mapping[str, Any], place: Place, atoms: Atoms) -> list[str]:
        if not place.options["keep_density"]:
            return []
        assert place.folder is not None
        if density.keep(place.folder, self._density_of(atoms, parameters)):
            return []
        return ["There was no density to keep: keep_density is for jobs of one structure."]

    def _density_of(self, atoms: Atoms, parameters: Mapping[str, Any]) -> Any:
        """Return what decides whether a density can be started from."""
        names = parameters["pseudopotentials"]
        about = {
            "ecutrho": float(parameters["ecutrho"] or 8 * parameters["ecutwfc"]),
            "polarised": self.polarised(parameters),
            "charge": float(_flat(parameters["input_data"]).get("tot_charge", 0)),
        }
        files = {symbol: content_of(self.folder() / name) for symbol, name in names.items()}
        return density.described(atoms, about, files)

    def require_programs(self, what: str) -> None:
        pwscf.require_companion(self.program.start_command(), pwscf.PROGRAMS[what])

    def check_bands(self, parameters: Mapping[str, Any], densities: str | None) -> None:
        if densities:
            self.require_programs(densities)

    def bands(
        self, parameters: Mapping[str, Any], place: Place, atoms: Atoms, kpoints: Any, empty: int
    ) -> Spectrum:
        return pwscf.bands(self.build(parameters, place), atoms, kpoints, empty)

    def potential(self, parameters: Mapping[str, Any], place: Place) -> tuple[Any, Any, float]:
        return pwscf.potential(self.build(parameters, place))

    def density_of_states(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        atoms: Atoms,
        kspacing: float,
        empty: int,
        projected: bool,
    ) -> tuple[Spectrum, dict[str, Any]]:
        calculator = self.build(parameters, place)
        return (
            pwscf.mesh(calculator, atoms, kspacing, empty),
            pwscf.densities(calculator, projected),
        )

    def for_response(self, given: Mapping[str, Any]) -> dict[str, Any]:
        # The default of other jobs leaves errors in forces that phonons do not forgive.
        data = given.get("input_data") or {}
        if not isinstance(data, Mapping):  # which is refused later
            return dict(given)
        return {**given, "input_data": self.merged({"conv_thr": 1e-12}, data)}

    def check_response(
        self, atoms: Atoms, parameters: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        if charge := self.charge(atoms, parameters):
            raise StructureError(
                f"A phonon calculation is of a neutral crystal, not of one with the charge "
                f"{charge:+d}: make tot_charge, or the sum of the initial charges, zero."
            )
        phx.check_ground_state(_flat(parameters["input_data"]))
        phx.check_keywords(given)
        self.require_programs("response")
        self.require_programs("force constants")

    def respond(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        qpoints: Sequence[int],
        threshold: float,
        given: Mapping[str, Any],
        seconds: float,
        recover: bool,
    ) -> Slice:
        return phx.respond(
            self.build(parameters, place),
            qpoints,
            threshold,
            given,
            insulator=_insulator(parameters),
            seconds=seconds,
            recover=recover,
        )

    def response(self, parameters: Mapping[str, Any], place: Place, atoms: Atoms) -> LinearResponse:
        calculator = self.build(parameters, place)
        return phx.response(calculator, atoms, insulator=_insulator(parameters))

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "espresso.pwo")
        if found := _NOT_CONVERGED.search(output):
            return (
                f"the SCF did not converge in {found.group(1)} iterations; pass input_data with a "
                "smaller mixing_beta, a larger electron_maxstep or degauss"
            )
        if "Maximum CPU time exceeded" in output:
            return "it stopped at max_seconds, before the SCF had converged: leave that out"
        messages = pwscf.complaints(output + read(directory / "CRASH"))
        messages += [line.strip() for line in output.splitlines() if "Not enough space" in line]
        if not messages:
            messages = messages_in(read(directory / "espresso.err"))
        if messages:
            return "; ".join([*dict.fromkeys(messages), *_advice(messages)])
        if last := last_lines(output):
            return f"it wrote no error; its last lines are: {last}"
        # The file is there once the program was started.
        return _SILENT if (directory / "espresso.pwo").is_file() else None


def _insulator(parameters: Mapping[str, Any]) -> bool:
    """Return whether occupations are fixed, so that there is a response to a field."""
    return str(_flat(parameters["input_data"]).get("occupations", "")).lower() == "fixed"


def _advice(messages: Sequence[str]) -> list[str]:
    """Return what helps against errors whose words do not say it."""
    return [words for seen, words in _HELP if any(seen.search(line) for line in messages)]


_HELP = (
    (
        re.compile("invalid number of pools|some nodes have no k-points"),
        "npool may exceed neither the number of MPI processes nor that of k-points",
    ),
    (
        re.compile("charge is wrong|smearing is needed"),
        "fixed occupations are for insulators, with all electrons in pairs or with moments",
    ),
    (
        _NO_STATES,
        "see that no atoms are too close, and try other pseudopotentials or a larger ecutwfc",
    ),
)


def _nested(input_data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return keywords of pw.x by their sections, in lower case."""
    from ase.io.espresso_namelist.keys import pw_keys
    from ase.io.espresso_namelist.namelist import Namelist

    for name, value in input_data.items():
        is_section = isinstance(name, str) and name.lower() in pw_keys
        if not isinstance(name, str) or is_section != isinstance(value, Mapping):
            raise ParameterError(
                "input_data must be keywords of pw.x, or sections of them such as "
                f"{{'system': {{'nspin': 2}}}}: {name!r} cannot be {value!r}."
            )
    found = Namelist(dict(input_data))
    found.to_nested("pw")
    known = {name for section in found.values() for name in section}
    for name in input_data:
        if name.lower() not in pw_keys and name.lower() not in known:
            every = [one for section in pw_keys.values() for one in section]
            raise ParameterError(
                f"pw.x has no keyword {name!r}.{suggest(name.lower(), every)} One that is new "
                "goes into its section, such as {'system': {…}}."
            )
    return dict(found)


def _flat(input_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of pw.x without their sections, in lower case."""
    return {name: value for part in _nested(input_data).values() for name, value in part.items()}


_DECIDED = frozenset(
    [
        *("calculation", "outdir", "prefix", "pseudo_dir", "restart_mode", "startingpot", "wfcdir"),
        *("ibrav", "celldm", "a", "b", "c", "cosab", "cosac", "cosbc", "nat", "ntyp"),
        *(f"celldm({number})" for number in range(1, 7)),
    ]
)
"""Keywords of pw.x that are not the user's."""


class _Espresso(Espresso):
    """Starts from the density of the step before, or of the checkpoint."""

    hubbard: pwscf.Hubbard | None = None
    start: Path | None = None
    """The folder of a kept density, to begin with."""
    described: Callable[[Atoms], Any]
    """Tells what a density is of."""

    def write_inputfiles(self, atoms: Any, properties: Any) -> None:
        folder = Path(self.directory)
        saved = folder / "out" / "pwscf.save"
        known = any(saved.glob("charge-density*"))
        if not known and density.has(folder):  # of copy_files
            density.require_near(folder, self.described(atoms))
            density.put(folder, folder)
        elif not known and self.start:
            density.put(self.start, folder)
        density.take_away(folder)
        known = any(saved.glob("charge-density*"))
        electrons = self.parameters["input_data"]["electrons"]
        electrons["startingpot"] = "file" if known else "atomic"
        free = atoms.copy()
        free.set_constraint()  # else pw.x would report no forces on fixed atoms
        if self.hubbard:
            self.hubbard.into(self.parameters, free)
        super().write_inputfiles(free, properties)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), changes: Any = ()
    ) -> None:
        super().calculate(atoms, properties, changes)
        if found := _too_few_bands(Path(self.directory)):
            raise CalculationError(
                f"The highest of the {found[0]} bands of pw.x is filled to {found[1]:.2g}, so that "
                "electrons are missing above it, and the energy is wrong. Give input_data a larger "
                "nbnd."
            )
        if self.hubbard:
            self.hubbard.require_used(read(Path(self.directory) / "espresso.pwo"))
        self.results.pop("magmoms", None)  # ASE's reader has zeros for them
        self.results.pop("magmom", None)
        self.results |= _moments(read(Path(self.directory) / "espresso.pwo"), len(atoms))
        self.atoms = atoms.copy()


def _moments(output: str, natoms: int) -> dict[str, Any]:
    """Return the magnetic moments that pw.x prints at the end of its SCF: total, and of sites."""
    found: dict[str, Any] = {}
    if total := re.findall(r"total magnetization\s*=\s*(\S+)\s+Bohr mag/cell", output):
        found["magmom"] = float(total[-1])
    sites = re.findall(r"(?m)^\s*atom\b.*\bcharge[:=].*\bmagn[:=]\s*(\S+)", output)[-natoms:]
    if len(sites) == natoms:
        found["magmoms"] = np.array(sites, dtype=float)
    return found


_SILENT = "it wrote no output; check that the setting commands.espresso starts it"


def _candidates(folder: Path, symbol: str) -> list[str]:
    pattern = re.compile(rf"{symbol}[._-].*\.upf|{symbol}\.upf", re.I)
    return sorted(
        file.name
        for file in (folder.iterdir() if folder.is_dir() else [])
        if pattern.fullmatch(file.name) and file.name[: len(symbol)].lower() == symbol.lower()
    )


@cache
def _functional(file: Path, changed: int) -> str | None:
    """Return the functional of a pseudopotential in the UPF format, as the file names it."""
    text = file.read_text("utf-8", "replace")
    patterns = (r'functional="\s*([^"]*?)\s*"', r"(?m)^\s*(.*?)\s+Exchange-Correlation functional")
    found = [match for pattern in patterns if (match := re.search(pattern, text))]
    name = " ".join(found[0].group(1).split()) if found else None
    return _SHORT.get(name, name) if name else None


_IN_WORDS = {
    "HSE": "HSE06",
    "BP": "BP86",
    "SLA LYP B88 BLYP": "BLYP",
    "SLA+PW+PBX+PBC": "PBE",
    "SLA PW REVX PBC": "revPBE",
}
"""Functionals in pw.x's words, and in others'."""

_SHORT = {
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "SLA PZ NOGX NOGC": "PZ",
    "SLA PW PSX PSC": "PBESOL",
}

CODE = EspressoCode()
