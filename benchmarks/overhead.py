"""What quacc costs on top of plain ASE, next to what the public quacc 1.8.2 costs.

    python benchmarks/overhead.py                  measure, print, write overhead.json
    python benchmarks/overhead.py --update-docs    put overhead.json into docs/benchmarks.md

Run it with the Python that has this quacc. The public one gets a virtual environment of its
own, from PyPI, with the same versions of ASE, NumPy and SciPy; each is compared with plain ASE
in its own environment.

Everything timed is CPU time, of all threads, and every figure is a ratio of two contestants
that took turns, so that other work on the machine touches both alike.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from report import frame, measured_on, save, update_docs

PUBLIC = "1.8.2"
HERE = Path(__file__).resolve().parent
RESULT = HERE / "overhead.json"
START, END = "<!-- table: benchmarks/overhead.py -->", "<!-- end of table -->"

FMAX, STEPS = 0.01, 1000
"""Of all relaxations: eV/Å, and the most steps."""

BUILD = """
from ase.build import bulk
cu32 = bulk("Cu", cubic=True) * (2, 2, 2)
cu32.rattle(0.05, seed=0)
"""
IMPORT = {
    "ase": "from ase.calculators.emt import EMT\nfrom ase.optimize import BFGS\n"
    "from ase.build import bulk\n",
    "quacc": "from quacc.recipes.emt.core import relax_job\n",
}
KEYWORDS: dict[str, dict[str, Any]] = {
    "ours": {"fmax": FMAX, "steps": STEPS, "optimizer": "BFGS"},
    "public": {"opt_params": {"fmax": FMAX, "max_steps": STEPS}},
}
RELAX = {
    "ase": f"cu32.calc = EMT()\nBFGS(cu32, logfile=None).run(fmax={FMAX}, steps={STEPS})\n",
    **{side: f"relax_job(cu32, **{keywords})\n" for side, keywords in KEYWORDS.items()},
}

MEASURES = {
    "import": ("import", 1.25),
    "static": ("`static_job` on Cu₃₂", 1.2),
    "relax": ("`relax_job` on Cu₃₂", None),
    "script": ("whole script: start Python, import, build and relax Cu₃₂", None),
}
"""Key of each ratio in the result: how the table calls it, and the target for ours."""


# --- in the measured processes, which have one of the two quaccs -------------------------------


def _cu32() -> Any:
    names: dict[str, Any] = {}  # the very lines that the whole script has
    exec(BUILD, names)
    return names["cu32"]


def _contestants(job: str, side: str) -> tuple[Callable[[Any], float], Callable[[Any], float]]:
    """Return plain ASE and quacc doing the same; both return the energy."""
    from ase.calculators.emt import EMT
    from ase.optimize import BFGS

    from quacc.recipes.emt.core import relax_job, static_job

    def ase_static(atoms: Any) -> float:
        atoms = atoms.copy()
        atoms.calc = EMT()
        energy: float = atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
        return energy

    def ase_relax(atoms: Any) -> float:
        atoms = atoms.copy()
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
        energy: float = atoms.get_potential_energy()
        return energy

    def quacc_static(atoms: Any) -> float:
        energy: float = static_job(atoms)["results"]["energy"]
        return energy

    def quacc_relax(atoms: Any) -> float:
        energy: float = relax_job(atoms, **KEYWORDS[side])["results"]["energy"]
        return energy

    return (ase_static, quacc_static) if job == "static" else (ase_relax, quacc_relax)


def call_worker(job: str, side: str, blocks: int, calls: int) -> list[list[float]]:
    """Return CPU seconds per call, one pair (plain ASE, quacc) for each block of calls."""
    cu32 = _cu32()
    contestants = _contestants(job, side)
    energies = [one(cu32) for one in contestants]  # also loads what is imported at first use
    if abs(energies[0] - energies[1]) > 1e-8:
        raise SystemExit(f"{job}, {side}: different energies {energies}, so not the same work.")
    pairs = []
    for block in range(blocks):
        pair = [0.0, 0.0]
        for which in (0, 1) if block % 2 else (1, 0):
            gc.collect()  # so that nobody clears up after the other
            start = time.process_time()
            for _ in range(calls):
                contestants[which](cu32)
            pair[which] = (time.process_time() - start) / calls
        pairs.append(pair)
    return pairs


def files_worker(root: str, side: str) -> dict[str, list[int]]:
    """Return how many files and folders the import makes, and then each calculation."""

    def count() -> list[int]:
        entries = [entry for folder in Path(root).iterdir() for entry in folder.rglob("*")]
        folders = sum(entry.is_dir() for entry in entries)
        return [len(entries) - folders, folders]

    made, counts = {}, [count()]
    from quacc.recipes.emt.core import relax_job, static_job

    steps: dict[str, Callable[[], Any]] = {
        "import": lambda: None,  # above
        "static_job": lambda: static_job(_cu32()),
        "relax_job": lambda: relax_job(_cu32(), **KEYWORDS[side]),
    }
    for name, step in steps.items():
        step()
        counts.append(count())
        made[name] = [new - old for new, old in zip(counts[-1], counts[-2], strict=True)]
    return made


# --- in the process that measures --------------------------------------------------------------


class Side:
    """One of the two environments."""

    def __init__(self, name: str, python: Path | str, root: Path) -> None:
        self.name = name
        self.python = str(python)
        self.root = root

    def run(self, *arguments: str, root: Path | None = None) -> str:
        """Run Python in a folder with a home of its own; return the last line it printed."""
        root = root or self.root
        # Nothing of the caller's settings; and no PYTHONDONTWRITEBYTECODE, since a user's
        # second import finds everything compiled.
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "HOME": str(root / "home"),
            "QUACC_RESULTS_DIR": str(root / "results"),
            "TMPDIR": str(root / "tmp"),
        }
        for folder in ("home", "results", "tmp", "cwd"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [self.python, *arguments],
            cwd=root / "cwd",
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stderr[-3000:]}")
        return done.stdout.rstrip().rpartition("\n")[2]

    def worker(self, *arguments: str | int, root: Path | None = None) -> Any:
        command = [str(Path(__file__).resolve()), "--worker", *map(str, arguments)]
        return json.loads(self.run(*command, root=root))

    def import_cost(self, contestant: str) -> tuple[float, int]:
        """Return CPU seconds of an import, and how many modules are loaded after it."""
        code = (
            "import sys, time\nstart = time.process_time()\n"
            f"{IMPORT[contestant]}"
            "print(time.process_time() - start, len(sys.modules))"
        )
        seconds, modules = self.run("-c", code).split()
        return float(seconds), int(modules)

    def script_cost(self, contestant: str) -> float:
        """Return CPU seconds of a whole process that relaxes Cu32."""
        kind = "ase" if contestant == "ase" else self.name
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run("-c", IMPORT[contestant] + BUILD + RELAX[kind])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def versions(self) -> dict[str, str]:
        names = ["quacc", "ase", "numpy", "scipy", "pydantic", "pymatgen"]
        code = f"from importlib.metadata import version as v; print(*map(v, {names}))"
        return dict(zip(names, self.run("-c", code).split(), strict=True))


def install_public(folder: Path) -> Path:
    """Return the Python of an environment with the public quacc, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Installing quacc {PUBLIC} from PyPI …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # The same ASE, NumPy and SciPy as ours; pip chooses the rest. Quick if all is there.
    wanted = [f"{name}=={version(name)}" for name in ("ase", "numpy", "scipy")]
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", f"quacc=={PUBLIC}", *wanted],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"pip could not install quacc {PUBLIC}:\n{done.stderr[-3000:]}")
    return python


