"""What runs in another Python: ``python -P serve.py QUACC NAME QUESTIONS ANSWERS``, one code.

The last two are the numbers of open pipes: what libraries print comes not into their way.

Of this quacc's folder it sees quacc alone, and everything else is that Python's own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from importlib.machinery import ModuleSpec
from typing import Any


class _OnlyQuacc:
    """Finds the package quacc in its folder, and nothing that lies beside it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "quacc":
            return None
        file = os.path.join(self.folder, "__init__.py")
        return importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[self.folder]
        )


def main() -> None:
    """Answer until the other end of the pipe is closed."""
    folder, name, asking, answering = sys.argv[1:]
    sys.meta_path.insert(0, _OnlyQuacc(folder))
    questions, answers = os.fdopen(int(asking), "rb"), os.fdopen(int(answering), "wb")

    from quacc.calculators import get_code
    from quacc.calculators.frames import packed, read

    code = get_code(name)
    calculators: dict[str, Any] = {}
    while True:
        try:
            question, arrays = read(questions)
        except EOFError:
            return
        try:
            message, results = _answer(code, calculators, question, arrays)
        except Exception as error:  # told there
            message, results = {"error": str(error), "kind": type(error).__name__}, {}
        answers.write(packed({**message, "number": question["number"]}, results))
        answers.flush()


def _answer(
    code: Any, calculators: dict[str, Any], question: dict[str, Any], arrays: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    parameters = question.get("parameters", {})
    if question["do"] == "about":
        missing = code.missing()
        return {"missing": missing, "version": None if missing else code.version()}, {}
    if question["do"] == "fingerprint":
        return {"fingerprint": code.fingerprint(parameters)}, {}
    if question["do"] == "describe":
        return {"described": code.described(parameters)}, {}
    if question["do"] == "train":
        message, found = code.train(question, arrays)
        return message, found

    import numpy as np
    from ase import Atoms
    from ase.calculators.calculator import all_changes

    from quacc.calculators.code import Place
    from quacc.calculators.frames import arrays_of_each, numbered_arrays

    # The user's own files may be others now.
    files = question.get("fingerprint") or [
        os.stat(file).st_mtime_ns for file in code.files(parameters)
    ]
    what = json.dumps([parameters, question["options"], files], sort_keys=True)
    if what not in calculators:
        calculators.clear()  # a model may take much of the memory
        calculators[what] = code.build(parameters, Place(None, question["options"]))
    calculator = calculators[what]

    def structure(arrays: dict[str, Any]) -> Atoms:
        return Atoms(**{name: array.copy() for name, array in arrays.items()})

    def parted(results: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
        values, found = {}, {}
        for name, value in results.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
                found[name] = value
            elif isinstance(value, int | float | np.integer | np.floating):
                values[name] = float(value)
        return values, found

    calculator.reset()
    if question["do"] == "evaluate":
        structures = [structure(one) for one in arrays_of_each(arrays, question["structures"])]
        each = [*map(parted, code.evaluate(calculator, structures, question["properties"]))]
        found = numbered_arrays(found for _, found in each)
        return {"results": [one for one, _ in each], "reach": code.reach(calculator)}, found
    calculator.calculate(structure(arrays), question["properties"], all_changes)
    values, found = parted(calculator.results)
    return {"results": values, "reach": code.reach(calculator)}, found


if __name__ == "__main__":
    main()
