"""MACE: higher-order equivariant message passing, with weights from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from quacc.calculators.weights import LEVEL, Weights, level
from quacc.errors import ParameterError

_KINDS = ("MACE", "ScaleShiftMACE")
"""Classes whose energy depends on atoms within a cutoff alone."""

_STATE = {"total_charge": "charge", "total_spin": "spin"}
"""What a model may take beside elements and positions."""


class MACECode(Weights):
    name = "mace"
    title = "MACE (equivariant message passing)"
    package = "mace"
    keywords = {**Weights.keywords, "head": LEVEL}
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

    def read(self, where: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
        model = _model(where, "cpu")
        specs = getattr(model, "embedding_specs", None) or {}
        if strange := sorted({*specs}.difference(_STATE)):
            raise ParameterError(
                f"The model {where.name} takes {', '.join(strange)}, which no structure says."
            )
        return {
            "elements": [chemical_symbols[int(number)] for number in model.atomic_numbers],
            "heads": list(getattr(model, "heads", None) or ["Default"]),
            "state": sorted(_STATE[name] for name in specs),
            "ranges": {_STATE[name]: _range(spec) for name, spec in specs.items()},
        }

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        found = super().resolve(atoms, parameters)
        # Of several, MACE would take the last one.
        return {**found, "head": level(found, "head", self.described(found)["heads"])}

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        return {**super().about(parameters), "head": parameters["head"]}

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from mace.calculators import MACECalculator

        calculator = MACECalculator(
            models=_model(self.where(parameters), device),
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