def summary(pairs: list[list[float]]) -> dict[str, Any]:
    """Return the median ratio with its quartiles, and the median times as context."""
    low, middle, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    ase, quacc = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "pairs": len(pairs),
        "ase_ms": round(1e3 * ase, 2),
        "quacc_ms": round(1e3 * quacc, 2),
    }


def measure(sides: list[Side], rounds: int, workdir: Path) -> dict[str, Any]:
    pairs: dict[str, dict[str, list[list[float]]]] = {
        name: {side.name: [] for side in sides} for name in MEASURES
    }
    modules: dict[str, dict[str, int]] = {side.name: {} for side in sides}
    for side in sides:  # compile every module, and fill caches such as Matplotlib's fonts
        for contestant in IMPORT:
            side.import_cost(contestant)
            side.script_cost(contestant)
    for number in range(rounds):
        order = ["ase", "quacc"] if number % 2 else ["quacc", "ase"]
        print(f"\rRound {number + 1} of {rounds}", end="", file=sys.stderr)
        for side in sides:
            cost = {}
            for contestant in order:
                cost[contestant], modules[side.name][contestant] = side.import_cost(contestant)
            pairs["import"][side.name].append([cost["ase"], cost["quacc"]])
        for side in sides:
            script = {contestant: side.script_cost(contestant) for contestant in order}
            pairs["script"][side.name].append([script["ase"], script["quacc"]])
        if number % 5 == 0:  # several processes, since each is laid out in memory by chance
            for side in sides:
                pairs["static"][side.name] += side.worker("static", side.name, 30, 5)
                pairs["relax"][side.name] += side.worker("relax", side.name, 15, 1)
    print(file=sys.stderr)
    files = {}
    for side in sides:
        with tempfile.TemporaryDirectory(dir=workdir) as root:
            files[side.name] = side.worker("files", root, side.name, root=Path(root))
    return {
        **{
            name: {side: summary(one) for side, one in both.items()} for name, both in pairs.items()
        },
        "modules": modules,
        "files_and_folders": files,
    }


