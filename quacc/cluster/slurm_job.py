"""One Slurm job that runs workers: its script."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable
from typing import Any

from quacc.cluster.batch import ReportingJob
from quacc.cluster.jobqueue import SLURMJob
from quacc.cluster.processes import signature
from quacc.cluster.slurm import tag_of
from quacc.cluster.slurm_env import for_sbatch
from quacc.errors import ParameterError

_ALIASES = {
    "-A": "--account",
    "-C": "--constraint",
    "-c": "--cpus-per-task",
    "-J": "--job-name",
    "-n": "--ntasks",
    "-o": "--output",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
    "-x": "--exclude",
}


class SlurmJob(ReportingJob, SLURMJob):
    """One Slurm job; its script says when it ends, and its log is one file.

    Parameters
    ----------
    job_directives_skip
        Options of dask-jobqueue's own that the script goes without, such as ``-n``: whole
        options, where dask-jobqueue skips every line that holds the text.
    **kwargs
        Of ``dask_jobqueue.slurm.SLURMJob``, and of :class:`ReportingJob`.
    """

    def __init__(
        self,
        scheduler: Any = None,
        name: Any = None,
        *,
        job_directives_skip: Iterable[str] = (),
        job_extra_directives: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scheduler,
            name,
            job_directives_skip=["#SBATCH -e "],  # errors go to the log, too
            **kwargs,
        )
        header: str = vars(self)["job_header"]
        log = f'#SBATCH -o "{self.log_directory}/%j.log"'
        lines = [log if line.startswith("#SBATCH -o ") else line for line in header.splitlines()]
        options = [_option(line) for line in lines]
        for skip in job_directives_skip:
            if _option(skip) not in [*options, "--account", "--partition", "--error", "--time"]:
                raise ParameterError(
                    f"job_directives_skip: {skip!r} is no option that dask-jobqueue sets; those "
                    f"are {', '.join(options)}."
                )
        skipped = {_option(skip) for skip in job_directives_skip}
        lines = [line for line, option in zip(lines, options, strict=True) if option not in skipped]
        extra = list(job_extra_directives)
        if not any("requeue" in directive for directive in extra):
            extra.append("--no-requeue")  # a lost job is replaced at once, with a new name
        self.job_header = "\n".join([*lines, *(f"#SBATCH {directive}" for directive in extra)])

    @property
    def own_name(self) -> str:
        """The name that no other job has."""
        return f"{tag_of(signature())}-{self.name}"

    def set_name(self) -> None:
        """Give the job a name that no other has: the one that was asked for, and an end."""
        lines = str(self.job_header).splitlines()
        names = [_words(line)[1] for line in lines if _option(line) == "--job-name"]
        kept = [line for line in lines if _option(line) != "--job-name"]
        name = f"{(names or ['quacc'])[-1].strip(chr(34))}-{self.own_name}"
        self.job_header = "\n".join([*kept, f"#SBATCH -J {name}"])

    @property
    def partition(self) -> str | None:
        """The partition that its script asks for."""
        words = [_words(line) for line in str(self.job_header).splitlines()]
        return next((value for option, value in words[::-1] if option == "--partition"), None)

    def exclude(self, nodes: Collection[str]) -> None:
        """Let the job start on none of these nodes, nor on those that it excludes already."""
        if not nodes:
            return
        lines = str(self.job_header).splitlines()
        own = [line for line in lines if _option(line) == "--exclude"]
        listed = ",".join([*(_words(line)[1] for line in own), *sorted(nodes)])
        kept = [line for line in lines if line not in own]
        self.job_header = "\n".join([*kept, f"#SBATCH --exclude={listed}"])

    def environment(self) -> tuple[dict[str, str], list[str]]:
        """Return the environment for ``sbatch``, and the variables that it lacks."""
        return for_sbatch(os.environ, script_options(self.job_header))

    async def _submit_job(self, script_filename: str) -> str:
        environment, _ = self.environment()
        output: str = await self._call(
            [*shlex.split(self.submit_command), script_filename], env=environment
        )
        return output


def script_options(script: str) -> set[str]:
    """Return the long options of the ``#SBATCH`` lines in a job script."""
    return {_option(line) for line in script.splitlines() if line.startswith("#SBATCH ")}


def _option(line: str) -> str:
    """Return the option that a line of a job script, or a word, is about, in its long form."""
    word = line.removeprefix("#SBATCH").split()[0].split("=")[0]
    return _ALIASES.get(word, word)


def _words(line: str) -> tuple[str, str]:
    """Return the option of a line of a job script, and its value."""
    return _option(line), line.removeprefix("#SBATCH").replace("=", " ").split()[-1]
