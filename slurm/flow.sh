#!/bin/bash
# Runs a flow on all nodes of one Slurm job; copy this file and edit it.
#
#     sbatch slurm/flow.sh recipes/surfaces.py [its arguments]
#
# Submitted again after the job's time was up, it goes on where it was.
#
#SBATCH --job-name=quacc
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --time=00:30:00
#SBATCH --output=quacc-%j.log
# Long enough before the end for calculations to write their checkpoints.
#SBATCH --signal=B:TERM@60
##SBATCH --account=
##SBATCH --partition=
# One worker a core is started; for parallel codes, one worker on each node starts them:
##SBATCH --ntasks-per-node=1

# module load …
# conda activate quacc

# Compute nodes often cannot reach your Prefect server, so the flow starts one of its own. Where
# they can, leave this line out.
export PREFECT_API_URL=

# With exec, Slurm's signals reach the flow.
exec "${PYTHON:-python}" "$@" --inside-allocation
