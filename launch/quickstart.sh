#!/usr/bin/env bash
# From a clone to a report: installs, draws the embedded catalogue, pre-trains SCALE on it, evaluates, reports, exports.
# usage: bash launch/quickstart.sh [--config.field=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
started=$SECONDS
source launch/environment.sh media
.venv/bin/python -m m5jax.main --config configs/quickstart.py "$@"
echo "from clone to report in $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s; open the report in a browser"
