"""Site profiles: what a machine's queue wants, in one named YAML file.

A profile is found by its name in ``~/.config/quacc/sites``, else among those that come with
quacc; or it is given as a path that ends in ``.yaml``.
"""

from __future__ import annotations

import getpass
import os
import re
import string
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from quacc.cluster.slurm import walltime_seconds
from quacc.errors import ParameterError, SettingsError, suggest
from quacc.locations import expand_user, home
from quacc.ownfiles import read_trusted
from quacc.settings import get_settings, parse
from quacc.sites.directives import DIRECTIVE, NEEDS

_PACKAGED = Path(__file__).parent / "profiles"

_CLUSTERS = {
    "slurm": "quacc.cluster.slurm_cluster.SlurmCluster",
    "pbs": "quacc.cluster.batch.PBSBatchCluster",
    "sge": "quacc.cluster.batch.SGEBatchCluster",
    "lsf": "quacc.cluster.batch.LSFBatchCluster",
}

_OTHER_WORDS = {
    "partition": "queue",
    "project": "account",
    "time": "walltime",
    "mem": "memory",
    "modules": "prologue",
    "environment": "prologue",
    "job_script_prologue": "prologue",
    "job_extra_directives": "directives",
    "job_directives_skip": "skip_directives",
    "n_workers": "max_jobs",
    "workers": "processes",
}
"""What other programs call some fields."""


def _one_line(text: str) -> str:
    if re.search(r"[\r\n\0]", text):
        raise ValueError("it must be one line")
    if not text.strip():
        raise ValueError("it is empty; leave the line out")
    return text.strip()


def _walltime(text: str) -> str:
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text)
    if not found or not walltime_seconds(text) or (found[1] and int(found[2]) > 23):
        raise ValueError("write HH:MM:SS or D-HH:MM:SS")
    return text


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(\.\d+)? ?[kmgt](i?b)?", text, re.IGNORECASE):
        raise ValueError("write a number and a unit, such as 512GB or 480GiB")
    return text.replace(" ", "")


def _template(text: str) -> str:
    known = {"nodes", "cores", "ranks", "gpus"}
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"{error}; write {{{{ and }}}} for braces of the command's own") from None
    if unknown := names - known:
        raise ValueError(f"it knows {{nodes}}, {{cores}}, {{ranks}} and {{gpus}}, not {unknown}")
    return text


