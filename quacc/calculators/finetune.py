"""Fine-tuning of CHGNet with its own trainer; in the Python that has CHGNet."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from quacc.calculators.keyword import Keyword, count, one_of, positive

KEYWORDS = {
    "model": Keyword(
        "0.3.0", "version of the weights to start from", one_of("0.3.0", "0.2.0", "r2scan")
    ),
    "epochs": Keyword(20, "number of passes through the training data", count),
    "batch_size": Keyword(8, "structures for each step", count),
    "learning_rate": Keyword(1e-3, "of Adam at the start; it falls along a cosine", positive),
    "energy_weight": Keyword(
        1.0, "of squared errors of energies (eV per atom) in the loss", positive
    ),
    "forces_weight": Keyword(1.0, "of those of forces (eV/Å)", positive),
    "stress_weight": Keyword(0.1, "of those of stresses (GPa)", positive),
}
"""What decides the fine-tuning."""


def packed(structures: Any, energies: Any, forces: Any, stresses: Any) -> dict[str, NDArray[Any]]:
    """Return structures and targets (eV, Å) as arrays; stresses that are None are not numbers."""
    unknown = np.full(6, np.nan)
    return {
        "natoms": np.array([len(one) for one in structures]),
        "numbers": np.concatenate([one.numbers for one in structures]),
        "positions": np.concatenate([one.positions for one in structures]),
        "cells": np.array([one.cell.array for one in structures]),
        "energies": np.array(energies, float),
        "forces": np.concatenate(forces),
        "stresses": np.array([unknown if one is None else one for one in stresses]),
    }


def fine_tune(
    model: Any, arrays: Mapping[str, Any], parameters: Mapping[str, Any], file: Path, device: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train a model, and write the weights of the epoch that is best on the validation data.

    That is the one of the smallest sum of squared mean absolute errors, with the weights of the
    loss; 0 stands for the model as it was, where no epoch is better.

    First the energies of free atoms are shifted, by element, to those that fit the training
    energies best: codes and pseudopotentials have their own zeros.

    Parameters
    ----------
    model
        A ``chgnet.model.CHGNet``.
    arrays
        As :func:`packed` makes them, with ``train`` and ``validation``, numbers of structures.
    parameters
        Values of :data:`KEYWORDS`, and ``seed``.
    file
        Where the weights go, once all of it is written.

    Returns
    -------
    tuple[dict, dict]
        ``history``, mean absolute errors after each epoch of ``energy`` (eV per atom), ``forces``
        (eV/Å) and ``stress`` (GPa) in ``train`` and ``validation``; the ``epoch`` that was taken;
        ``shifts`` (eV) by atomic number. And what the model gives for all structures ``before``,
        with the shifts alone, and ``after``: energies (eV), forces and stresses (GPa).
    """
    import torch
    from ase import Atoms
    from chgnet.data.dataset import StructureData, collate_graphs
    from chgnet.model.model import CHGNet
    from chgnet.trainer import Trainer
    from pymatgen.io.ase import AseAtomsAdaptor
    from torch.utils.data import DataLoader

    seed = int(parameters["seed"])
    torch.manual_seed(seed)
    random.seed(seed)
    ends = np.cumsum(arrays["natoms"])[:-1]
    numbers, positions, forces = (
        np.split(arrays[name], ends) for name in ("numbers", "positions", "forces")
    )
    structures = [
        AseAtomsAdaptor.get_structure(Atoms(z, r, cell=cell, pbc=True))
        for z, r, cell in zip(numbers, positions, arrays["cells"], strict=True)
    ]
    model.graph_converter.set_isolated_atom_response("error")
    for structure in structures:  # the trainer puts another one in the place of one that fails
        model.graph_converter(structure)
    per_atom = arrays["energies"] / arrays["natoms"]
    stresses = [_matrix(one) for one in arrays["stresses"]]
    has_stress = not np.isnan(arrays["stresses"]).any()
    train, validation = arrays["train"].tolist(), arrays["validation"].tolist()

    model.to(device)
    before = _predicted(model, structures)
    shifts = _shift(model, numbers, per_atom - before["energies"], train)
    before = _predicted(model, structures)

    def loader(indices: list[int], shuffled: bool) -> Any:
        data = StructureData(
            [structures[one] for one in indices],
            [per_atom[one] for one in indices],
            [forces[one] for one in indices],
            stresses=[-10 / GPa * stresses[one] for one in indices] if has_stress else None,  # kbar
            graph_converter=model.graph_converter,
            shuffle=False,
        )
        generator = torch.Generator().manual_seed(seed)
        return DataLoader(
            data,
            batch_size=int(parameters["batch_size"]),
            shuffle=shuffled,
            generator=generator,
            collate_fn=collate_graphs,
        )

    weights = {"e": "energy_weight", "f": "forces_weight", "s": "stress_weight"}
    targets = "efs" if has_stress else "ef"

    def loss(errors: Mapping[str, float]) -> float:
        return sum(float(parameters[weights[one]]) * errors[one] ** 2 for one in targets)

    chosen = np.isin(np.repeat(np.arange(len(per_atom)), arrays["natoms"]), validation)
    start = {
        "e": float(abs(before["energies"] - per_atom)[validation].mean()),
        "f": float(abs(before["forces"] - arrays["forces"])[chosen].mean()),
        "s": float(abs(before["stresses"] - arrays["stresses"])[validation].mean() / GPa),
    }
    best: tuple[float, int, Any] = loss(start), 0, copy.deepcopy(model.as_dict())

    class Best(Trainer):
        """Keeps the weights of the best epoch."""

        def save_checkpoint(self, epoch: int, mae_error: Any, save_dir: str) -> None:
            nonlocal best
            if loss(mae_error) < best[0]:
                best = loss(mae_error), epoch + 1, copy.deepcopy(self.model.as_dict())

    trainer = Best(
        model=model,
        targets=targets,
        energy_loss_ratio=parameters["energy_weight"],
        force_loss_ratio=parameters["forces_weight"],
        stress_loss_ratio=parameters["stress_weight"],
        epochs=int(parameters["epochs"]),
        learning_rate=parameters["learning_rate"],
        torch_seed=seed,
        use_device=device,
        print_freq=10**9,
    )
    loaders = loader(train, True), loader(validation, False)
    trainer.train(*loaders, save_dir="none, see save_checkpoint")
    history = trainer.training_history
    if len(history["e"]["val"]) < int(parameters["epochs"]):
        raise ValueError("the training came to energies that are no numbers: learn more slowly")
    if failed := [one for each in loaders for one in each.dataset.failed_idx]:
        raise ValueError(f"the graphs of the structures {failed} could not be made")
    _, epoch, state = best
    model = CHGNet.from_dict(state)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    torch.save({"model": model.as_dict()}, partial)
    os.replace(partial, file)
    model.to(device)
    properties = {"e": "energy", "f": "forces", "s": "stress"}
    message = {
        "history": {
            properties[one]: {"train": values["train"], "validation": values["val"]}
            for one, values in history.items()
        },
        "epoch": epoch,
        "shifts": shifts,
    }
    after = _predicted(model, structures)
    found = {f"before_{name}": one for name, one in before.items()}
    return message, found | {f"after_{name}": one for name, one in after.items()}


