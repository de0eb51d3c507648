#!/usr/bin/env bash
# Plays the recorded exchanges of real providers through a real Clyra to the providers' own SDKs, and compares what the SDKs
# read with what Clyra inspected and told (tests/clients/python/recorded.py says how).
#
#   tests/scripts/recorded-sdks.sh [core|all]
#
# `core` is the SDKs of OpenAI, Anthropic, Google and Ollama; `all` (the default) adds Bedrock (boto3) and Cohere. Exit status:
# 0 all well, 1 something differs or could not be prepared. Without the recordings (tests/scripts/shared-data.sh) or Python it
# is skipped, unless CI=true.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
here=$root/tests/clients
work=$root/target/clients
# shellcheck source=tests/clients/python.sh
source "$here/python.sh"
case ${1:-all} in
  core) sets=(core) ;;
  all) sets=(core more) ;;
  *)
    echo "recorded-sdks.sh: core or all, not $1" >&2
    exit 2
    ;;
esac

tests/scripts/prerequisites.sh build
if ! command -v python3 >/dev/null; then
  skip "the recordings before the SDKs: they need python3, 3.11 or newer"
  exit "$status"
fi
tests/scripts/prerequisites.sh python
if ! has_python; then
  skip "the recordings before the SDKs: they need python3, 3.11 or newer"
  exit "$status"
fi

# As clients.sh does: nothing is compiled a second time with other features.
cargo build --quiet --workspace --locked --bins --tests
mkdir -p "$work"
for set in "${sets[@]}"; do
  if ! prepare_python "$set"; then
    fail "the Python clients could not be installed; python3 needs its venv module, and a package index must be in reach"
    continue
  fi
  PYTHONWARNINGS=ignore "$python" "$here/python/recorded.py" "$set" "${CARGO_TARGET_DIR:-target}/debug/replay-recorded" || status=1
done
exit "$status"
