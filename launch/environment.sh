# Makes or reuses a Python environment with this project in it; sourced by quickstart.sh and test.sh.
# PYTHON picks the interpreter (default python3); $1 is the list of extras. An active environment is used as it is.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
if [ -n "${PYTHON:-}" ] || [ -z "${VIRTUAL_ENV:-}" ]; then
    wanted=$("${PYTHON:-python3}" -c 'import sys; print(*sys.version_info[:2], sep=".")') || exit 1
    if [ ! -x .venv/bin/python ] || [ "$(.venv/bin/python -c 'import sys; print(*sys.version_info[:2], sep=".")')" != "$wanted" ]; then
        echo "making .venv with Python $wanted"
        rm -rf .venv
        "${PYTHON:-python3}" -m venv .venv || exit 1
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
fi
python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=python3.12 bash $0)"; exit 1; }
stamp="$VIRTUAL_ENV/.compressae_jax-$1"
if [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ]; then
    echo "installing compressae_jax[$1] into $VIRTUAL_ENV (once; a few minutes)"
    python -m pip install --quiet --disable-pip-version-check --editable ".[$1]" || exit 1
    touch "$stamp"
fi
