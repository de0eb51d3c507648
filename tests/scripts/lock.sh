#!/usr/bin/env bash
# Pins the tools of `make lint` (requirements.in) and the Go toolchain (requirements-go.in) anew, after one of them was
# changed. The files that it writes name versions and hashes, and no registry.
set -euo pipefail

readonly UV_VERSION=0.13.8
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=../../target/tools/lock

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
for list in requirements requirements-go; do
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.9 --generate-hashes --no-emit-index-url --no-header \
    --upgrade "$list.in" --output-file "$list.txt"
done
