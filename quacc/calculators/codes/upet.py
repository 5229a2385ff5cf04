"""UPET: point-edge transformers such as PET-MAD, and other metatomic models, from a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from quacc.calculators.weights import LEVEL, Weights, level
from quacc.errors import ParameterError

_MAIN = "energy"
"""What the energy is called that has no variant's name."""

_STATE = {"charge": "charge", "spin_multiplicity": "spin"}
"""What a model may take beside elements and positions."""


class UPETCode(Weights):
    name = "upet"
    title = "UPET (PET-MAD and other metatomic models)"
    package = "upet"
    keywords = {**Weights.keywords, "variant": LEVEL}
    tested = "run with random weights, where UPET is installed (make upet), and not in CI"
    install = "`pip install upet`"
    citation = """@misc{Bigi2026,
  author = {Bigi, Filippo and Pegolo, Paolo and Mazitov, Arslan and Ceriotti, Michele},
  title = {Pushing the limits of unconstrained machine-learned interatomic potentials},
  year = {2026}, eprint = {2601.16195}, archiveprefix = {arXiv}
}
@article{Mazitov2025,
  author = {Mazitov, Arslan and Bigi, Filippo and Kellner, Matthias and Pegolo, Paolo and
    Tisi, Davide and Fraux, Guillaume and Pozdnyakov, Sergey and Loche, Philip and
    Ceriotti, Michele},
  title = {{PET-MAD} as a lightweight universal interatomic potential for advanced materials
    modeling},
  journal = {Nature Communications}, volume = {16}, pages = {10653}, year = {2025},
  doi = {10.1038/s41467-025-65662-7}
}"""

    def version(self) -> str:
        from importlib.metadata import version

        self.require_here()
        names = ("upet", "metatrain", "metatomic-torch")
        return ", ".join(f"{name} {version(name)}" for name in names)

    def read(self, where: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
        model = _exported(where)
        can = model.capabilities()
        inputs = model.requested_inputs(use_new_names=True)
        if strange := sorted({*inputs}.difference(_STATE)):
            raise ParameterError(
                f"The model {where.name} takes {', '.join(strange)}, which no structure says."
            )
        variants = sorted(found for name in can.outputs if (found := _variant(name)))
        if not variants:
            raise ParameterError(f"The model {where.name} gives no energy.")
        if not np.isfinite(can.interaction_range):
            raise ParameterError(
                f"The model {where.name} has no cutoff: long-range models are not supported."
            )
        return {
            "elements": [chemical_symbols[number] for number in can.atomic_types],
            "variants": variants,
            "dtype": can.dtype,
            "state": sorted(_STATE[name] for name in inputs),
            "ranges": _ranges(model),
        }

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        found = super().resolve(atoms, parameters)
        known = self.described(found)
        if not _is_checkpoint(Path(found["model"])) and found["dtype"] != known["dtype"]:
            raise ParameterError(
                f"The model {found['model']} was exported in {known['dtype']}, and computes in "
                f"nothing else: pass dtype={known['dtype']!r}, or the checkpoint (.ckpt)."
            )
        return {**found, "variant": level(found, "variant", known["variants"])}

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        return {**super().about(parameters), "variant": parameters["variant"]}

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from metatomic_ase import MetatomicCalculator
        from upet.calculator import UPETCalculator

        file, name = self.where(parameters), parameters["variant"]
        more = {
            "device": device,
            "variants": None if name == _MAIN else {"energy": name},
            "uncertainty_threshold": None,
        }
        if _is_checkpoint(file):
            outer = UPETCalculator(checkpoint_path=str(file), dtype=parameters["dtype"], **more)
            calculator = outer.calculator
        else:
            calculator = MetatomicCalculator(str(file), **more)
        lists = calculator.model().requested_neighbor_lists()
        return calculator, max(one.cutoff for one in lists)


def _is_checkpoint(file: Path) -> bool:
    return file.suffix == ".ckpt"


def _variant(output: str) -> str | None:
    if output == _MAIN:
        return _MAIN
    kind, _, name = output.partition("/")
    return name if kind == _MAIN else None


def _ranges(model: Any) -> dict[str, list[int]]:
    """Return the charges and multiplicities that a checkpoint's network has numbers for."""
    for part in model.modules():
        if hasattr(part, "max_charge") and hasattr(part, "max_spin_multiplicity"):
            highest = int(part.max_charge)
            return {"charge": [-highest, highest], "spin": [1, int(part.max_spin_multiplicity)]}
    return {}


def _exported(file: Path) -> Any:
    """Return a model of metatomic, from a checkpoint of metatrain (.ckpt) or exported (.pt).

    Raises
    ------
    ParameterError
        It is another file.
    """
    from metatrain.utils.io import load_model

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load_model(file)
            return model.export() if _is_checkpoint(file) else model
    except Exception as error:
        raise ParameterError(f"{file} cannot be read as a metatomic model: {error}") from error


CODE = UPETCode()
