"""CHGNet: a graph neural network for the energy, forces, stress and magnetic moments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from quacc.calculators.keyword import Keyword, one_of
from quacc.calculators.potential import MPTRJ, TRAJECTORIES, Potential, Training

_LICENCE = "modified BSD"


class CHGNetCode(Potential):
    name = "chgnet"
    title = "CHGNet (graph neural network, with magnetic moments)"
    package = "chgnet"
    keywords = {
        "model": Keyword("0.3.0", "version of the weights", one_of("0.3.0", "0.2.0", "r2scan"))
    }
    properties = ("energy", "forces", "stress", "magmoms")
    trainings = {
        "0.3.0": Training("PBE and PBE+U", TRAJECTORIES, _LICENCE),
        "0.2.0": Training("PBE and PBE+U", TRAJECTORIES, _LICENCE),
        "r2scan": Training(
            "r2SCAN", f"MP-r2SCAN, starting from 0.3.0 ({TRAJECTORIES})", _LICENCE, MPTRJ - {"Yb"}
        ),
    }
    install = "`pip install quacc[chgnet]`"
    citation = """@article{Deng2023,
  author = {Deng, Bowen and Zhong, Peichen and Jun, KyuJung and Riebesell, Janosh and Han, Kevin and
    Bartel, Christopher J. and Ceder, Gerbrand},
  title = {{CHGNet} as a pretrained universal neural network potential for charge-informed atomistic
    modelling},
  journal = {Nature Machine Intelligence}, volume = {5}, pages = {1031--1041}, year = {2023},
  doi = {10.1038/s42256-023-00716-3}
}"""

    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        (file,) = (package / "pretrained" / parameters["model"]).glob("*.pth.tar")
        return file

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        model = CHGNet.load(model_name=parameters["model"], use_device=device, verbose=False)
        calculator = CHGNetCalculator(model, use_device=device, on_isolated_atoms="error")
        return calculator, float(model.graph_converter.atom_graph_cutoff)


CODE = CHGNetCode()
