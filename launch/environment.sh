# Makes or reuses a Python environment with this project in it; sourced by quickstart.sh and test.sh.
# PYTHON picks the interpreter (default python3); $1 is the list of extras. An active environment is used as it is, and
# none is ever removed: beside a .venv of another Python stands .venv-3.13, or whatever the version is.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
version() { "$1" -c 'import sys; print(*sys.version_info[:2], sep=".")'; }
if [ -n "${PYTHON:-}" ] || [ -z "${VIRTUAL_ENV:-}" ]; then
    wanted=$(version "${PYTHON:-python3}") || exit 1
    environment=.venv
    if [ -e .venv ] && { [ ! -x .venv/bin/python ] || [ "$(version .venv/bin/python)" != "$wanted" ]; }; then
        environment=.venv-$wanted
    fi
    if [ ! -x "$environment/bin/python" ]; then
        echo "making $environment with Python $wanted"
        "${PYTHON:-python3}" -m venv "$environment" || exit 1
    fi
    # shellcheck disable=SC1091
    . "$environment/bin/activate"
fi
python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=python3.12 bash $0)"; exit 1; }
stamp="$VIRTUAL_ENV/.compressae_jax-$1"
if [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ]; then
    echo "installing compressae_jax[$1] into $VIRTUAL_ENV (once; a few minutes)"
    python -m pip install --quiet --disable-pip-version-check --editable ".[$1]" || exit 1
    touch "$stamp"
fi
