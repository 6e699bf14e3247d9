#!/usr/bin/env bash
# GPUs under SLURM: one process a GPU, found by jax from SLURM's own variables. Every task must see all GPUs of its node
# (no --gpus-per-task): jax gives each the one of its local number. A process that fails is noticed by its heartbeat.
# usage: sbatch --nodes=2 launch/slurm.sh --config configs/X.py [--config.field=value ...]
#SBATCH --job-name=m5jax
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --output=slurm-%j.log
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
# The environment must hold m5jax[media,cuda13]; its path can be given as VENV.
srun "${VENV:-.venv}/bin/python" -m m5jax.main "$@" --config.distributed.coordinator=auto
code=$?
# 75: preempted, the state is saved; the same job goes on from there.
if [ "$code" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
