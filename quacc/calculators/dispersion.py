"""Dispersion corrections D3 and D4, from the packages dftd3 and dftd4, on top of any code."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, Hartree

from quacc.calculators.keyword import Check, Keyword
from quacc.errors import (
    MissingProgramError,
    ParameterError,
    StructureError,
    plain,
    require_bool,
    require_number,
    suggest,
)

if TYPE_CHECKING:
    from quacc.calculators.code import Code

_DAMPINGS = {
    "d3bj": "RationalDampingParam",
    "d3zero": "ZeroDampingParam",
    "d3bjm": "ModifiedRationalDampingParam",
    "d3zerom": "ModifiedZeroDampingParam",
    "d4": "DampingParam",
}
"""Classes of dftd3.interface, and of dftd4.interface, by method."""

_LAST = 103
"""The last element of both, lawrencium. Beyond it, dftd3 computes nothing, and says nothing."""

_FORM = (
    "a method and the functional whose damping parameters are taken, such as 'd3bj:pbe', or "
    "{'method': 'd4', 'functional': 'pbe', 'three_body': False}"
)


def _is_one(name: str, value: Any) -> None:
    given = _spelled(value)
    wrong = {*given} - {"method", "functional", "parameters", "three_body"}
    texts = [given.get("method"), given.get("functional", "pbe")]
    if wrong or not all(isinstance(one, str) and one.strip() for one in texts):
        raise ParameterError(f"{name} must be {_FORM}, not {value!r}.")
    if given["method"] not in _DAMPINGS:
        raise ParameterError(
            f"There is no {name} {given['method']!r}.{suggest(given['method'], _DAMPINGS)} There "
            f"are {', '.join(_DAMPINGS)}."
        )
    if "three_body" in given:
        require_bool(three_body=given["three_body"])
    own = given.get("parameters")
    if own is None:
        return
    if not isinstance(own, Mapping) or given.keys() & {"functional", "three_body"}:
        raise ParameterError(
            f"{name} has parameters of its own as {{'method': 'd3bj', 'parameters': {{'s8': 0.8, "
            f"'a1': 0.4, 'a2': 4.4}}}}, without functional and three_body, not {value!r}."
        )
    for one, number in own.items():
        require_number(**{str(one): number})


DISPERSION = Keyword(
    None,
    f"correction of the dispersion energy: {', '.join(_DAMPINGS)}, and the functional whose "
    "damping parameters are taken, such as 'd3bj:pbe'",
    Check("", _is_one),
)
"""The keyword ``dispersion``, which all codes have."""


def _spelled(value: Any) -> dict[str, Any]:
    """Return the value of the keyword as a mapping."""
    if isinstance(value, str):
        method, colon, functional = value.partition(":")
        value = {"method": method, **({"functional": functional} if colon else {})}
    if not isinstance(value, Mapping):
        return {"method": None}
    given = {str(key): one for key, one in value.items() if one is not None}
    for key in ("method", "functional"):
        if isinstance(given.get(key), str):
            given[key] = given[key].strip().lower()
    return given


class Dispersion:
    """The correction of one calculation.

    Parameters
    ----------
    value
        Of the keyword ``dispersion``.
    code, parameters, atoms
        What it corrects.

    Raises
    ------
    ParameterError, StructureError, MissingProgramError
        The energies have dispersion in them already, or there are no parameters.
    """

    def __init__(self, value: Any, code: Code, parameters: Mapping[str, Any], atoms: Atoms) -> None:
        given = plain(_spelled(value))
        self.method: str = given["method"]
        self.package = "dftd4" if self.method == "d4" else "dftd3"
        computed = code.uncorrected_functional(parameters)
        if find_spec(self.package) is None:
            raise MissingProgramError(
                f"The dispersion correction {self.method} needs the Python package "
                f"{self.package}: `pip install quacc[dispersion]`."
            )
        self._check(atoms)
        self._charge = code.charge(atoms, parameters)
        self.parameters: dict[str, Any] = {"method": self.method}
        """What the record has of it, and the key."""
        if "parameters" in given:
            self.parameters["parameters"] = self._own(given["parameters"])
            return
        functional = given.get("functional") or (known_functional(computed) if computed else None)
        if functional is None:
            raise ParameterError(
                f"Nothing says for certain which functional {code.title} computes"
                f"{f' with {computed!r}' if computed else ''}: name the one whose damping "
                f"parameters are to be taken, such as dispersion='{self.method}:pbe'."
            )
        ours = known_functional(computed) if computed else None
        if ours is not None and ours != known_functional(functional):
            raise ParameterError(
                f"{code.title} computes {computed}, but dispersion={self.method}:{functional} has "
                f"the damping parameters of {functional}, which were fitted to other energies. "
                f"Name {ours}, or give your own: dispersion={{'method': '{self.method}', "
                "'parameters': {…}}."
            )
        self.parameters["functional"] = functional
        # As both packages have it, and as D3 is in VASP; D4's parameters are fitted with it.
        self.parameters["three_body"] = given.get("three_body", self.method == "d4")
        try:
            self._damping()
        except RuntimeError:
            known = _functionals(self.package, self.method)
            raise ParameterError(
                f"{self.method} has no damping parameters for the functional {functional!r}."
                f"{suggest(functional, known)} It has them for {', '.join(known)}; or give your "
                f"own: dispersion={{'method': '{self.method}', 'parameters': {{…}}}}."
            ) from None

    @property
    def version(self) -> str:
        """The package with its version, which the key has."""
        return f"{self.package}-{version(self.package)}"

    def _check(self, atoms: Atoms) -> None:
        if without := sorted({s for s in atoms.symbols if Atoms(s).numbers[0] > _LAST}):
            raise StructureError(
                f"{self.method} has no parameters for {', '.join(without)}: they end with Lr."
            )
        if self.method == "d4" and atoms.pbc.any() and not atoms.pbc.all():
            raise StructureError(
                "dftd4 repeats a structure in three directions, or in none, but this one has "
                f"pbc={atoms.pbc.tolist()}: its energy would depend on the vacuum in the cell. "
                "Take D3, such as d3bj, or set atoms.pbc = True with a vacuum so wide that it "
                "does not."
            )

    def _own(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Return one's own damping parameters, with those of the method that have defaults."""
        words = inspect.signature(self._class().new_param).parameters
        if unknown := sorted({*given} - {*words}):
            raise ParameterError(
                f"{self.method} has no damping parameter {', '.join(unknown)}. It has "
                f"{', '.join(words)}."
            )
        usual = {name: one.default for name, one in words.items() if one.default is not one.empty}
        usual["s9"] = 1.0 if self.method == "d4" else 0.0
        if missing := [name for name in words if name not in {**usual, **given}]:
            raise ParameterError(
                f"The damping parameters of {self.method} lack {', '.join(missing)}."
            )
        return {name: float(number) for name, number in sorted({**usual, **given}.items())}

    def _class(self) -> Any:
        from importlib import import_module

        return getattr(import_module(f"{self.package}.interface"), _DAMPINGS[self.method])

    def _damping(self) -> Any:
        if own := self.parameters.get("parameters"):
            return self._class()(**own)
        three = self.parameters["three_body"]
        return self._class()(method=self.parameters["functional"], atm=three)

    def compute(self, atoms: Atoms) -> dict[str, Any]:
        """Return energy (eV), forces (eV/Å) and, for a crystal, stress (eV/Å³)."""
        shape = atoms.positions / Bohr
        cell = atoms.cell.array / Bohr
        model: Any
        if self.method == "d4":
            from dftd4.interface import DispersionModel

            model = DispersionModel(atoms.numbers, shape, float(self._charge), cell, atoms.pbc)
        else:
            from dftd3.interface import DispersionModel

            model = DispersionModel(atoms.numbers, shape, cell, atoms.pbc)
        found = model.get_dispersion(param=self._damping(), grad=True)
        results: dict[str, Any] = {
            "energy": float(found["energy"]) * Hartree,
            "forces": -found["gradient"] * Hartree / Bohr,
        }
        if atoms.pbc.all():
            stress = found["virial"] * Hartree / atoms.get_volume()
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        return results


