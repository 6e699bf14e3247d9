#!/usr/bin/env bash
# Lint, types and tests, with all the set-up they need.
# usage: bash launch/test.sh [pytest arguments]   (for example --cov --cov-report=term:skip-covered, which takes longer)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh dev
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/pyright
exec .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist loadfile --no-loadscope-reorder "$@"
