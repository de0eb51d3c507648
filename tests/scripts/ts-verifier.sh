#!/usr/bin/env bash
# Builds and tests the TypeScript verifier (receipts/verifiers/ts): its types, published vectors, damage of every kind,
# the golden vectors in tests/vectors/pef, and its page in a headless Chromium.
#
#   tests/scripts/ts-verifier.sh
#
# Exit status: 0 all well, 1 something failed. A missing Node or Chromium is skipped, which is said, unless CI=true.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root/receipts/verifiers/ts"

skip() {
  if [[ ${CI:-} == true ]]; then
    echo "failed: $1 (CI does not skip)"
    exit 1
  fi
  echo "skipped: $1"
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null ||
  ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)'; then
  skip "the TypeScript verifier: it needs node, 20 or newer, and npm"
  exit 0
fi
"$root/tests/scripts/prerequisites.sh" browser || skip "what only a browser or the zstd command can show"

# Made anew when the pinned versions have changed; the copy is written last, so a half-made one is never believed.
installed=node_modules/installed.json
if ! cmp -s package-lock.json "$installed"; then
  npm ci --ignore-scripts --loglevel=error >/dev/null
  cp package-lock.json "$installed"
fi
npm run --silent check
node build.mjs --tests
node --test --test-reporter=spec build/test/*.test.js
