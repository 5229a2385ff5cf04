"""MACE: higher-order equivariant message passing, with weights from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from quacc.calculators.keyword import Check, Keyword
from quacc.calculators.weights import DTYPE, Weights, require_trusted
from quacc.errors import ParameterError, StructureError
from quacc.extras import charge_of, check_collinear, check_spin, unpaired_of

_KINDS = ("MACE", "ScaleShiftMACE")
"""Classes whose energy depends on atoms within a cutoff alone."""

_STATE = ("total_charge", "total_spin")
"""What a model may take beside elements and positions."""


def _is_head(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{name} must be the name of one of the model's heads, not {value!r}.")


class MACECode(Weights):
    name = "mace"
    title = "MACE (equivariant message passing)"
    package = "mace"
    keywords = {
        **Weights.keywords,
        "head": Keyword(
            None,
            "the level of theory, for models with several, whose energies have different zeros",
            Check("a name", _is_head),
        ),
        "dtype": DTYPE,
    }
    handles = {
        **Weights.handles,
        "charges": "honoured by models that take a total charge: their sum, refused unless it is a "
        "whole number; with others refused, unless their sum is zero, which a warning says does "
        "not count",
        "moments": "honoured by models that take a spin: their sum, which must be given where the "
        "number of electrons is odd; with others without meaning, which a warning says",
    }
    tested = "run with random weights, where MACE is installed (make mace), and not in CI"
    install = "`pip install mace-torch`"
    citation = """@inproceedings{Batatia2022,
  author = {Batatia, Ilyes and Kovacs, David Peter and Simm, Gregor N. C. and Ortner, Christoph and
    Csanyi, Gabor},
  title = {{MACE}: Higher Order Equivariant Message Passing Neural Networks for Fast and Accurate
    Force Fields},
  booktitle = {Advances in Neural Information Processing Systems}, volume = {35},
  pages = {11423--11436}, year = {2022}, doi = {10.52202/068431-0830}
}"""

    def version(self) -> str:
        from importlib.metadata import version

        self.require_here()
        return f"mace-torch {version('mace-torch')}"

    def read(self, file: Path) -> dict[str, Any]:
        model = _model(file, "cpu")
        specs = getattr(model, "embedding_specs", None) or {}
        if strange := sorted({*specs}.difference(_STATE)):
            raise ParameterError(
                f"The model {file.name} takes {', '.join(strange)}, which no structure says."
            )
        return {
            "elements": [chemical_symbols[int(number)] for number in model.atomic_numbers],
            "heads": list(getattr(model, "heads", None) or ["Default"]),
            "cutoff": float(model.r_max),
            "state": sorted(specs),
            "ranges": {name: _range(spec) for name, spec in specs.items()},
        }

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        found = super().resolve(atoms, parameters)
        heads = self.described(found)["heads"]
        if found["head"] is None and len(heads) == 1:
            found["head"] = heads[0]
        if found["head"] not in heads:  # of which MACE would take the last one
            raise ParameterError(
                f"The model {found['model']} has the heads {', '.join(heads)}: pass one as head, "
                f"not {found['head']!r}."
            )
        return found

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        known = self.described(parameters)
        if not known["state"]:
            super().check_state(atoms, parameters)
            return
        check_collinear(atoms)
        charge, unpaired = charge_of(atoms), unpaired_of(atoms)
        electrons = int(atoms.numbers.sum()) - charge
        if charge and "total_charge" not in known["state"]:
            raise StructureError(f"The model {parameters['model']} takes a spin, but no charge.")
        if "total_spin" in known["state"]:
            if unpaired is None and electrons % 2:
                raise StructureError(
                    f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, "
                    "and nothing says its spin, which the model takes. Say it with "
                    "atoms.set_initial_magnetic_moments()."
                )
            if unpaired is not None:
                check_spin(electrons, unpaired, atoms.get_chemical_formula())
        for name, value in zip(_STATE, (charge, (unpaired or 0) + 1), strict=True):
            low, high = known["ranges"].get(name) or (value, value)
            if not low <= value <= high:
                raise StructureError(
                    f"The model {parameters['model']} takes a {name} from {low} to {high}, not "
                    f"{value}."
                )

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        bare, state = atoms.copy(), self.described(parameters)["state"]
        if "total_charge" in state:
            bare.set_initial_charges(None)
        if "total_spin" in state:
            bare.set_initial_magnetic_moments(None)
        return super().check(bare, parameters)

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        return {**super().about(parameters), "head": parameters["head"]}

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from mace.calculators import MACECalculator

        class Stated(MACECalculator):
            """Told the charge and spin in the way that quacc's structures say them."""

            def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
                atoms = atoms.copy()
                atoms.info = {"charge": charge_of(atoms), "spin": (unpaired_of(atoms) or 0) + 1}
                atoms.arrays.pop("Qs", None)
                super().calculate(atoms, *args, **kwargs)

        (file,) = self.files(parameters)
        calculator = Stated(
            models=_model(file, device),
            device=device,
            default_dtype=parameters["dtype"],
            head=parameters["head"],
        )
        return calculator, float(calculator.r_max)


def _range(spec: Mapping[str, Any]) -> list[int] | None:
    """Return the least and the largest value that an embedding has a row for."""
    if spec["type"] != "categorical":
        return None
    offset = int(spec.get("offset", 0))
    return [-offset, int(spec["num_classes"]) - 1 - offset]


def _model(file: Path, device: str) -> Any:
    """Return the model that MACE's training has written.

    Raises
    ------
    ParameterError
        It is another one.
    """
    import mace.modules  # noqa: F401, the classes
    import torch

    require_trusted(file)
    try:
        model = torch.load(file, map_location=device, weights_only=False)
    except Exception as error:
        raise ParameterError(f"{file} cannot be read as a MACE model: {error}") from error
    kind = type(model).__name__
    if kind not in _KINDS or not type(model).__module__.startswith("mace."):
        raise ParameterError(
            f"{file} holds {kind}, not {' or '.join(_KINDS)}: a model as MACE's training saves it, "
            "neither compiled nor converted, and without long-range electrostatics."
        )
    if not np.isfinite(float(model.r_max)):
        raise ParameterError(f"{file} has no cutoff.")
    return model


CODE = MACECode()
