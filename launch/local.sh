#!/usr/bin/env bash
# Several processes on this machine as one run, as a cluster would start them; one that fails ends all.
# usage: bash launch/local.sh PROCESSES --config configs/X.py [--config.field=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
processes="$1"
shift
python=".venv/bin/python"
[ -x "$python" ] || python="${PYTHON:-python3}"
port="${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')}"
pids=()
stop() {
    kill "${pids[@]}" 2>/dev/null || true # they save and end with 75
    for _ in $(seq 1200); do
        kill -0 "${pids[@]}" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "${pids[@]}" 2>/dev/null || true
}
trap stop EXIT
trap 'stop; wait "${pids[0]}"; exit $?' INT TERM
for ((process = 0; process < processes; process++)); do
    "$python" -m m5jax.main "$@" \
        --config.distributed.coordinator="localhost:$port" \
        --config.distributed.num_processes="$processes" \
        --config.distributed.process_id="$process" &
    pids+=($!)
done
code=0
for ((process = 0; process < processes; process++)); do
    wait -n || { code=$?; break; }
done
exit "$code"
