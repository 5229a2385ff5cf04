"""SevenNet: equivariant graph neural networks for the energy, forces and stress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.calculators.batches import AT_ONCE
from quacc.calculators.keyword import Keyword, one_of, or_none
from quacc.calculators.potential import TRAJECTORIES, Potential, Training
from quacc.errors import ParameterError

_FILES = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
_LICENCE = "MIT, says the package that holds the weights; GPL-3.0, says Matbench Discovery"


class SevenNetCode(Potential):
    name = "sevenn"
    title = "SevenNet (equivariant graph neural network)"
    package = "sevenn"
    keywords = {
        "model": Keyword("7net-0", "the weights, those that the package holds", one_of(*_FILES)),
        "modal": Keyword(
            None,
            "whose energies 7net-mf-0 is to give; for that model alone",
            or_none(one_of("PBE", "R2SCAN")),
        ),
    }
    options = {**Potential.options, "at_once": AT_ONCE}
    trainings = {
        "7net-0": Training("PBE and PBE+U", TRAJECTORIES, _LICENCE),
        "7net-l3i5": Training("PBE and PBE+U", TRAJECTORIES, _LICENCE),
        "7net-mf-0": Training(
            "PBE and PBE+U, or r2SCAN, as the keyword modal says",
            f"{TRAJECTORIES}, and calculations of the Materials Project with r2SCAN",
            _LICENCE,
        ),
    }
    install = "`pip install quacc[sevenn]`"
    citation = """@article{Park2024,
  author = {Park, Yutack and Kim, Jaesun and Hwang, Seungwoo and Han, Seungwu},
  title = {Scalable Parallel Algorithm for Graph Neural Network Interatomic Potentials in Molecular
    Dynamics Simulations},
  journal = {Journal of Chemical Theory and Computation}, volume = {20}, pages = {4857--4868},
  year = {2024}, doi = {10.1021/acs.jctc.4c00190}
}"""

    def cite(self, parameters: Mapping[str, Any]) -> str:
        several = parameters.get("model") == "7net-mf-0"
        return f"{self.citation}\n{_SEVERAL}" if several else self.citation

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        several, modal = parameters["model"] == "7net-mf-0", parameters["modal"]
        if several and modal is None:
            raise ParameterError("7net-mf-0 needs modal='PBE' or modal='R2SCAN'.")
        if modal is not None and not several:
            raise ParameterError(f"{parameters['model']} has one level of theory: leave modal out.")
        return super().check(atoms, parameters)

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        return parameters["modal"] or super().uncorrected_functional(parameters)

    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        return package / "pretrained_potentials" / _FILES[parameters["model"]]

    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        from sevenn.calculator import SevenNetCalculator

        (file,) = self.files(parameters)
        calculator = SevenNetCalculator(str(file), device=device, modal=parameters["modal"])
        return calculator, float(calculator.cutoff)

    def predict(self, inner: Any, crystals: Sequence[Atoms]) -> list[dict[str, Any]]:
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.data import Batch

        graphs = []
        for atoms in crystals:
            graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, inner.cutoff))
            if inner.modal:
                graph["data_modality"] = inner.modal
            graphs.append(graph)
        inner.model.set_is_batch_data(True)
        try:
            output = inner.model(Batch.from_data_list(graphs).to(inner.device))
        finally:
            inner.model.set_is_batch_data(False)  # as the package's calculator needs it
        found = {
            name: output[key].detach().cpu()
            for name, key in {
                "energy": "inferred_total_energy",
                "energies": "atomic_energy",
                "forces": "inferred_force",
                "stress": "inferred_stress",
            }.items()
        }
        counts = [len(atoms) for atoms in crystals]
        forces, energies = (found[name].split(counts) for name in ("forces", "energies"))
        return [
            {
                "energy": energy.item(),
                "free_energy": energy.item(),
                "energies": its_energies.numpy().ravel(),
                "forces": its_forces.numpy(),
                "stress": -stress.numpy()[[0, 1, 2, 4, 5, 3]],  # from xx yy zz xy yz zx
            }
            for energy, its_energies, its_forces, stress in zip(
                found["energy"], energies, forces, found["stress"], strict=True
            )
        ]


_SEVERAL = """@article{Kim2025,
  author = {Kim, Jaesun and Kim, Jisu and Kim, Jaehoon and Lee, Jiho and Park, Yutack and
    Kang, Youngho and Han, Seungwu},
  title = {Data-Efficient Multifidelity Training for High-Fidelity Machine Learning Interatomic
    Potentials},
  journal = {Journal of the American Chemical Society}, volume = {147}, pages = {1042--1054},
  year = {2025}, doi = {10.1021/jacs.4c14455}
}"""

CODE = SevenNetCode()
