"""Train a potential on stored results; what comes out is a calculator for all workflows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.units import GPa
from numpy.typing import NDArray

import quacc
from quacc.calculators import finetune, get_code, snap
from quacc.calculators.codes.chgnet import ABOUT
from quacc.calculators.isolated import ElsewhereError, where_it_lives
from quacc.calculators.keyword import Keyword
from quacc.calculators.snap import Targets
from quacc.errors import (
    CalculationError,
    ParameterError,
    StructureError,
    plain,
    require_choice,
    require_count,
    require_number,
    suggest,
)
from quacc.key import digest
from quacc.recipes.tools.training_data import TrainingData, collect, families, split
from quacc.schemas import FlowResult
from quacc.settings import get_settings

VERSION = 1
METHODS: dict[str, tuple[str, Mapping[str, Keyword]]] = {
    "lammps": ("SNAP", snap.KEYWORDS),
    "chgnet": ("fine-tuning", finetune.KEYWORDS),
}
"""By calculator: how its potentials are trained, and the keywords of that."""

REFERENCES = {"train_job": (), "lammps.train_job": ("Thompson2015",)}
UNITS = {
    "errors": "energy meV per atom, forces meV/Å, stress GPa",
    "reference_energies": "eV",
}
SETS = ("train", "validation", "test")


class TrainResult(FlowResult):
    """A potential; ``atoms`` is the structure of lowest energy per atom that it was trained on."""

    calculator: dict[str, Any]
    """Name and parameters, for ``calculator=`` of every workflow."""
    method: str
    """``SNAP`` or ``fine-tuning``."""
    data_hash: str
    """SHA-256 of all structures, energies, forces and stresses."""
    settings: dict[str, Any]
    """What decides the energies of the data: calculator, functional and the like."""
    target: str
    """``energy``, or ``free_energy`` where occupations are smeared."""
    split: dict[str, list[str]]
    """Keys of the results in ``train``, ``validation`` and ``test``."""
    families: int
    """Number of groups of structures that the split keeps together."""
    errors: dict[str, dict[str, Any]]
    """Of ``train``, ``validation`` and ``test``: ``structures``, and of ``energy``, ``forces`` and
    ``stress`` the number ``n`` of values (of components), ``mae`` and ``rmse``."""
    reference_energies: dict[str, float]
    """Of SNAP, the energy of an atom without neighbours; of fine-tuning, what was added to the
    model's own (eV)."""
    details: dict[str, Any]
    """Of SNAP: ``alpha``, ``coefficients`` and ``files``; of fine-tuning: ``history``, ``epoch``,
    and the ``errors`` ``before``."""


