"""PySCF: Hartree-Fock and density functional theory of molecules with Gaussians, in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import Bohr, Debye, Hartree

from quacc.calculators.code import Place
from quacc.calculators.dispersion import known_functional, refuse_functional, twice
from quacc.calculators.keyword import Check, Keyword, count, flag, positive, whole
from quacc.calculators.molecules import Molecules
from quacc.errors import CalculationError, ParameterError, suggest


def _name(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ParameterError(f"{name} must be a name, not {value!r}.")


def _name_or_names(name: str, value: Any) -> None:
    for one in value.values() if isinstance(value, Mapping) and value else [value]:
        if not isinstance(one, str) or not one.strip():
            raise ParameterError(f"{name} must be a name, or {{element: name}}, not {value!r}.")


def _names(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{element: name}}, not {value!r}.")
    _name_or_names(name, value)


def _level(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise ParameterError(f"{name} must be a whole number from 0 to 9, not {value!r}.")


_SCF: Mapping[str, type] = {
    "conv_tol_grad": float,
    "damp": float,
    "diis_damp": float,
    "diis_space": int,
    "diis_start_cycle": int,
    "direct_scf_tol": float,
    "init_guess": str,
    "level_shift": float,
    "small_rho_cutoff": float,
}
"""Attributes of PySCF's SCF that decide how it converges, and their types."""
_GUESSES = ("minao", "atom", "huckel", "mod_huckel", "hcore", "1e", "sap", "vsap")


def _is_number(value: Any, kind: type) -> bool:
    return type(value) in (int, kind) and bool(value >= 0)


def _attributes(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{attribute: value}}, not {value!r}.")
    for one, given in value.items():
        if one not in _SCF:
            raise ParameterError(
                f"{name} has no {one!r}.{suggest(str(one), sorted(_SCF))} Accepted: "
                f"{', '.join(sorted(_SCF))}; everything else is a keyword of its own."
            )
        if _SCF[one] is str:
            if given not in _GUESSES:
                raise ParameterError(f"{one} must be one of {', '.join(_GUESSES)}, not {given!r}.")
            continue
        if not _is_number(given, _SCF[one]):
            raise ParameterError(f"{one} must be a number, not below zero, not {given!r}.")