class Dispersed(Calculator):
    """A calculator whose energy, forces and stress are corrected; all else is its own.

    ASE's SumCalculator would leave out what a correction has not, such as magnetic moments.
    """

    def __init__(self, inner: Calculator, dispersion: Dispersion) -> None:
        super().__init__()
        self.inner, self.dispersion = inner, dispersion
        self.implemented_properties = list(inner.implemented_properties)
        self.energy = 0.0
        """The last correction (eV)."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute both."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.inner.calculate(self.atoms, properties, system_changes)
        added = self.dispersion.compute(self.atoms)
        # Those of atoms would not add up to those of the whole.
        parts = ("energies", "stresses")
        found = {name: one for name, one in self.inner.results.items() if name not in parts}
        for name in ("energy", "free_energy"):
            if name in found:
                found[name] = found[name] + added["energy"]
        if "forces" in found:
            found["forces"] = found["forces"] + added["forces"]
        if (stress := found.pop("stress", None)) is not None and "stress" in added:
            given = full_3x3_to_voigt_6_stress(stress) if np.shape(stress) == (3, 3) else stress
            found["stress"] = given + added["stress"]
        self.energy = added["energy"]
        self.results = found


_CERTAIN = {
    **{name: name for name in ("pbe", "pbesol", "revpbe", "rpbe", "blyp", "b3lyp", "bp", "olyp")},
    **{name: name for name in ("tpss", "revtpss", "scan", "rscan", "r2scan", "pbe0", "hse06")},
    **{name: name for name in ("hf", "pm6", "pm3", "am1", "mndo", "mndod", "rm1", "hcth120")},
    "bp86": "bp",
}
"""Functionals by which all codes and both packages mean the same, and semi-empirical methods."""

_HAS_SOME = re.compile(
    r"vdw|vv10|xdm|[-_]v\b|3c\b|[-_ ]?d[234](?![a-z0-9])|d[34](bj|zero|op)|[-_]d\b", re.I
)
"""Words in the names of functionals that have dispersion in them."""


def known_functional(name: str) -> str | None:
    """Return the name that both packages have for a functional, where it is certain."""
    return _CERTAIN.get(re.sub("[-_ ]", "", name).lower())


def refuse_functional(title: str, name: str) -> None:
    """Raise a ParameterError for a functional whose name says that it has dispersion in it."""
    if _HAS_SOME.search(name):
        raise twice(title, f"the functional {name}")


def twice(title: str, what: str) -> ParameterError:
    """Return the error about dispersion that would be counted twice."""
    return ParameterError(
        f"{title} has dispersion in its energy already, by {what}: the keyword dispersion would "
        "count it twice. Leave one of both out."
    )


@cache
def _functionals(package: str, method: str) -> list[str]:
    """Return the functionals that a method has parameters for, as its package lists them."""
    spec = find_spec(package)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    shared = folder.parents[3] / "share" if len(folder.parents) > 3 else folder
    places = [folder, shared / ("s-dftd3" if package == "dftd3" else package)]
    files = [one / "parameters.toml" for one in places if (one / "parameters.toml").is_file()]
    if not files:
        return []
    table = tomllib.loads(files[0].read_text("utf-8"))["parameter"]
    kind, form = method[:2], method[2:] or "bj-eeq-atm"
    return sorted(name for name, entry in table.items() if form in entry.get(kind, {}))


def citations_of(value: Any) -> list[str]:
    """Return the BibTeX entries of a correction, by the keyword's value."""
    method = _spelled(value).get("method")
    return [_BIBTEX[name] for name in _CITED.get(str(method), ())]


