#!/usr/bin/env bash
# Runs the SDKs and frameworks that applications use, for Python and Node, against Clyra, with the simulated provider
# behind it and policy.yaml in force.
#
#   tests/clients/run.sh BASE_URL [ADMIN_URL]
#
# BASE_URL is where Clyra listens, such as http://127.0.0.1:8080. With ADMIN_URL it first waits for /readyz there.
# CLYRA_CLIENTS=core runs only the SDKs of OpenAI, Anthropic, Google and Ollama; without it (or with `all`) come Bedrock
# (boto3), Cohere, LangChain, LiteLLM and Vercel's AI SDK as well, and the reference client of MCP, for which Clyra must have
# an upstream `mcp` at port CLYRA_MCP_PORT of 127.0.0.1.
# CLYRA_CASES=clean runs only the cases that need no policy, for example straight against the simulated provider.
# The packages are installed under target/clients and nowhere else. Exit status: 0 all well, 1 a case failed or could
# not be prepared, 2 wrong usage. A missing Python or Node is skipped, unless CI=true.
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
  echo "usage: tests/clients/run.sh BASE_URL [ADMIN_URL]" >&2
  exit 2
fi
export CLYRA_BASE_URL=$1
admin_url=${2:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(cd "$here/../.." && pwd)/target/clients
results=$work/results.ndjson
# shellcheck source=tests/clients/python.sh
source "$here/python.sh"
case ${CLYRA_CLIENTS:-all} in
  core) sets=(core) ;;
  all) sets=(core more mcp) ;;
  *)
    echo "run.sh: CLYRA_CLIENTS is core or all, not $CLYRA_CLIENTS" >&2
    exit 2
    ;;
esac

mkdir -p "$work"
: >"$results"

has_node() {
  command -v node >/dev/null && command -v npm >/dev/null &&
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)'
}

is_ready() {
  if has_python; then
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "$1" 2>/dev/null
  else
    node -e 'fetch(process.argv[1]).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))' "$1"
  fi
}

wait_until_ready() {
  for _ in $(seq 50); do
    if is_ready "$1"; then
      return 0
    fi
    sleep 0.2
  done
  return 1
}

prepare_node() {
  local copy=$work/node from=$here/node
  if [[ $1 == more ]]; then
    copy=$work/node-more from=$here/node/more
  fi
  if ! cmp -s "$from/package-lock.json" "$copy/installed.json"; then
    rm -rf "$copy"
    mkdir -p "$copy"
    cp "$from/package.json" "$from/package-lock.json" "$copy/"
    (cd "$copy" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) || return 1
    cp "$copy/package-lock.json" "$copy/installed.json"
  fi
  cp "$here/node/cases.mjs" "$from/clients.mjs" "$copy/"
  node_clients=$copy
}

if [[ -n $admin_url ]] && (has_python || has_node) && ! wait_until_ready "${admin_url%/}/readyz"; then
  fail "$admin_url/readyz did not become ready within 10 s"
  exit 1
fi

for set in "${sets[@]}"; do
  program=(clients.py "$set")
  if [[ $set == mcp ]]; then
    if [[ -z ${CLYRA_MCP_PORT:-} ]]; then
      skip "the client of MCP: CLYRA_MCP_PORT is not set"
      continue
    fi
    program=(mcp_reference.py)
  fi
  if ! has_python; then
    skip "the Python clients: they need python3, 3.11 or newer"
  elif ! prepare_python "$set"; then
    fail "the Python clients could not be installed; python3 needs its venv module, and a package index must be in reach"
  else
    "$python" "$here/python/${program[0]}" "${program[@]:1}" | tee -a "$results" || status=1
  fi

  [[ $set != mcp ]] || continue
  if ! has_node; then
    skip "the Node clients: they need node, 20 or newer, and npm"
  elif ! prepare_node "$set"; then
    fail "the Node clients could not be installed; a package registry must be in reach"
  else
    (cd "$node_clients" && node clients.mjs) | tee -a "$results" || status=1
  fi
done

passed=$(grep -cE '"ok": ?true' "$results" || true)
failed=$(grep -cE '"ok": ?false' "$results" || true)
echo "$passed passed, $failed failed"
exit "$status"
