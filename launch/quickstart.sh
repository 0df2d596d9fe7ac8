#!/usr/bin/env bash
# Train, compress, search and evaluate on the packages of Debian, in three minutes on two CPU cores after installation.
# `PYTHON=python3.13 bash launch/quickstart.sh` picks the interpreter.
set -euo pipefail
active=${VIRTUAL_ENV:-}
. "$(dirname "$0")/environment.sh" figures
python launch/run.py --config=configs/debian.py --workdir=runs/quickstart
python=python
[ "$active" = "$VIRTUAL_ENV" ] || python=${VIRTUAL_ENV##*/}/bin/python
echo
echo "With more time codes keep more: by default there are up to 15 rounds (here 4), a dictionary of 8,192 (4,096) from"
echo "32,768 rows on, and for published one-pass codes ten times the steps. For that, and for vectors of your own (.npy, .npz,"
echo ".safetensors, .parquet, .fvecs, a folder or a glob of them):"
echo "  $python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine"
