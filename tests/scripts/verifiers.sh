#!/usr/bin/env bash
# The three verifiers (Rust, Go, TypeScript) over the same evidence: they must agree to the byte.
#
#   tests/scripts/verifiers.sh table       the golden vectors (tests/vectors/pef); prints who passes how many
#   tests/scripts/verifiers.sh mutations   every byte of a journal and of a bundle, cut off and flipped; thousands of odd logs
#
# CLYRA_MUTATIONS=N takes every Nth of them only. A verifier whose tools are missing is skipped, which is said, unless CI=true.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
built="$root/target/verifiers"
mkdir -p "$built"

skip() {
  if [[ ${CI:-} == true ]]; then
    echo "failed: $1 (CI does not skip)"
    exit 1
  fi
  echo "skipped: $1"
}

verifiers=""
if command -v go >/dev/null && (cd receipts/verifiers/go && go build -o "$built/pef-verify" ./cmd/pef-verify); then
  verifiers+="go=$built/pef-verify --batch;"
else
  skip "the Go verifier: it could not be built"
fi
if command -v node >/dev/null && command -v npm >/dev/null; then
  (
    cd receipts/verifiers/ts
    # As ts-verifier.sh: made anew when the pinned versions have changed.
    if ! cmp -s package-lock.json node_modules/installed.json; then
      npm ci --ignore-scripts --loglevel=error >/dev/null
      cp package-lock.json node_modules/installed.json
    fi
    node build.mjs >/dev/null
  )
  verifiers+="ts=node $root/receipts/verifiers/ts/dist/cli.js --batch;"
else
  skip "the TypeScript verifier: it needs node and npm"
fi
export CLYRA_VERIFIERS="${verifiers%;}"

run() {
  "${CARGO:-cargo}" test --locked -p clyra-receipts --test vectors -- --nocapture --test-threads=2 "$@"
}

case ${1:-} in
table) run table:: ;;
mutations)
  export CLYRA_MUTATIONS="${CLYRA_MUTATIONS:-1}"
  run mutations:: odd::
  ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
