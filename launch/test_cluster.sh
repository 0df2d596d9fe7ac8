#!/usr/bin/env bash
# The examples on real Ray and Spark, by processes and by files: some minutes on two cores, not part of launch/test.sh.
# Installs the extras [ray] and [spark] where they are not. The Slurm script runs in plain bash.
set -euo pipefail
. "$(dirname "$0")/environment.sh" test,ray,spark
command -v java >/dev/null || echo "NO JAVA on this machine (none in PATH): the tests of Spark are skipped"
export COMPRESSAE_CLUSTER=1 RAY_USAGE_STATS_ENABLED=0
python -m pytest tests/cluster --durations=0 "$@"
