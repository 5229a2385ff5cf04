"""What a worker leaves on disk about its jobs, so that another goes on where it was killed.

Each flow run has a folder of its own, made before anything is submitted and removed when its end
is told. While the credentials lie in it, its job has not started.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from uuid import UUID, uuid4

from quacc.cluster.certificates import make_private
from quacc.cluster.processes import is_dead, signature
from quacc.ownfiles import read_own

SILENCE = 120.0
"""A worker on another machine that has left no sign of life for so long (s) counts as dead."""


@dataclass
class Record:
    """What is known about one flow run's jobs."""

    run: UUID
    folder: Path
    owner: str = field(default_factory=signature)
    """The process that follows it."""
    workers: list[str] = field(default_factory=list)
    """Prefect's names of the workers that were about to submit it."""
    series: str = field(default_factory=lambda: uuid4().hex[:6])
    """What its jobs' names have that those of an earlier try have not."""
    attempt: int = 0
    """How many jobs were submitted, or were about to be."""
    job: str = ""
    """Slurm's id of the last one, once known."""
    attempts: int = 1
    """How many jobs it may have."""
    notice: float = 0.0
    """How long before its walltime the flow is told to stop (s)."""
    log: str = ""
    """Where the last job prints."""
    completed: int = 0
    """Task runs that had completed when the last job was submitted."""

    @property
    def credentials(self) -> Path:
        """The file that the job reads its environment from, and removes."""
        return self.folder / "environment"

    @property
    def script(self) -> Path:
        return self.folder / "job.sh"

    @property
    def workdir(self) -> Path:
        """The folder that the job runs in, empty at first: Prefect copies what it finds there."""
        return self.folder / "work"

    @property
    def suffix(self) -> str:
        """The end of the name of the last job, which no other job has."""
        return f"{self.run}.{self.series}.{self.attempt}"

    def save(self) -> None:
        """Write it down, in one step."""
        content = asdict(self)
        del content["run"], content["folder"]
        new = self.folder / ".record.json"
        _write_private(new, json.dumps(content))
        new.replace(self.folder / "record.json")

    def write_environment(self, environment: Mapping[str, str]) -> None:
        """Write a file for the job to source, which nobody else can read."""
        lines = [f"export {name}={quote(value)}\n" for name, value in sorted(environment.items())]
        _write_private(self.credentials, "".join(lines))

    def remove(self) -> None:
        """Remove all that belongs to the job, but not what the flow wrote in its folder."""
        self.credentials.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            self.workdir.rmdir()
        if self.workdir.exists():
            for file in (self.script, self.folder / "record.json"):
                file.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


class Records:
    """The folders of all flow runs of one work pool.

    Parameters
    ----------
    folder
        On a disk that login and compute nodes share; nobody else can look into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_private(folder)

    def claim(self, run: UUID, worker: str) -> Record | None:
        """Return the record of a flow run, which from now on is this process's.

        None if it is another's that lives.

        Parameters
        ----------
        worker
            Prefect's name of this worker.
        """
        record = self._read(run)
        if record is None:
            return self._new(run, worker)
        if not self._is_free(record.owner):
            return None
        record.owner = signature()
        record.workers = [*record.workers, worker][-5:]
        record.save()
        return record

    def _new(self, run: UUID, worker: str) -> Record | None:
        record = Record(run, self.folder / str(run), workers=[worker])
        if record.folder.exists():  # with what a flow wrote when it was run before
            record.workdir.mkdir(mode=0o700, exist_ok=True)
            record.save()
            return record
        complete = Record(run, self.folder / f".{uuid4().hex}", series=record.series)
        complete.workers = record.workers
        complete.workdir.mkdir(mode=0o700, parents=True)
        complete.save()
        complete.folder.chmod(0o700)
        try:
            complete.folder.rename(record.folder)
        except OSError:  # another worker was faster
            shutil.rmtree(complete.folder)
            return None
        return record

    def beat(self) -> None:
        """Leave a sign of life, and remove those of the dead."""
        for sign in self.folder.glob("*.alive"):
            if is_dead(sign.stem):
                sign.unlink(missing_ok=True)
        (self.folder / f"{signature()}.alive").touch()

    def abandoned(self) -> list[Record]:
        """Return those of this process, and of processes that are gone."""
        return [record for record in self._all() if self._is_free(record.owner)]

    def leave(self) -> None:
        """Take back the sign of life: what is left is anyone's."""
        (self.folder / f"{signature()}.alive").unlink(missing_ok=True)

    def _all(self) -> list[Record]:
        found = []
        for folder in self.folder.iterdir():
            try:
                run = UUID(folder.name)
            except ValueError:
                continue
            if record := self._read(run):
                found.append(record)
        return found

    def _read(self, run: UUID) -> Record | None:
        folder = self.folder / str(run)
        try:
            content = json.loads(read_own(folder / "record.json"))
        except FileNotFoundError:
            return None
        return Record(run=run, folder=folder, **content)

    def _is_free(self, owner: str) -> bool:
        if owner == signature() or is_dead(owner):
            return True
        try:  # by the clock of the disk
            mine = (self.folder / f"{signature()}.alive").stat().st_mtime
            return mine - (self.folder / f"{owner}.alive").stat().st_mtime > SILENCE
        except FileNotFoundError:  # it has left
            return True


def _write_private(file: Path, text: str) -> None:
    """Write a file that nobody else can read; what was there before is gone."""
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
