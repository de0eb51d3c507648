#!/usr/bin/env bash
# Evidence before libraries that others wrote: Go's golang.org/x/mod/sumdb/{note,tlog} must accept our checkpoints, inclusion
# proofs, consistency proofs and tiles, and Secure Systems Lab's DSSE our signed manifests; what was tampered with they refuse.
#
#   tests/scripts/thirdparty.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The whole workspace is selected, so that nothing is compiled a second time with other features.
CLYRA_THIRDPARTY_DIR=$scratch "${CARGO:-cargo}" test --quiet --workspace --locked --test cli thirdparty:: >/dev/null
cd tests/thirdparty/go
"$here/go.sh" vet ./...
"$here/go.sh" run . "$scratch"
# A forged index must not get through.
sed -i 's/^index 5$/index 6/' "$scratch/5.tlog-proof"
if "$here/go.sh" run . "$scratch" 2>/dev/null; then
  echo "failed: a tampered proof was accepted"
  exit 1
fi
