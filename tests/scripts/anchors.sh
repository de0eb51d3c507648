#!/usr/bin/env bash
# Lets a real Clyra anchor with an S3 server, a time-stamp authority (openssl) and an OpenTimestamps calendar on the
# loopback, and has the proofs checked by tools that are not ours (tests/anchors/anchors.py).
#
#   tests/scripts/anchors.sh
#
# Packages are installed under target/anchors and nowhere else, pinned. A missing openssl or Python is skipped, unless
# CI=true. Exit status: 0 all well, 1 not.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
venv=$root/target/anchors/python
pinned=$root/tests/anchors/requirements.txt

skip() {
  if [[ ${CI:-} == true ]]; then
    echo "failed: $1 (CI does not skip)"
    exit 1
  fi
  echo "skipped: $1"
  exit 0
}

if ! command -v openssl >/dev/null; then
  skip "anchors against other people's tools: needs openssl"
fi
if ! command -v python3 >/dev/null || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  skip "anchors against other people's tools: needs python3, 3.11 or newer"
fi
tests/scripts/prerequisites.sh build python

# Made anew when the pinned versions have changed; the copy is written last, so a half-made one is never believed.
if ! cmp -s "$pinned" "$venv/requirements.txt"; then
  rm -rf "$venv"
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv"
  if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$pinned"; then
    echo "failed: the packages of $pinned could not be installed; a Python package index must be in reach"
    exit 1
  fi
  cp "$pinned" "$venv/requirements.txt"
fi

echo "building clyra"
cargo build --quiet --workspace --locked --bins --tests
# A developer's own proxies must not reach the servers of the test.
export NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1
"$venv/bin/python" tests/anchors/anchors.py "${CARGO_TARGET_DIR:-target}/debug/clyra"