class PySCFCode(Molecules):
    name = "pyscf"
    title = "PySCF (Hartree-Fock and density functional theory of molecules)"
    keywords = {
        "xc": Keyword(
            "PBE0",
            "the functional, in PySCF's or libxc's words, such as PBE, B3LYP or 'PBE,PBE'; HF: "
            "Hartree-Fock",
            Check("", _name),
        ),
        "basis": Keyword(
            "def2-SVP",
            "the basis set, or {element: basis set}; a text in NWChem's format, too",
            Check("", _name_or_names),
        ),
        "ecp": Keyword(
            None,
            "{element: effective core potential}; None: those that belong to the basis set",
            Check("", _names),
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": Keyword(
            None,
            "above 1, spins are unrestricted (UHF, UKS); None: from the initial magnetic moments; "
            "without any, 1, or 2 for an odd number of electrons",
            count,
        ),
        "density_fit": Keyword(False, "approximate integrals with an auxiliary basis", flag),
        "cartesian": Keyword(
            False,
            "six Cartesian d functions, as 6-31G* is defined with, rather than five spherical ones",
            flag,
        ),
        "conv_tol": Keyword(1e-9, "how much the energy may still change (Hartree)", positive),
        "max_cycle": Keyword(100, "maximum number of SCF cycles", count),
        "grid_level": Keyword(3, "of the integration grid: more is finer", Check("0 to 9", _level)),
        "scf": Keyword(
            {},
            f"how the SCF converges otherwise, such as {{'level_shift': 0.2}}: "
            f"{', '.join(sorted(_SCF))}",
            Check("", _attributes),
        ),
    }
    options = {
        "max_memory": Keyword(
            4000.0, "MB, from which on less is kept in memory, which is slower", positive
        )
    }
    package = "pyscf"
    install = "`pip install quacc[pyscf]`"
    citation = """@article{Sun2020,
  author = {Sun, Qiming and Zhang, Xing and Banerjee, Samragni and others},
  title = {Recent developments in the {PySCF} program package},
  journal = {The Journal of Chemical Physics}, volume = {153}, pages = {024109}, year = {2020},
  doi = {10.1063/5.0006074}
}
@article{Sun2018,
  author = {Sun, Qiming and Berkelbach, Timothy C. and Blunt, Nick S. and others},
  title = {{PySCF}: the {Python}-based simulations of chemistry framework},
  journal = {WIREs Computational Molecular Science}, volume = {8}, pages = {e1340}, year = {2018},
  doi = {10.1002/wcms.1340}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _PySCF(parameters, place.options)

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Return PySCF's own file of defaults, where there is one: it may change any number."""
        places = [os.environ.get("PYSCF_CONFIG_FILE"), ".pyscf_conf.py", "~/.pyscf_conf.py"]
        found = (Path(place).expanduser() for place in places if place)
        return [file for file in found if file.is_file()][:1]

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        more = []
        for package in ("pyscf-dispersion", "basis-set-exchange"):  # PySCF takes numbers from them
            try:
                more.append(f" {package} {version(package)}")
            except PackageNotFoundError:
                continue
        return super().fingerprint(parameters) + "".join(more)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if getattr(self, "python", None) is None:  # otherwise it is asked where it lives
            check_functional(parameters["xc"])
            found = core_potentials(sorted({*atoms.symbols}), parameters)
            heavy = sorted({s for s, z in zip(atoms.symbols, atoms.numbers, strict=True) if z > 36})
            if bare := [symbol for symbol in heavy if symbol not in found]:
                warnings.append(
                    f"All electrons of {', '.join(bare)} are computed, without relativity. Take a "
                    "basis set with effective core potentials, such as def2-SVP."
                )
        return warnings

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        xc = parameters["xc"].strip()
        if known_functional(xc) is None:
            refuse_functional(self.title, xc)
            if getattr(self, "python", None) is not None:
                raise ParameterError(
                    f"What xc={xc!r} has of dispersion is not known here, since PySCF is in "
                    "another Python. Leave dispersion out, or take a functional such as PBE."
                )
            from pyscf.dft import libxc
            from pyscf.scf.dispersion import parse_dft

            check_functional(xc)
            functional, nonlocal_part, correction = parse_dft(xc)
            if correction or nonlocal_part or libxc.is_nlc(functional):
                raise twice(self.title, f"xc={xc!r}")
        return xc


def check_functional(xc: str) -> None:
    """Refuse what PySCF does not know, and what it would compute a part of.

    Raises
    ------
    ParameterError
    """
    if xc.strip().upper() == "HF":
        return
    from pyscf.dft import libxc
    from pyscf.scf.dispersion import parse_dft

    try:
        functional, _, dispersion = parse_dft(xc)
        _, parts = libxc.parse_xc(functional)
    except (KeyError, ValueError, NotImplementedError) as error:
        raise ParameterError(
            f"PySCF has no functional {xc!r} (keyword xc): {str(error).strip(chr(34))}"
        ) from error
    if dispersion and find_spec("pyscf.dispersion") is None:
        raise ParameterError(
            f"xc={xc!r} has a dispersion correction, which needs the package pyscf-dispersion: "
            "`pip install pyscf-dispersion`."
        )
    names = [_names_of_functionals().get(int(number), "") for number, _ in parts]
    for name in names:
        # Parts of functionals that were fitted together with a correction which libxc has not.
        if name.endswith(("_D", "_D3", "_3C")):
            raise ParameterError(
                f"xc={xc!r} means {name}, whose dispersion correction PySCF would leave out. Take "
                "another functional."
            )
    if "," not in xc and all("_X_" in f"_{name}_" and "_XC_" not in name for name in names):
        raise ParameterError(
            f"xc={xc!r} means no correlation to PySCF. Name both, such as 'LDA,VWN'; "
            "'LDA,' means exchange alone."
        )


def _names_of_functionals() -> dict[int, str]:
    from pyscf.dft import libxc

    found: dict[int, str] = {}
    for name, number in libxc.XC_CODES.items():
        if not isinstance(number, str) and "_" in name:
            found.setdefault(int(number), name)
    return found


