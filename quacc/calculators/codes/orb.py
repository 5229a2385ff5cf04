"""Orb: graph network simulators without built-in symmetry, with weights from a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.calculators.keyword import Keyword, one_of
from quacc.calculators.weights import Weights
from quacc.errors import ParameterError, StructureError

_NETWORKS = (
    *(
        f"orb-v3-{forces}-{neighbours}-{data}"
        for forces in ("conservative", "direct")
        for neighbours in ("inf", "20")
        for data in ("omat", "mpa")
    ),
    "orb-v3-conservative-omol",
    "orb-v3-direct-omol",
    "orb-v2",
    "orb-mptraj-only-v2",
    "orb-d3-v2",
    "orb-d3-sm-v2",
    "orb-d3-xs-v2",
)
"""Names of the package for its networks, of which a file of weights has only the numbers."""


class OrbCode(Weights):
    name = "orb"
    title = "Orb (graph network simulators)"
    package = "orb_models"
    runs = False  # it is read by torch.load(weights_only=True)
    boxed = False  # of a molecule, direct forces have their torque removed
    said_by = ("model", "network")
    keywords = {
        **Weights.keywords,
        "network": Keyword(
            None,
            "the network that the weights are of, which the file does not say",
            one_of(*_NETWORKS),
        ),
    }
    handles = {
        **Weights.handles,
        "pbc": "honoured: a chain or layer gets a vacuum that is wider than the cutoff; networks "
        "for molecules (omol) refuse crystals",
    }
    tested = "run with random weights, where Orb is installed (make orb), and not in CI"
    install = "`pip install 'orb-models<0.6'`"
    citation = """@misc{Rhodes2025,
  author = {Rhodes, Benjamin and Vandenhaute, Sander and {\\v S}imkus, Vaidotas and Gin, James and
    Godwin, Jonathan and Duignan, Tim and Neumann, Mark},
  title = {{Orb-v3}: atomistic simulation at scale},
  year = {2025}, eprint = {2504.06231}, archiveprefix = {arXiv},
  doi = {10.48550/arXiv.2504.06231}
}"""

    def read(self, where: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
        calculator = _calculator(where, parameters["network"], "float32", "cpu")
        return {
            "state": ["charge", "spin"] if calculator.expects_charge_and_spin else [],
            "stress": "stress" in calculator.implemented_properties,
        }

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if parameters["network"] is None:
            raise ParameterError(
                f"{self.title} needs the name of the network: pass network='…', the beginning of "
                f"the weights' name as they were published, one of {', '.join(_NETWORKS)}."
            )
        return super().resolve(atoms, parameters)

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        if atoms.pbc.all() and not self.described(parameters)["stress"]:
            network = parameters["network"]
            raise StructureError(f"{network} is for molecules, and gives no stress of a crystal.")
        super().check_state(atoms, parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        network = parameters["network"]
        found = super().check(atoms, parameters)
        if "conservative" in network:
            return found
        return [
            *found,
            f"The forces of {network} are no derivatives of its energy: in dynamics, and along "
            "relaxations, energies are not conserved.",
        ]

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        return {**super().about(parameters), "network": parameters["network"]}

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        file, network = self.where(parameters), parameters["network"]
        calculator = _calculator(file, network, parameters["dtype"], device)
        return calculator, _CUTOFF


_CUTOFF = 6.0
"""Of all networks (Å)."""


def _calculator(file: Path, network: str, dtype: str, device: str) -> Any:
    """Return the package's calculator, not compiled.

    Raises
    ------
    ParameterError
        The file holds no weights of this network.
    """
    from orb_models.forcefield.calculator import ORBCalculator
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    precision = "float64" if dtype == "float64" else "float32-highest"
    with warnings.catch_warnings():
        # What the package would leave random, it only warns of.
        warnings.filterwarnings("error", message="Found key")
        try:
            found = ORB_PRETRAINED_MODELS[network](
                str(file), device=device, precision=precision, compile=False
            )
        except Exception as error:
            raise ParameterError(f"{file} has no weights of {network}: {error}") from error
    return ORBCalculator(found, device=device)


CODE = OrbCode()
