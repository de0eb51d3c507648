#!/usr/bin/env bash
# Says whether the recorded exchanges and public suites are there that some tests read and that are not part of this
# repository. They are looked for in $CLYRA_SHARED_DATA, or else in shared/data beside the clone.
#
#   tests/scripts/shared-data.sh
#
# Without them those tests pass without having looked at anything, which has to be said; with CI=true it is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=${CLYRA_SHARED_DATA:-$root/../shared/data}
if [[ -d $data ]]; then
  exit 0
fi
what="the tests on recorded exchanges and public suites: there is no $data (CLYRA_SHARED_DATA names another place)"
if [[ ${CI:-} == true ]]; then
  echo "failed: $what (CI does not skip)"
  exit 1
fi
echo "skipped: $what"
