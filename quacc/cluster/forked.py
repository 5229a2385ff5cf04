"""What the fork server loads: it ends with the last of its workers, and not before.

Slurm tells all processes of a job that it ends, some seconds before it does. Workers use them.
"""

from __future__ import annotations

import signal

BEFORE = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGTERM, signal.SIGHUP)}
"""What these signals did, and do in workers."""
