"""ASE's nudged elastic band, several images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ase import Atoms
from ase.mep import NEB

from quacc.runners.calculation import Calculation


class Band(NEB):
    """A band whose images are computed several at a time; what fails is raised."""

    def __init__(
        self, images: Sequence[Atoms], calculation: Calculation[Any], spring: float, parallel: int
    ) -> None:
        super().__init__(images, k=spring, method="improvedtangent")
        self.calculation = calculation
        self.at_a_time = parallel

    def get_forces(self) -> Any:
        todo = [
            image
            for image in self.images[1:-1]
            if image.calc.calculation_required(image, ["energy", "forces"])
        ]
        if self.at_a_time == 1 or len(todo) < 2:
            for image in todo:
                self.calculation.evaluate(image)
        else:
            contexts = [copy_context() for _ in todo]  # which know the settings
            with ThreadPoolExecutor(self.at_a_time) as pool:
                list(
                    pool.map(
                        lambda context, image: context.run(self.calculation.evaluate, image),
                        contexts,
                        todo,
                    )
                )
        return super().get_forces()
