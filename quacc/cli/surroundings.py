"""What the environment and a person's own files say, for bug reports: without secrets."""

from __future__ import annotations

import locale
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import dask
import psutil

import quacc
from quacc.cluster.dask_config import overridden
from quacc.errors import SettingsError
from quacc.locations import home, redact
from quacc.settings import as_environment, get_settings, inspect, parse, settings_file

_PACKAGES = ("ase", "numpy", "prefect", "prefect-dask", "dask", "distributed", "dask-jobqueue")
_PROXY = re.compile(r"(?i)(https?|all|ftp|no|wss?|socks)_proxy")
_SECRET = re.compile(r"(?i)pass|secret|token|auth|key|jwt|credential|headers")
_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "cifs", "smb", "ceph", "fuse", "wekafs", "panfs")


def report() -> Iterator[tuple[str, str]]:
    """Yield what there is to say about this installation: a heading, and a text."""
    yield "quacc", f"{quacc.__version__} in {Path(quacc.__file__).parent}"
    yield "Python", f"{platform.python_version()} in {sys.prefix}"
    yield "system", f"{platform.platform()}, {os.cpu_count()} cores"
    yield "packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    yield from _settings()
    yield from surroundings(os.environ)


def surroundings(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what the environment and a person's files of Prefect and Dask say."""
    yield "proxies", _variables(environment, _PROXY) or "none"
    if sbatch := _variables(environment, re.compile("SBATCH_")):
        yield "SBATCH_*", f"{sbatch} (jobs go without those that their script decides)"
    if names := [name for name in environment if name.startswith(("SLURM_", "SRUN_"))]:
        yield "SLURM_*", ", ".join(sorted(names))
    yield from _dask()
    yield from _prefect()
    encoding = getattr(sys.stdout, "encoding", None)
    languages = _variables(environment, re.compile("LANG$|LC_|PYTHONUTF8|PYTHONIOENCODING"))
    yield "text", f"files {locale.getpreferredencoding()}, terminal {encoding}; {languages or 'C'}"
    yield "umask", _umask()
    yield "HOME", _home()


def redacted(name: str, value: str) -> str:
    """Return the value of a variable or setting, without what nobody else may know."""
    if _SECRET.search(name) and not value.isdigit():
        return "***"
    return redact(re.sub(r"//[^/\s]*@", "//***@", value))


def _umask_problem() -> str:
    """Return who could change the files of this process, or nothing."""
    mask = _mask()
    who = [name for name, bit in (("the group", 0o020), ("everybody", 0o002)) if not mask & bit]
    return f"umask {mask:04o}: {' and '.join(who)} may change new files" if who else ""


def _version(package: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return "is missing"


def _settings() -> Iterator[tuple[str, str]]:
    try:
        places = {f"{name} ({redact(str(place))})" for name, (_, place) in inspect()[1].items()}
        yield "settings", f"{', '.join(sorted(places)) or 'all by default'}; {settings_file()}"
        settings = get_settings()
    except SettingsError as error:
        yield "settings", redact(str(error))
        return
    yield "store", redacted("", settings.database)
    yield "results_dir", f"{settings.results_dir} ({file_system(settings.results_dir)})"
    yield "scratch", f"{settings.scratch} ({file_system(settings.scratch)})"
    yield "sent to jobs", ", ".join(as_environment()) or "nothing"


def file_system(folder: Path) -> str:
    """Return the kind of the file system that a folder is on, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    parents = {str(one) for one in (folder.resolve(), *folder.resolve().parents)}
    mounts = [one for one in psutil.disk_partitions(all=True) if one.mountpoint in parents]
    kind = max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else "unknown"
    return f"{kind}, a network's" if kind.startswith(_SHARED) else kind


def _dask() -> Iterator[tuple[str, str]]:
    files = []
    for folder in map(Path, dask.config.paths):
        for file in [folder] if folder.is_file() else sorted(folder.glob("*.y*ml")):
            with suppress(OSError, ValueError):
                if parse(file.read_bytes()):  # not only comments
                    files.append(str(file))
    variables = sorted(name for name in os.environ if name.startswith("DASK_"))
    if files or variables:
        yield "Dask", ", ".join([*files, *variables])
    if names := overridden():
        yield "no effect on quacc", ", ".join(names)


def _prefect() -> Iterator[tuple[str, str]]:
    from prefect.context import get_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    url = PREFECT_API_URL.value()
    yield "Prefect API", redacted("", url) if url else "none: a server for each run alone"
    yield "Prefect home", f"{PREFECT_HOME.value()}, profile {get_settings_context().profile.name}"
    here = {name for name in os.environ if name.startswith("PREFECT_")}
    named = {setting.name for setting in get_settings_context().profile.settings}
    marks = {"prefect.toml": "", ".env": "PREFECT_", "pyproject.toml": "[tool.prefect"}
    found = [name for name, mark in marks.items() if Path(name).exists() and mark in _text(name)]
    if here or named:
        yield "set for Prefect", ", ".join(sorted(here | named))
    if found:
        yield "Prefect's files", ", ".join(found)


def _text(file: str) -> str:
    with suppress(OSError):
        return Path(file).read_text("utf-8", "replace")
    return ""


def _variables(environment: Mapping[str, str], pattern: re.Pattern[str]) -> str:
    return ", ".join(
        f"{name}={redacted(name, value)}"
        for name, value in sorted(environment.items())
        if pattern.match(name)
    )


def _mask() -> int:
    with suppress(OSError, StopIteration, ValueError):  # setting it would reach other threads
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _umask() -> str:
    return _umask_problem() or f"{_mask():04o}"


def _home() -> str:
    try:
        folder = home()
    except SettingsError as error:
        return str(error)
    return str(folder) + ("" if os.access(folder, os.W_OK) else ", which cannot be written")
