#!/usr/bin/env bash
# A user's first minutes by pip alone: builds the wheel, installs it into an empty environment, and runs the quickstart
# from an empty folder. Some minutes; not part of launch/test.sh. `PYTHON=python3.13 bash launch/test_wheel.sh` picks
# the interpreter, `bash launch/test_wheel.sh figures,parquet` the extras. What it makes lies in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d "${TMPDIR:-/tmp}/compressae-wheel.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/source" "$scratch/empty"
cp -r compressae_jax configs setup.py pyproject.toml MANIFEST.in README.md CHANGELOG.md LICENSE "$scratch/source"
"${PYTHON:-python3}" -m venv "$scratch/venv"
python="$scratch/venv/bin/python"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir="$scratch/dist" "$scratch/source"
wheel=$(echo "$scratch"/dist/*.whl)
echo "installing $(basename "$wheel") with $("$python" --version)"
"$python" -m pip install --quiet --disable-pip-version-check "$wheel${1:+[$1]}"
cd "$scratch/empty"
unset PYTHONPATH
"$scratch/venv/bin/compressae" --version
"$scratch/venv/bin/compressae" quickstart
"$python" -c "
import json
import compressae_jax as cs
source = json.load(open('runs/quickstart/report.json'))['source']['name']
index = cs.load('runs/quickstart/model').index(source, progress=False)
print(index, index.search(index.reconstruct([0]), top=3).rows[0])
"
test -s runs/quickstart/report.md && echo "wheel ok: $(basename "$wheel")"