class Training:
    """One training: its key, and its run. Making one reads the data and checks everything.

    Parameters as for :func:`train_job`.
    """

    def __init__(
        self,
        data: Any,
        *,
        calculator: str = "lammps",
        validation: float = 0.1,
        test: float = 0.1,
        split_by: str = "family",
        seed: int = 0,
        device: str = "auto",
        **options: Any,
    ) -> None:
        require_choice("calculator", calculator, METHODS)
        require_choice("split_by", split_by, ("family", "structure"))
        require_choice("device", device, ("auto", "cpu", "cuda"))
        require_count(minimum=0, seed=seed)
        for name, part in (("validation", validation), ("test", test)):
            require_number(minimum=0.0, **{name: part})
            if not 0 < part < 0.5:
                raise ParameterError(f"{name} must be between 0 and 0.5, not {part!r}.")
        self.method, keywords = METHODS[calculator]
        for name, value in options.items():
            if name not in keywords:
                raise ParameterError(
                    f"Unknown keyword {name!r}.{suggest(name, keywords)} {self.method} takes "
                    f"{', '.join(keywords)}."
                )
            keywords[name].require(name, value)
        self.options = {
            name: plain(options.get(name, one.default)) for name, one in keywords.items()
        }
        self.calculator, self.device = calculator, device
        self.data: TrainingData = collect(data)
        self.warnings = list(self.data.warnings)
        frames = self.data.frames
        groups = families(frames) if split_by == "family" else list(range(len(frames)))
        self.families = len({*groups})
        self.parts = split(groups, seed, validation, test)
        if split_by == "structure":
            self.warnings.append(
                "The split is by structure: near-duplicates of structures that were trained on may "
                "be in validation and test, and the errors of other structures are larger."
            )
        self.seed = seed
        self.parameters = {
            "calculator": calculator,
            "validation": validation,
            "test": test,
            "split_by": split_by,
            "seed": seed,
            **self.options,
        }
        self._check()

    def _check(self) -> None:
        symbols, frames = self.data.symbols, self.data.frames
        trained = {one for index in self.parts["train"] for one in frames[index].atoms.symbols}
        if lacking := sorted({*symbols} - trained):
            raise StructureError(
                f"{', '.join(lacking)} is in no structure of the training set, only in those of "
                "validation or test. Add results with it, or take another seed."
            )
        if self.calculator == "lammps":
            snap.check(symbols, self.options)
            return
        if molecules := [one for one in frames if not one.atoms.pbc.all()]:
            raise StructureError(
                "CHGNet is trained on crystals, periodic in three directions, but the result "
                f"{molecules[0].key[:10]} has pbc={molecules[0].atoms.pbc.tolist()}."
            )
        model = self.options["model"]
        known = get_code("chgnet").trainings[model].elements  # type: ignore[attr-defined]
        if unknown := sorted({*symbols} - known):
            raise StructureError(f"CHGNet {model} was not trained on {', '.join(unknown)}.")

    @cached_property
    def key(self) -> str:
        """What decides the potential, as one key: data, split, parameters, and the program."""
        asked = {"model": self.options["model"]} if self.calculator == "chgnet" else {}
        code = where_it_lives(get_code(self.calculator))
        code.require_here()
        fingerprint = code.fingerprint(asked) if asked else f"{code.name} {code.version()}"
        how = [self.parameters, self.parts, fingerprint]
        return digest(["train_job", VERSION, self.data.hash, *how])

    def compute(self) -> TrainResult:
        """Train, write the potential's files, and return the result.

        Raises
        ------
        CalculationError
            The program failed.
        """
        folder = get_settings().results_dir / "potentials"
        folder.mkdir(parents=True, exist_ok=True)
        found = self._snap(folder) if self.calculator == "lammps" else self._chgnet(folder)
        frames = self.data.frames
        best = min(frames, key=lambda one: one.energy / len(one.atoms)).atoms
        jobs = sorted({one.key for one in frames})
        code = where_it_lives(get_code(self.calculator))
        own = {name: value for name, value in found["calculator"].items() if name != "name"}
        parameters = code.resolve(best, code.complete(own))
        used = {
            "name": code.name,
            "version": code.version(),
            "fingerprint": code.fingerprint(parameters),
        }
        result: Any = {
            "name": f"{self.calculator}.train_job",
            "formula": "".join(self.data.symbols),
            "key": self.key,
            "atoms": best,
            "parameters": self.parameters,
            "units": dict(UNITS),
            "jobs": jobs,
            "calculators": [*self.data.calculators, used],
            "converged": True,
            "warnings": [*dict.fromkeys(self.warnings)],
            "method": self.method,
            "data_hash": self.data.hash,
            "settings": self.data.settings,
            "target": self.data.target,
            "split": {
                name: sorted({frames[one].key for one in indices})
                for name, indices in self.parts.items()
            },
            "families": self.families,
            **found,
        }
        return result

    def _targets(self, indices: Sequence[int]) -> list[Targets]:
        frames = [self.data.frames[one] for one in indices]
        return [Targets(one.energy, one.forces, one.stress) for one in frames]

    def _snap(self, folder: Path) -> dict[str, Any]:
        symbols, options = self.data.symbols, self.options
        structures = [one.atoms for one in self.data.frames]
        designs = snap.designs(structures, symbols, options)
        parts = {
            name: ([designs[one] for one in indices], self._targets(indices))
            for name, indices in self.parts.items()
        }
        fitted = snap.fit(parts["train"], parts["validation"], symbols, options)
        self.warnings += fitted.warnings
        errors = {
            name: errors_of(targets, [snap.predicted(one, fitted.coefficients) for one in left])
            for name, (left, targets) in parts.items()
        }
        about = (
            f"SNAP for {'-'.join(symbols)}, trained by quacc {quacc.__version__} on "
            f"{len(self.parts['train'])} structures ({self.data.settings['calculator']}), data "
            f"{self.data.hash[:16]}"
        )
        texts = snap.files(fitted, symbols, options, about)
        stem = f"{'-'.join(symbols)}-{hashlib.sha256(''.join(texts.values()).encode()).hexdigest()}"
        files = {f"{stem[:40]}{suffix}": text for suffix, text in texts.items()}
        for name, text in files.items():
            _write(folder / name, text.encode())
        references = zip(symbols, fitted.coefficients, strict=False)
        return {
            "calculator": {"name": "lammps", "potential": [str(folder / name) for name in files]},
            "errors": errors,
            "reference_energies": {symbol: float(energy) for symbol, energy in references},
            "details": {
                "alpha": fitted.alpha,
                "coefficients": fitted.coefficients,
                "files": files,
            },
        }

    def _chgnet(self, folder: Path) -> dict[str, Any]:
        frames = self.data.frames
        arrays = finetune.packed(
            [one.atoms for one in frames],
            [one.energy for one in frames],
            [one.forces for one in frames],
            [one.stress for one in frames],
        )
        arrays |= {name: np.array(self.parts[name]) for name in ("train", "validation")}
        if any(one.stress is None for one in frames):
            self.warnings.append("Some of the data have no stress: stresses were not trained on.")
        code: Any = where_it_lives(get_code("chgnet"))
        partial = folder / f".{self.key}.{os.getpid()}.tmp"
        question = {
            "parameters": {**self.options, "seed": self.seed},
            "file": str(partial),
            "device": self.device,
        }
        try:
            told, numbers = code.train(question, arrays)
        except ElsewhereError as error:
            raise CalculationError(f"CHGNet could not be fine-tuned: {error}") from error
        hashed = hashlib.sha256(partial.read_bytes()).hexdigest()
        file = folder / f"chgnet-{'-'.join(self.data.symbols)}-{hashed[:16]}.pth.tar"
        base = code.trainings[self.options["model"]]
        about = {
            "functional": ", ".join(
                f"{name} {value}" for name, value in self.data.settings.items() if value
            )[:500],
            "data": f"{len(self.parts['train'])} structures, {self.data.hash[:16]}, starting from "
            f"{self.options['model']} ({base.data})",
            "licence": base.licence,
            "elements": self.data.symbols,
        }
        _write(folder / f"{file.name}{ABOUT}", json.dumps(about, indent=1).encode())
        os.replace(partial, file)
        before, after = (self._errors_of(numbers, one) for one in ("before", "after"))
        if told["epoch"] == 0:
            self.warnings.append(
                "No epoch was better on the validation data than the model with other reference "
                "energies, which is what you get. Take another learning_rate, more epochs or more "
                "data."
            )
        names = {str(atomic_numbers[one]): one for one in self.data.symbols}
        return {
            "calculator": {"name": "chgnet", "model": str(file)},
            "errors": after,
            "reference_energies": {names[z]: one for z, one in told["shifts"].items()},
            "details": {
                "history": told["history"],
                "epoch": told["epoch"],
                "errors": {"before": before},
            },
        }

    def _errors_of(self, numbers: Mapping[str, Any], when: str) -> dict[str, Any]:
        natoms = [len(one.atoms) for one in self.data.frames]
        forces = np.split(numbers[f"{when}_forces"], np.cumsum(natoms)[:-1])
        found = [
            Targets(float(energy) * count, force, stress)
            for energy, count, force, stress in zip(
                numbers[f"{when}_energies"],
                natoms,
                forces,
                numbers[f"{when}_stresses"],
                strict=True,
            )
        ]
        return {
            name: errors_of(self._targets(indices), [found[one] for one in indices])
            for name, indices in self.parts.items()
        }


