#!/bin/sh
# Prints the Python that .venv is made with: $PYTHON where it is set, else the first of the usual names that runs, can
# make environments and is new enough. One that TensorFlow has wheels for (below 3.14) goes before a newer one.
set -eu

candidates="python3 python3.13 python3.12 python3.11 python"

fits() {
    # A name on the PATH may be a launcher for a version that is not installed, so each one is really started.
    "$1" -c "import ensurepip, sys, venv; sys.exit(not $2)" >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if fits "$PYTHON" "(3, 11) <= sys.version_info"; then
        echo "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON does not run, is older than Python 3.11, or lacks the modules venv and ensurepip." >&2
    exit 1
fi

for wanted in "(3, 11) <= sys.version_info < (3, 14)" "(3, 14) <= sys.version_info"; do
    for candidate in $candidates; do
        if fits "$candidate" "$wanted"; then
            echo "$candidate"
            exit 0
        fi
    done
done

echo "No Python 3.11 or newer with the modules venv and ensurepip (Debian: python3-venv) was found under the names" >&2
echo "$candidates. Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
exit 1
