"""dask-jobqueue, without what it does to Ctrl-C.

Its import makes the process exit at Ctrl-C, with success, and fails outside the main thread.
"""

from __future__ import annotations

import signal

_set = signal.signal
signal.signal = lambda *_: None
try:
    from dask_jobqueue.core import Job, JobQueueCluster
    from dask_jobqueue.lsf import LSFCluster, LSFJob
    from dask_jobqueue.pbs import PBSCluster, PBSJob
    from dask_jobqueue.sge import SGECluster, SGEJob
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
finally:
    signal.signal = _set

__all__ = [
    "Job",
    "JobQueueCluster",
    "LSFCluster",
    "LSFJob",
    "PBSCluster",
    "PBSJob",
    "SGECluster",
    "SGEJob",
    "SLURMCluster",
    "SLURMJob",
]
