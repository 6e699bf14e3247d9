#!/usr/bin/env bash
# A Cloud TPU, one host or a pod slice: installs on every host and starts the same command on all of them.
# usage: bash launch/tpu.sh NAME ZONE --config configs/X.py --config.workdir=/mnt/shared/run [--config.field=value ...]
# The run folder and config.data.root must be on a file system that all hosts mount with locks (Filestore).
# DRY_RUN=1 prints the commands instead. The TPU must exist:
#   gcloud compute tpus tpu-vm create NAME --zone=ZONE --accelerator-type=v5litepod-16 --version=v2-alpha-tpuv5-lite
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 3 ]; then
    sed -n '2,7p' "${BASH_SOURCE[0]}" >&2
    exit 64
fi
name="$1" zone="$2"
shift 2
repository="${REPOSITORY:-$(git remote get-url origin 2>/dev/null || true)}"
commit="$(git rev-parse HEAD)"
if [ -z "$repository" ]; then
    echo "no git remote to clone on the TPU hosts: set REPOSITORY=https://..." >&2
    exit 64
fi

on_all_hosts() {
    local command=(gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1")
    if [ -n "${DRY_RUN:-}" ]; then printf '%q ' "${command[@]}"; echo; else "${command[@]}"; fi
}

on_all_hosts "test -d m5jax || git clone $(printf %q "$repository") m5jax; cd m5jax && git fetch -q && git checkout -q $commit"
# The images bring Python 3.10; another can be named by PYTHON.
python="${PYTHON:-python3.11}"
on_all_hosts "command -v $python >/dev/null || sudo apt-get install --yes --quiet $python $python-venv"
on_all_hosts "set -e; cd m5jax; export PYTHON=$python; source launch/environment.sh media,tpu"
# Every host runs the same line; jax finds the others from the TPU's own metadata.
on_all_hosts "cd m5jax && .venv/bin/python -m m5jax.main $(printf '%q ' "$@")--config.distributed.coordinator=auto"