def _matrix(voigt: NDArray[Any]) -> NDArray[Any]:
    return np.array(voigt)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


def _predicted(model: Any, structures: Any) -> dict[str, NDArray[Any]]:
    """Return energies per atom (eV), forces (eV/Å) and stresses (eV/Å³, Voigt)."""
    found = model.predict_structure(structures, task="efs", batch_size=8)
    found = found if isinstance(found, list) else [found]
    return {
        "energies": np.array([float(one["e"]) for one in found]),
        "forces": np.concatenate([np.array(one["f"], float) for one in found]),
        "stresses": np.array(
            [np.array(one["s"], float).ravel()[[0, 4, 8, 5, 2, 1]] * GPa for one in found]
        ),
    }


def _shift(
    model: Any, numbers: list[NDArray[Any]], errors: NDArray[Any], train: list[int]
) -> dict[str, float]:
    """Shift the energies of the model's free atoms to what fits the errors per atom best."""
    import torch

    elements = sorted({int(z) for one in numbers for z in one})
    counts = np.array([[np.mean(one == z) for z in elements] for one in numbers])
    found = np.linalg.lstsq(counts[train], errors[train], rcond=None)[0]
    with torch.no_grad():
        for z, shift in zip(elements, found, strict=True):
            model.composition_model.fc.weight[0, z - 1] += float(shift)
    return {str(z): float(shift) for z, shift in zip(elements, found, strict=True)}
