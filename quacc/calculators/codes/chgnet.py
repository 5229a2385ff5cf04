"""CHGNet: a graph neural network for the energy, forces, stress and magnetic moments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.calculators.batches import AT_ONCE
from quacc.calculators.keyword import Check, Keyword
from quacc.calculators.potential import MPTRJ, TRAJECTORIES, Potential, Training
from quacc.errors import ParameterError, require_choice

_LICENCE = "modified BSD"
_MODELS = ("0.3.0", "0.2.0", "r2scan")
ABOUT = ".json"
"""Suffix of the file beside weights that says what they were trained on."""


def _is_model(name: str, value: Any) -> None:
    if not (isinstance(value, str) and value.endswith(".tar") and Path(value).is_absolute()):
        require_choice(name, value, _MODELS)


class CHGNetCode(Potential):
    name = "chgnet"
    title = "CHGNet (graph neural network, with magnetic moments)"
    package = "chgnet"
    keywords = {
        "model": Keyword(
            "0.3.0",
            "version of the weights, or the path of a file of weights that `train_job` has made",
            Check(f"{', '.join(_MODELS)}, or a path from / on", _is_model, _MODELS),
        )
    }
    options = {**Potential.options, "at_once": AT_ONCE}
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

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        if parameters["model"] in _MODELS:
            return super().files(parameters)
        file = Path(parameters["model"])
        about = file.with_name(f"{file.name}{ABOUT}")
        for one in (file, about):
            if not one.is_file():
                raise ParameterError(
                    f"There are no weights {str(file)!r}: {one.name} is missing. Train them again, "
                    "or correct the path."
                )
        return [file, about]

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if parameters["model"] not in _MODELS:
            self.files(parameters)
        return dict(parameters)

    def training(self, parameters: Mapping[str, Any]) -> Training:
        if parameters["model"] in _MODELS:
            return super().training(parameters)
        about = json.loads(self.files(parameters)[1].read_text("utf-8"))
        return Training(
            about["functional"], about["data"], about["licence"], frozenset(about["elements"])
        )

    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        (file,) = (package / "pretrained" / parameters["model"]).glob("*.pth.tar")
        return file

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        if parameters["model"] in _MODELS:
            model = CHGNet.load(model_name=parameters["model"], use_device=device, verbose=False)
        else:
            import torch

            state = torch.load(parameters["model"], map_location="cpu", weights_only=True)
            model = CHGNet.from_dict(state["model"]).to(device)
        calculator = CHGNetCalculator(model, use_device=device, on_isolated_atoms="error")
        return calculator, float(model.graph_converter.atom_graph_cutoff)

    def predict(self, inner: Any, crystals: Sequence[Atoms]) -> list[dict[str, Any]]:
        from pymatgen.io.ase import AseAtomsAdaptor

        model = inner.model
        graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(one)) for one in crystals]
        found = model.predict_graph(graphs, task="efsm", batch_size=len(graphs))
        results = []
        for atoms, one in zip(crystals, [found] if len(graphs) == 1 else found, strict=True):
            energy = one["e"] * (len(atoms) if model.is_intensive else 1)
            results.append(
                {
                    "energy": energy,
                    "free_energy": energy,
                    "forces": one["f"],
                    "stress": one["s"] * inner.stress_weight,
                    "magmoms": one["m"],
                }
            )
        return results

    def train(
        self, question: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from chgnet.model.model import CHGNet

        from quacc.calculators.finetune import fine_tune

        parameters, device = question["parameters"], self.device(question["device"])
        model = CHGNet.load(model_name=parameters["model"], use_device=device, verbose=False)
        return fine_tune(model, arrays, parameters, Path(question["file"]), device)


CODE = CHGNetCode()
