#!/usr/bin/env bash
# Pins the packages of the client tests anew, after a list of python/ (*.in) or a package.json of node/ was changed. The
# files that it writes name versions and hashes, and no registry.
set -euo pipefail

readonly UV_VERSION=0.13.8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$(cd "$here/../.." && pwd)/target/clients/lock

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
cd "$here/python"
for list in requirements requirements-more requirements-mcp; do
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --upgrade "$list.in" --output-file "$list.txt"
done

for folder in "$here/node" "$here/node/more"; do
  cd "$folder"
  rm -f package-lock.json
  npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
done