_Line = Annotated[str, AfterValidator(_one_line)]
_Lines = Annotated[
    tuple[_Line, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
_Count = Annotated[int, Field(ge=1)]


class Site(BaseModel):
    """A profile, checked. Use :func:`load_site`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # account: 12345
    )

    name: str
    """Its file's name."""
    file: Path
    """Where it was read from."""
    description: _Line = ""
    """What machine this is."""
    sources: _Lines = ()
    """Where the values come from, and which of them nobody has confirmed."""
    required: _Lines = ()
    """Fields that every person must set before jobs can be submitted, such as account."""
    scheduler: Literal["slurm", "pbs", "sge", "lsf", "local"] = "slurm"
    """Queueing system: slurm, pbs, sge or lsf; local for worker processes on this machine."""
    account: _Line | None = None
    """Project that is charged."""
    queue: _Line | None = None
    """Queue; Slurm calls it partition."""
    qos: _Line | None = None
    """Slurm's quality of service."""
    constraint: _Line | None = None
    """Kind of node, such as cpu (Slurm -C; for others in their own notation)."""
    walltime: Annotated[_Line, AfterValidator(_walltime)] = "00:30:00"
    """Longest time a job may run, HH:MM:SS or D-HH:MM:SS."""
    nodes: _Count = 1
    """Nodes of each job."""
    cores: _Count = 1
    """Cores of each node that jobs use."""
    memory: Annotated[_Line, AfterValidator(_memory)] | None = None
    """Memory of each node that jobs use, such as 512GB."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of each node that jobs use."""
    exclusive: bool = False
    """Jobs get whole nodes, with all their memory."""
    processes: _Count | None = None
    """Workers of each job, one calculation at a time each (one a core; of jobs on several nodes
    one, which starts parallel codes on all of them)."""
    prologue: _Lines = ()
    """Shell lines that a job runs first: modules, environment."""
    launcher: Annotated[_Line, AfterValidator(_template)] | None = None
    """How parallel codes are started, such as srun -N {nodes} -n {ranks}: {nodes}, and for one
    worker {cores} and {gpus} of a node, {ranks} one a GPU, or one a core where there are none."""
    scratch: _Line | None = None
    """Folder where calculations that write files run; $VARIABLES are the node's."""
    shared: _Line = "~/.cache/quacc"
    """Folder that login and compute nodes share, for the certificates of a run."""
    log_directory: _Line | None = None
    """Folder for what jobs print (slurm-logs in results_dir, if not set)."""
    interface: _Line | None = None
    """Network interface, on login and compute nodes, that workers and scheduler talk over."""
    python: _Line | None = None
    """Python on the nodes (that which runs the flow, if not set)."""
    shebang: _Line = "#!/usr/bin/env bash"
    """First line of the job script."""
    directives: _Lines = ()
    """More directives for the queueing system, such as --reservation=mine."""
    skip_directives: _Lines = ()
    """Options that the job script must not have, such as --mem."""
    min_jobs: Annotated[int, Field(ge=0)] = 0
    """Jobs that are kept even when there is nothing to do."""
    max_jobs: _Count = 1
    """Most jobs at a time."""

    @model_validator(mode="after")
    def _fits(self) -> Site:
        if self.scheduler != "local" and self.memory is None:
            raise ValueError("memory is missing, such as memory: 16GB")
        if self.processes and self.processes > self.cores and self.scheduler != "local":
            raise ValueError(f"processes: {self.processes} is more than cores: {self.cores}")
        if self.min_jobs > self.max_jobs:
            raise ValueError(f"min_jobs: {self.min_jobs} is more than max_jobs: {self.max_jobs}")
        if self.scheduler != "slurm" and self.qos:
            raise ValueError("qos is Slurm's; write what this queueing system needs as directives")
        if self.scheduler == "sge" and (self.gpus or self.exclusive):
            raise ValueError("write gpus and exclusive as directives, which differ between SGEs")
        if unknown := set(self.required) - FIELDS.keys():
            raise ValueError(f"required: {', '.join(unknown)} is not a field")
        return self

    @property
    def cluster_class(self) -> str | None:
        """Full name of the Dask cluster class; None where workers are local processes."""
        return _CLUSTERS.get(self.scheduler)

    @property
    def workers(self) -> int:
        """Workers of each job."""
        return self.processes or (1 if self.nodes > 1 else self.cores)

    @property
    def mebibytes(self) -> int:
        """Memory of each node that jobs use, in MiB."""
        from dask.utils import parse_bytes

        return -int(-parse_bytes(self.memory or "0B") // 1024**2)

    @property
    def logs(self) -> str:
        """Folder for what jobs print, expanded."""
        if self.log_directory:
            return self.expand(self.log_directory)
        return str(get_settings().results_dir / "slurm-logs")

    def with_changes(self, **changes: Any) -> Site:
        """Return a copy with other values, checked; None goes back to the default.

        Raises
        ------
        ParameterError
            A name is unknown or a value is wrong.
        """
        content = {name: getattr(self, name) for name in self.model_fields_set & FIELDS.keys()}
        try:
            return _build(self.name, self.file, content | changes)
        except _WrongError as error:
            raise ParameterError("\n".join(what for _, what in error.args[0])) from None

    def launcher_command(self) -> str:
        """Return how one worker starts a parallel code, or nothing where no launcher is set."""
        shares = 1 if self.nodes > 1 else self.workers
        cores = max(1, self.cores // shares)
        gpus = self.gpus // shares
        ranks = self.nodes * (gpus or cores)
        numbers = {"nodes": self.nodes, "cores": cores, "ranks": ranks, "gpus": gpus}
        return (self.launcher or "").format(**numbers)

    def expand(self, path: str) -> str:
        """Return a path as it is on this machine."""
        filled = path.replace("{account}", self.account or "{account}")
        filled = re.sub(r"\$USER\b", getpass.getuser(), filled)  # not set in every shell
        expanded = expand_user(os.path.expandvars(filled))
        if unset := re.search(r"\$\w+|\$?\{\w+\}", expanded):
            raise SettingsError(
                f"The site {self.name} has the folder {path!r}, but {unset.group()} is not set "
                f"here. Set it, or write another folder in {self.file}."
            )
        return os.path.abspath(expanded)

    def require_complete(self, given: Iterable[str] = ()) -> None:
        """Raise a SettingsError where a field that every person must set is not."""
        for name in self.required:
            if name not in given and getattr(self, name) in (None, ()):
                what = (FIELDS[name].description or "").rstrip(".").lower()
                raise SettingsError(
                    f"The site {self.name} needs {name} ({what}). Set it: "
                    f'make_runner(site="{self.name}", {name}="…"), `--set {name}=…` on the '
                    f"command line, or for good {self.where_to_change}."
                )

    @property
    def script_prologue(self) -> list[str]:
        """Shell lines that a job runs first, with the scratch folder's."""
        if not self.scratch:
            return list(self.prologue)
        folder = self.scratch.replace("{account}", self.account or "")
        folder = re.sub(r"^~(?=/|$)", "$HOME", folder)
        return [*self.prologue, f'export QUACC_SCRATCH_DIR="{folder}"']

    @property
    def where_to_change(self) -> str:
        """Where a person writes other values."""
        if self.file.parent != _PACKAGED:
            return f"in {self.file}"
        return f"in {user_folder() / self.name}.yaml, which begins with 'base: {self.name}'"

    def cluster_kwargs(self, explicit: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the keywords of :attr:`cluster_class`, without the number of jobs.

        Parameters
        ----------
        explicit
            Keywords of dask-jobqueue that win over the site's.

        Raises
        ------
        SettingsError
            A field that every person must set is not.
        """
        explicit = dict(explicit or {})
        if explicit.get("account") and not self.account:
            return self.with_changes(account=explicit["account"]).cluster_kwargs(explicit)
        if self.scheduler == "local":
            return ({"n_workers": self.processes} if self.processes else {}) | explicit
        self.require_complete(explicit)
        kwargs: dict[str, Any] = {
            # A calculation at a time for each worker: dask-jobqueue makes a thread of each core.
            "cores": self.workers,
            "processes": self.workers,
            "memory": self.memory,
            "walltime": self.walltime,
            "queue": self.queue,
            "account": self.account,
            "interface": self.interface,
            "python": self.python,
            "shebang": self.shebang,
            "log_directory": self.logs,
            "shared_temp_directory": self.expand(self.shared),
            "job_script_prologue": self.script_prologue,
        }
        skip = list(self.skip_directives)
        if self.scheduler != "slurm":  # dask-jobqueue skips lines that hold a text anywhere
            skip = [f"{DIRECTIVE[self.scheduler]} {option}" for option in skip]
        kwargs["job_directives_skip"] = skip
        kwargs["job_extra_directives"] = []
        NEEDS[self.scheduler](self, kwargs)
        kwargs["job_extra_directives"] += self.directives
        if "cores" in explicit:  # as dask-jobqueue documents it
            for name in ("processes", "job_cpu", "resource_spec", "ncpus"):
                kwargs.pop(name, None)
        if "memory" in explicit:
            for name in ("resource_spec", "mem"):
                kwargs.pop(name, None)
        return {name: value for name, value in kwargs.items() if value is not None} | explicit


FIELDS = {name: field for name, field in Site.model_fields.items() if name not in ("name", "file")}
"""What a profile can set; each has a ``description``."""


def job_script(site: Site, explicit: Mapping[str, Any] | None = None) -> str:
    """Return the job script that would be submitted, without submitting or writing anything.

    In its last line, the scheduler's address and the worker's name are filled in for each job,
    and the paths of the run's certificates are added.
    """
    if site.scheduler == "local":
        raise SettingsError(f"The site {site.name} starts processes on this machine, no jobs.")
    from quacc.cluster import keywords

    module, _, name = str(site.cluster_class).rpartition(".")
    kwargs = site.cluster_kwargs(explicit)
    return keywords.job_script(kwargs, getattr(import_module(module), name))


def user_folder() -> Path:
    """Return the folder of a person's own profiles; it need not exist."""
    return home() / ".config" / "quacc" / "sites"


def site_names() -> dict[str, Path]:
    """Return the names of all profiles, and their files."""
    files = [*_PACKAGED.glob("*.yaml"), *user_folder().glob("*.yaml")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)} | {
        file.stem: file for file in user_folder().glob("*.yaml")
    }


def load_site(site: str | os.PathLike[str]) -> Site:
    """Return the profile of this name, or in this file.

    Raises
    ------
    SettingsError
        There is none, or it is wrong; the message lists all mistakes, with their lines.
    """
    text = os.fspath(site)
    if text.endswith((".yaml", ".yml")):
        file = Path(text).expanduser().absolute()
    else:
        known = site_names()
        if text not in known:
            raise SettingsError(
                f"There is no site {text!r}.{suggest(text, known)} Known: {', '.join(known)}; or "
                f"give a path that ends in .yaml. Your own profiles belong in {user_folder()}."
            )
        file = known[text]
    content, lines = _read(file)
    base = content.pop("base", None)
    inherited: dict[str, Any] = {}
    if base is not None:
        packaged = {path.stem: path for path in sorted(_PACKAGED.glob("*.yaml"))}
        if base not in packaged:
            near = suggest(str(base), packaged)
            raise SettingsError(
                f"{file}, line {lines.get('base', 1)}: base: {base} is none of the profiles that "
                f"come with quacc.{near} Known: {', '.join(packaged)}."
            )
        inherited, _ = _read(packaged[base])
    try:
        return _build(file.stem, file, inherited | content)
    except _WrongError as error:
        mistakes = [
            f"{file}{f', line {lines[name]}' if name in lines else ''}: {what}"
            for name, what in error.args[0]
        ]
        raise SettingsError("\n".join(mistakes)) from None


def _read(file: Path) -> tuple[dict[Any, Any], dict[str, int]]:
    """Return a file's content, and in which line each name is."""
    try:
        # It says what is run. Those that come with quacc may be anybody's, and so may a named file.
        raw = read_trusted(file, anyones=file.parent != user_folder())
        content = parse(raw)
    except (OSError, ValueError) as error:
        raise SettingsError(f"Cannot read the site's file {file}: {error}.") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(raw.decode().splitlines(), start=1):
        if found := re.match(r"['\"]?([^\s#'\":]+)['\"]?\s*:", line):
            lines.setdefault(found[1], number)
    return content, lines


class _WrongError(ValueError):
    """Holds pairs of a field's name and what is wrong with it."""


def _build(name: str, file: Path, content: Mapping[Any, Any]) -> Site:
    wrong = []
    for key in content:
        if key not in FIELDS:
            other = _OTHER_WORDS.get(str(key))
            hint = f" It is called {other} here." if other else suggest(str(key), FIELDS)
            wrong.append((str(key), f"{str(key)!r} is not a field of a site.{hint}"))
    given = {key: value for key, value in content.items() if key in FIELDS and value is not None}
    try:
        site = Site(name=name, file=file, **given)
    except ValidationError as error:
        for one in error.errors():
            field = str(one["loc"][0]) if one["loc"] else ""
            why = one["msg"].removeprefix("Value error, ")
            if field:
                meaning = " ".join((FIELDS[field].description or "").split())
                why = f"{field} = {given[field]!r} is wrong: {why}. {field}: {meaning}"
            wrong.append((field, why))
    if wrong:
        raise _WrongError(wrong)
    return site