def train_job(
    data: Any,
    *,
    calculator: str = "lammps",
    validation: float = 0.1,
    test: float = 0.1,
    split_by: str = "family",
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> TrainResult:
    """Train a potential on results; ``result["calculator"]`` is a calculator for all workflows.

    For ``lammps``, a SNAP (Thompson et al., J. Comput. Phys. 285, 316 (2015)) by ridge regression;
    for ``chgnet``, its pretrained weights, fine-tuned with its own trainer. Data that one potential
    cannot learn from are refused: other codes, functionals or settings, charges, several magnetic
    states. Forces on constrained atoms count as they were computed. The files are in the folder
    ``potentials`` of the setting ``results_dir``.

    Parameters
    ----------
    data
        Results of jobs, or their keys; the result of a workflow, whose jobs are in the results
        database; or a query of it, such as ``{"formula": "Cu", "calculator": "emt"}`` (``formula``,
        ``recipe``, ``calculator``, ``since``, ``until``, ``limit``), from which results that cannot
        be trained on are left out, with a warning. All steps of a relaxation with
        ``trajectory=True`` count.
    calculator
        Whose potential it is: lammps or chgnet.
    validation, test
        Parts of the structures. Validation chooses the strength of the ridge, or the epoch; test
        chooses nothing.
    split_by
        family: structures of one trajectory or parent, those with the same ``atoms.info["family"]``
        and near-duplicates are in one set; structure: each for itself.
    seed
        Of the split, and of the fine-tuning.
    device
        Of the fine-tuning: auto, cpu or cuda.
    options
        Keywords of the method; see :data:`METHODS`, or ``quacc train -h``.

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        The program failed.
    """
    training = Training(
        data,
        calculator=calculator,
        validation=validation,
        test=test,
        split_by=split_by,
        seed=seed,
        device=device,
        **options,
    )
    return training.compute()


def is_there(result: Mapping[str, Any]) -> bool:
    """Return whether the files of a stored potential are there, as they were written."""
    calculator = result["calculator"]
    code = where_it_lives(get_code(calculator["name"]))
    own = {name: value for name, value in calculator.items() if name != "name"}
    try:
        parameters = code.resolve(result["atoms"], code.complete(own))
    except ParameterError:
        return False
    return bool(code.fingerprint(parameters) == result["calculators"][-1]["fingerprint"])


def errors_of(targets: Sequence[Targets], found: Sequence[Targets]) -> dict[str, Any]:
    """Return the number of values, and mean absolute and root mean square errors.

    Of energies (meV per atom), components of forces (meV/Å) and of stresses (GPa).
    """
    pairs = list(zip(targets, found, strict=True))
    energies = [(b.energy - a.energy) / len(a.forces) for a, b in pairs]
    forces = [(b.forces - a.forces).ravel() for a, b in pairs]
    stresses = [
        b.stress - a.stress for a, b in pairs if a.stress is not None and b.stress is not None
    ]
    return {
        "structures": len(pairs),
        "energy": _error(np.array(energies) * 1e3),
        "forces": _error(np.concatenate(forces) * 1e3),
        "stress": _error(np.concatenate(stresses) / GPa if stresses else np.zeros(0)),
    }


def _error(differences: NDArray[Any]) -> dict[str, Any]:
    if not len(differences):
        return {"n": 0, "mae": None, "rmse": None}
    return {
        "n": len(differences),
        "mae": float(abs(differences).mean()),
        "rmse": float(np.sqrt((differences**2).mean())),
    }


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, file)


