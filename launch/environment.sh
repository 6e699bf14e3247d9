# Makes the project's virtual environment, or brings it up to date; to be sourced from the project's root.
# usage: source launch/environment.sh EXTRAS      (for example: media, or dev)

environment_extras="$1"
environment_python="${PYTHON:-python3}"
if ! "$environment_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "m5jax needs Python 3.11 or later; $environment_python is $("$environment_python" -V). Set PYTHON=/path/to/python." >&2
    exit 64
fi
environment_stamp=".venv/installed-$environment_extras-$(sha256sum pyproject.toml | cut -c1-12)"
if [ ! -e "$environment_stamp" ]; then
    echo "installing m5jax[$environment_extras] into $PWD/.venv (the first time this takes a minute or two)"
    [ -x .venv/bin/pip ] || "$environment_python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$environment_extras]" &&
        touch "$environment_stamp"
fi
