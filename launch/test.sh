#!/usr/bin/env bash
# The whole check: lint, format, types, floors, tests. `PYTHON=python3.13 bash launch/test.sh` picks the interpreter.
set -euo pipefail
. "$(dirname "$0")/environment.sh" test
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest -n 2 --dist loadscope "$@"
