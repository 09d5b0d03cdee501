#!/bin/sh
# Makes a virtual environment in $1 with the first Python >= 3.11 that is found.
set -eu
target=$1
for python in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    [ -n "$python" ] || continue
    command -v "$python" >/dev/null 2>&1 || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python has no ensurepip, which makes virtual environments." >&2
        echo "On Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    fi
    exec "$python" -m venv "$target"
done
echo "Python 3.11 or newer is needed and was not found. Name it with PYTHON=/path/to/python." >&2
exit 1