def table(report: dict[str, Any]) -> str:
    """Return the report as a table in Markdown."""
    results = report["results"]
    lines = [
        f"| CPU time, multiples of plain ASE | plain ASE | quacc | target | quacc {PUBLIC} |",
        "|---|---|---|---|---|",
    ]
    for name, (title, target) in MEASURES.items():
        cells = []
        for side in ("ours", "public"):
            one = results[name][side]
            low, high = one["quartiles"]
            cells.append(f"**{one['ratio']:.2f}** ({low:.2f} to {high:.2f})")
        plain = f"1 ({results[name]['ours']['ase_ms']:.1f} ms)"
        wanted = f"≤ {target}" if target else ""
        lines.append(f"| {title} | {plain} | {cells[0]} | {wanted} | {cells[1]} |")
    modules, files = results["modules"], results["files_and_folders"]
    lines += [
        "",
        f"| | plain ASE | quacc | target | quacc {PUBLIC} |",
        "|---|---|---|---|---|",
        f"| modules loaded after the import | {modules['ours']['ase']} "
        f"| **{modules['ours']['quacc']}** | | **{modules['public']['quacc']}** |",
    ]
    titles = {"import": "the first import"}
    for name in files["ours"]:
        cells = ["**{}, {}**".format(*files[side][name]) for side in ("ours", "public")]
        lines.append(
            f"| files, folders made by {titles.get(name, f'one `{name}`')} | | {cells[0]} "
            f"| {'' if name in titles else '0, 0'} | {cells[1]} |"
        )
    versions = report["versions"]["ours"]
    shown = {"ASE": versions["ase"], "NumPy": versions["numpy"]}
    lines += ["", measured_on(report, shown)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workdir", type=Path, help="keep the public quacc's environment in this folder"
    )
    parser.add_argument("--rounds", type=int, default=40, help="of everything (40)")
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    parser.add_argument("--worker", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, *rest = options.worker
        if kind == "files":
            print(json.dumps(files_worker(*rest)))
        else:
            print(json.dumps(call_worker(kind, rest[0], int(rest[1]), int(rest[2]))))
        return
    if options.update_docs:
        update_docs(table(json.loads(RESULT.read_text())), START, END)
        return
    given = options.workdir and nullcontext(options.workdir)
    with given or tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as folder:
        workdir = Path(folder).resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        public = install_public(workdir / "public")
        with tempfile.TemporaryDirectory(dir=workdir) as scratch:
            sides = [
                Side("ours", sys.executable, Path(scratch) / "ours"),
                Side("public", public, Path(scratch) / "public"),
            ]
            report = frame(
                "python benchmarks/overhead.py",
                {side.name: side.versions() for side in sides},
                measure(sides, options.rounds, Path(scratch)),
            )
    save(report, RESULT)
    print(table(report))


if __name__ == "__main__":
    main()