def core_potentials(symbols: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the effective core potential of each element that has one.

    Without it, PySCF would take a basis set that is made for one with all electrons, and say
    nothing.

    Raises
    ------
    ParameterError
        There is no such basis set for an element, or no such potential.
    """
    import warnings

    from pyscf.gto import basis as library
    from pyscf.lib.exceptions import BasisNotFoundError

    given = parameters["basis"]
    named = dict(parameters["ecp"] or {})
    found = {}
    for symbol in symbols:
        name = given if isinstance(given, str) else given.get(symbol)
        if name is None:
            raise ParameterError(f"basis names no basis set for {symbol}: {given!r}.")
        for one in (name, named.get(symbol, "")):
            if "\n" not in one and os.path.exists(one):
                raise ParameterError(
                    f"{one!r} is a file here, too, which PySCF would take. Pass the text that is "
                    "in it, or go to another folder."
                )
        plain = name.lower().replace("-", "").replace("_", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another package may have it
            try:
                if plain.startswith("gth"):
                    raise BasisNotFoundError
                library.load(name, symbol)
            except (BasisNotFoundError, KeyError, AssertionError, IndexError) as error:
                raise ParameterError(f"PySCF has no basis set {name!r} for {symbol}.") from error
            try:
                if library.load_ecp(named.get(symbol, name), symbol):
                    found[symbol] = named.get(symbol, name)
                    continue
            except (BasisNotFoundError, RuntimeError, OSError, TypeError):
                pass  # a basis set without any, which is checked below
        if symbol in named:
            raise ParameterError(
                f"PySCF has no effective core potential {named[symbol]!r} for {symbol}."
            )
        if plain.startswith(("bfd", "ccecp")) or (plain.endswith("pp") and "ccp" in plain):
            raise ParameterError(
                f"The basis set {name!r} is made for an effective core potential of {symbol}, "
                f"which PySCF does not name with it. Pass ecp={{{symbol!r}: …}}."
            )
    return found


class _PySCF(Calculator):
    """PySCF, with the molecule of each call.

    PySCF's own class for ASE is made for one molecule, and its forces leave out that the grid moves
    with the atoms, so that they are not the derivative of the energy. Each SCF starts anew: from
    the density of the step before, methanol takes 8 cycles instead of 9, but what is found would
    depend on where the atoms came from.
    """

    implemented_properties = ["energy", "forces", "dipole"]

    def __init__(self, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__()
        self._given, self._memory = parameters, options["max_memory"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute everything: forces take less time than the SCF."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        solver = _solver(self.atoms, self._given, self._memory)
        energy = solver.kernel()
        if not solver.converged:
            raise CalculationError(
                f"The SCF of PySCF did not converge within {self._given['max_cycle']} cycles. Look "
                "at the structure, its charge and multiplicity; then try more max_cycle, or "
                "scf={'level_shift': 0.2, 'damp': 0.3}."
            )
        gradient = solver.nuc_grad_method()
        if hasattr(gradient, "grid_response"):
            gradient.grid_response = True
        self.results = {
            "energy": float(energy) * Hartree,
            "forces": -gradient.kernel() * Hartree / Bohr,
        }
        if not self._given["charge"]:  # that of an ion depends on the origin
            self.results["dipole"] = solver.dip_moment(unit="Debye", verbose=0) * Debye


def _solver(atoms: Atoms, parameters: Mapping[str, Any], memory: float) -> Any:
    """Return PySCF's SCF for a molecule."""
    from pyscf import dft, gto, scf

    check_functional(parameters["xc"])
    multiplicity = parameters["multiplicity"]
    mol = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions, strict=True)),
        unit="Angstrom",
        basis=parameters["basis"],
        ecp=core_potentials(sorted({*atoms.symbols}), parameters),
        charge=parameters["charge"],
        spin=multiplicity - 1,
        cart=parameters["cartesian"],
        symmetry=False,
        max_memory=memory,
        verbose=0,
        parse_arg=False,
        dump_input=False,
    )
    xc = parameters["xc"]
    if xc.strip().upper() == "HF":
        solver = scf.RHF(mol) if multiplicity == 1 else scf.UHF(mol)
    else:
        solver = dft.RKS(mol) if multiplicity == 1 else dft.UKS(mol)
        solver.xc, solver.grids.level = xc, parameters["grid_level"]
    solver.conv_tol, solver.max_cycle = parameters["conv_tol"], parameters["max_cycle"]
    solver.chkfile = None  # nothing is written
    for name, value in parameters["scf"].items():
        setattr(solver, name, value)
    return solver.density_fit() if parameters["density_fit"] else solver


CODE = PySCFCode()
