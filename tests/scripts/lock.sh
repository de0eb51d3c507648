#!/usr/bin/env bash
# Pins the tools of `make lint` anew, after requirements.in was changed. The file that it writes names versions and
# hashes, and no registry.
set -euo pipefail

readonly UV_VERSION=0.13.8
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=../../target/tools/lock

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
"$venv/bin/uv" pip compile --quiet --universal --python-version 3.9 --generate-hashes --no-emit-index-url --no-header \
  --upgrade requirements.in --output-file requirements.txt