_CITED = {
    "d3bj": ("Grimme2010", "Grimme2011"),
    "d3zero": ("Grimme2010",),
    "d3bjm": ("Grimme2010", "Grimme2011", "Smith2016"),
    "d3zerom": ("Grimme2010", "Smith2016"),
    "d4": ("Caldeweyher2017", "Caldeweyher2019", "Caldeweyher2020"),
}
_BIBTEX = {
    "Grimme2010": """@article{Grimme2010,
  author = {Grimme, Stefan and Antony, Jens and Ehrlich, Stephan and Krieg, Helge},
  title = {A consistent and accurate ab initio parametrization of density functional dispersion
    correction ({DFT-D}) for the 94 elements {H-Pu}},
  journal = {The Journal of Chemical Physics}, volume = {132}, pages = {154104}, year = {2010},
  doi = {10.1063/1.3382344}
}""",
    "Grimme2011": """@article{Grimme2011,
  author = {Grimme, Stefan and Ehrlich, Stephan and Goerigk, Lars},
  title = {Effect of the damping function in dispersion corrected density functional theory},
  journal = {Journal of Computational Chemistry}, volume = {32}, pages = {1456--1465},
  year = {2011}, doi = {10.1002/jcc.21759}
}""",
    "Smith2016": """@article{Smith2016,
  author = {Smith, Daniel G. A. and Burns, Lori A. and Patkowski, Konrad and Sherrill, C. David},
  title = {Revised Damping Parameters for the {D3} Dispersion Correction to Density Functional
    Theory},
  journal = {The Journal of Physical Chemistry Letters}, volume = {7}, pages = {2197--2203},
  year = {2016}, doi = {10.1021/acs.jpclett.6b00780}
}""",
    "Caldeweyher2017": """@article{Caldeweyher2017,
  author = {Caldeweyher, Eike and Bannwarth, Christoph and Grimme, Stefan},
  title = {Extension of the {D3} dispersion coefficient model},
  journal = {The Journal of Chemical Physics}, volume = {147}, pages = {034112}, year = {2017},
  doi = {10.1063/1.4993215}
}""",
    "Caldeweyher2019": """@article{Caldeweyher2019,
  author = {Caldeweyher, Eike and Ehlert, Sebastian and Hansen, Andreas and Neugebauer, Hagen and
    Spicher, Sebastian and Bannwarth, Christoph and Grimme, Stefan},
  title = {A generally applicable atomic-charge dependent {London} dispersion correction},
  journal = {The Journal of Chemical Physics}, volume = {150}, pages = {154122}, year = {2019},
  doi = {10.1063/1.5090222}
}""",
    "Caldeweyher2020": """@article{Caldeweyher2020,
  author = {Caldeweyher, Eike and Mewes, Jan-Michael and Ehlert, Sebastian and Grimme, Stefan},
  title = {Extension and evaluation of the {D4} {London}-dispersion model for periodic systems},
  journal = {Physical Chemistry Chemical Physics}, volume = {22}, pages = {8499--8512},
  year = {2020}, doi = {10.1039/D0CP00502A}
}""",
}
