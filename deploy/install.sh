#!/bin/sh
# install.sh PREFIX: Sluice in an empty prefix, from the locks and nothing else. The image is made by this, and tested by it.
set -eu
prefix=${1:?usage: install.sh PREFIX}
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$build/tools"
"$build/tools/bin/pip" install --quiet --require-hashes -r requirements-build.txt
python3 -m venv --without-pip "$prefix"
"$build/tools/bin/pip" --python "$prefix/bin/python" install --quiet --require-hashes --only-binary :all: -r requirements.txt
"$build/tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build/wheels" .
"$build/tools/bin/pip" --python "$prefix/bin/python" install --quiet --no-deps "$build"/wheels/*.whl
