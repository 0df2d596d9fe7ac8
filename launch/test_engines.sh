#!/usr/bin/env bash
# Exports to real search engines, with none skipped: a minute on two cores, after installing half a gigabyte.
# Installs the extra [engines] where it is not, and finds or downloads Lucene (35 MB; javac must be there); what is
# installed already is tried by launch/test.sh.
set -euo pipefail
. "$(dirname "$0")/environment.sh" test,engines
. launch/lucene.sh
export COMPRESSAE_ENGINES=1
python -m pytest tests/serving tests/test_docs.py --durations=3 "$@"
