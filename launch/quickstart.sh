#!/usr/bin/env bash
# Train, compress, search and evaluate on real item vectors, in under three minutes on two CPU cores after installation.
# `PYTHON=python3.13 bash launch/quickstart.sh` picks the interpreter.
set -euo pipefail
active=${VIRTUAL_ENV:-}
. "$(dirname "$0")/environment.sh" figures
python launch/run.py --config=configs/shop.py --workdir=runs/quickstart
python=python
[ "$active" = "$VIRTUAL_ENV" ] || python=${VIRTUAL_ENV##*/}/bin/python
echo
echo "On a file of your own vectors (.npy, .npz, .safetensors, .parquet, .fvecs, a folder or a glob of them):"
echo "  $python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine"
