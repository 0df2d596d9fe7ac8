#!/usr/bin/env bash
# Train, compress, search and evaluate on the packages of Debian, in three minutes on two CPU cores after installation.
# `PYTHON=python3.13 bash launch/quickstart.sh` picks the interpreter.
set -euo pipefail
active=${VIRTUAL_ENV:-}
. "$(dirname "$0")/environment.sh" figures
compressae quickstart --workdir=runs/quickstart
[ "$active" = "$VIRTUAL_ENV" ] || echo "(compressae lies in ${VIRTUAL_ENV##*/}/bin, which is not active in your shell)"
