"""MatGL: graph networks such as M3GNet, CHGNet and TensorNet, with weights from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from quacc.calculators.keyword import Keyword
from quacc.calculators.potential_file import one_file
from quacc.calculators.weights import Weights
from quacc.errors import ParameterError


class MatGLCode(Weights):
    name = "matgl"
    title = "MatGL (M3GNet, CHGNet, TensorNet, QET, …)"
    package = "matgl"
    parts = ("model.json", "model.pt", "state.pt")
    keywords = {
        **Weights.keywords,
        "model": Keyword(
            None,
            "the folder of the weights, with model.json, model.pt and state.pt; a name is looked "
            "for in the folder of the setting potentials_dir, and nothing is downloaded",
            one_file,
        ),
    }
    tested = "run with random weights, where MatGL is installed (make matgl), and not in CI"
    install = "`pip install matgl`"
    citation = """@article{Ko2025,
  author = {Ko, Tsz Wai and Deng, Bowen and Nassar, Marcel and Barroso-Luque, Luis and Liu, Runze
    and Qi, Ji and Thakur, Atul C. and Mishra, Adesh Rohan and Liu, Elliott and Ceder, Gerbrand and
    Miret, Santiago and Ong, Shyue Ping},
  title = {Materials {Graph} {Library} ({MatGL}), an open-source graph deep learning library for
    materials science and chemistry},
  journal = {npj Computational Materials}, volume = {11}, pages = {253}, year = {2025},
  doi = {10.1038/s41524-025-01742-y}
}"""

    def read(self, where: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
        potential = _potential(where, "float32")
        return {
            "elements": list(potential.model.element_types),
            "state": ["charge"] if potential.calc_charge else [],
        }

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        import matgl
        import torch
        from matgl.ext.ase import PESCalculator

        bits = int(parameters["dtype"].removeprefix("float"))

        class Precise(PESCalculator):
            """Given positions in the precision of the potential, and a charge that is told."""

            def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
                matgl.set_default_dtype("float", bits)
                self.total_charge = torch.tensor(float(atoms.info.get("charge", 0)))
                super().calculate(atoms, *args, **kwargs)

        potential = _potential(self.where(parameters), parameters["dtype"]).to(device)
        calculator = Precise(potential, stress_unit="eV/A3", use_voigt=True)
        return calculator, float(potential.model.cutoff)


def _potential(folder: Path, dtype: str) -> Any:
    """Return the potential that MatGL has saved.

    Raises
    ------
    ParameterError
        It is another model.
    """
    import matgl
    import torch
    from matgl.apps.pes import Potential

    what = json.loads((folder / "model.json").read_text("utf-8"))
    if what.get("@class") != "Potential":
        raise ParameterError(
            f"{folder} holds {what.get('@class')}, not a Potential: a model as MatGL's save() "
            "writes it, with energies, forces and stress."
        )
    matgl.set_default_dtype("float", int(dtype.removeprefix("float")))
    try:
        potential = Potential.load(folder)
    except Exception as error:
        raise ParameterError(f"{folder} cannot be read as a MatGL model: {error}") from error
    potential.eval()
    return potential.to(getattr(torch, dtype))


CODE = MatGLCode()
