#!/bin/sh
# Writes poetry.lock and what pip installs from: requirements/*.txt, one file a set. Called by `make lock`.
set -eu

poetry="${POETRY:-poetry}"
if ! "$poetry" export --help >/dev/null 2>&1; then
    echo "make lock needs Poetry 2.3 or newer with its export plugin, and '$poetry export' does not run. Install it with" >&2
    echo "    pipx install poetry && pipx inject poetry poetry-plugin-export" >&2
    echo "or name one that is elsewhere: make lock POETRY=/path/to/poetry. Behind a mirror of the package index, add" >&2
    echo "poetry-plugin-pypi-mirror and set POETRY_PYPI_MIRROR_URL." >&2
    exit 1
fi

export_to() {
    file="requirements/$1.txt"
    shift
    { echo "# Written by make lock; do not edit." && "$poetry" export --without-urls "$@"; } >"$file.new"
    mv "$file.new" "$file"
    echo "Wrote $file"
}

"$poetry" lock
mkdir -p requirements
export_to serving --only main
export_to ml --only main,ml
export_to monitoring --only main,ml,monitoring
export_to test --only main,ml,monitoring,test,lint
export_to cloud --only cloud
export_to audit --only audit
export_to mutation --only mutation
export_to tensorflow --only main --extras tensorflow
