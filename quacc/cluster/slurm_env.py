"""The environment that Slurm's commands are run in: nothing in it says what a job is to be.

``SBATCH_*`` variables win over the lines of a job script, and those of the job that a flow itself
runs in would reach the programs that its workers start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS", "SLURM_SACK_KEY")
"""How Slurm is reached."""

_OF_JOBS = ("SLURM", "SRUN_", "SALLOC_", "SBATCH_", "PMI_", "PMIX_")

_GPUS = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")

_WHO = {
    "SBATCH_ACCOUNT": "--account",
    "SBATCH_CONSTRAINT": "--constraint",
    "SBATCH_PARTITION": "--partition",
    "SBATCH_QOS": "--qos",
    "SBATCH_RESERVATION": "--reservation",
    "SBATCH_WCKEY": "--wckey",
}
"""What may say where a job goes and who pays, unless the job script does."""

_STEP = (
    *("SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_DISTRIBUTION", "SLURM_HINT", "SLURM_EXPORT_ENV"),
    *("SLURM_EXACT", "SLURM_EXCLUSIVE", "SLURM_IMMEDIATE", "SLURM_LABELIO", "SLURM_MULTI_PROG"),
    *("SLURM_NTASKS_PER", "SLURM_STDERRMODE", "SLURM_STDINMODE", "SLURM_STDOUTMODE"),
    *("SLURM_THREADS", "SLURM_TIMELIMIT", "SLURM_TRES_PER_TASK", "SLURM_WORKING_DIR", "SRUN_"),
    *("SLURM_CORE_SPEC", "SLURM_DEPENDENCY", "SLURM_OVERCOMMIT", "SLURM_RELATIVE"),
)
"""What would change the step of the workers, or reach the programs that they start."""


def for_sbatch(
    environment: Mapping[str, str], options: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the environment for ``sbatch``, and the ``SBATCH_*`` variables that it lacks.

    Parameters
    ----------
    environment
        This process's.
    options
        Long options in the job script, such as ``--account``.
    """
    clean = {}
    left_out = []
    inside = "SLURM_JOB_ID" in environment
    for name, value in environment.items():
        if name in _KEPT or (name in _WHO and _WHO[name] not in options):
            clean[name] = value
        elif name.startswith(_OF_JOBS) or (inside and name in _GPUS):
            if name.startswith("SBATCH_"):
                left_out.append(name)
        else:
            clean[name] = value
    return clean, sorted(left_out)


def for_step(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the ``srun`` that starts workers inside a job."""
    return {name: value for name, value in environment.items() if not name.startswith(_STEP)}
