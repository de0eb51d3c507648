#!/usr/bin/env bash
# Checks the syntax of ES modules without running them.
#
#   tests/scripts/check-javascript.sh FILE.js…
#
# A missing node is skipped, unless CI=true.
set -euo pipefail

if ! command -v node >/dev/null; then
  if [[ ${CI:-} == true ]]; then
    echo "failed: node is missing, the syntax of $* cannot be checked (CI does not skip)"
    exit 1
  fi
  echo "skipped: the syntax of $*: needs node"
  exit 0
fi
for file in "$@"; do
  if ! node --input-type=module --check <"$file"; then
    echo "failed: $file"
    exit 1
  fi
done