def summarise(result: Any) -> str:
    test = result["errors"]["test"]
    stress = test["stress"]
    return (
        f"{result['method']} for {result['calculator']['name']}, errors of {test['structures']} "
        f"structures that it has not seen (mean absolute): {test['energy']['mae']:.2f} meV per "
        f"atom, {test['forces']['mae']:.1f} meV/Å"
        + ("" if stress["mae"] is None else f", {stress['mae']:.3f} GPa")
    )


def tabulate(result: Any) -> list[dict[str, Any]]:
    rows = []
    for name in SETS:
        one = result["errors"][name]
        row: dict[str, Any] = {"set": name, "structures": one["structures"]}
        kinds = (("energy", "meV/atom"), ("forces", "meV/Å"), ("stress", "GPa"))
        for kind, unit in kinds:
            row[f"{kind} MAE ({unit})"] = one[kind]["mae"]
            row[f"{kind} RMSE ({unit})"] = one[kind]["rmse"]
            row[f"n ({kind})"] = one[kind]["n"]
        rows.append(row)
    return rows


def draw(result: Any, figure: Any) -> None:
    """Draw the errors of the three sets, root mean square."""
    kinds = (("energy", "meV per atom"), ("forces", "meV/Å"), ("stress", "GPa"))
    for axes, (kind, unit) in zip(figure.subplots(1, 3), kinds, strict=True):
        values = [result["errors"][name][kind]["rmse"] or 0.0 for name in SETS]
        axes.bar(SETS, values, color=["C0", "C1", "C2"])
        axes.tick_params(axis="x", rotation=60)
        axes.set(title=kind, ylabel=f"RMSE ({unit})")
