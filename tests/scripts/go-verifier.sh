#!/usr/bin/env bash
# Tests the independent verifier in Go (receipts/verifiers/go): its form, `go vet`, its tests with the golden vectors,
# and the action that runs it.
#
#   tests/scripts/go-verifier.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root/receipts/verifiers/go"

# SPEC is what it is written from; the reference implementation of another log's tree and notes is what others check it by.
if "$here/go.sh" list -deps ./... | grep -E '^golang\.org/x/mod(/|$)'; then
  echo "failed: the Go verifier must not use golang.org/x/mod"
  exit 1
fi
unformatted=$("$here/go.sh" run cmd/gofmt -l .)
if [[ -n $unformatted ]]; then
  echo "failed: gofmt would change $unformatted"
  exit 1
fi
"$here/go.sh" vet ./...
"$here/go.sh" test ./...
"$root/deploy/github-action/verify-bundle/test.sh"
