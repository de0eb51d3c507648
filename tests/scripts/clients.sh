#!/usr/bin/env bash
# Runs the client tests (tests/clients) against a real Clyra in front of the simulated provider, with
# tests/clients/policy.yaml in force. Everything listens on free ports of 127.0.0.1 and is gone when this ends.
#
#   tests/scripts/clients.sh [core|all]
#
# `core` is what tests/clients/run.sh means by it. Exit status: 0 all well, 1 a case failed or a process did not come up.
# What was skipped is said in the output; with CI=true nothing is skipped.
set -euo pipefail

readonly READY_SECONDS_MAX=60 # an unoptimised build on a busy machine
readonly STOP_SECONDS_MAX=10
readonly PORT_TRIES_MAX=5 # somebody else may take a port between looking and listening

export CLYRA_CLIENTS=${1:-all}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
scratch=$(mktemp -d)
clyra_pid=
simulator_pid=

# Asks the process to stop, and insists when it does not.
stop() {
  local pid=$1 waited=0
  [[ -n $pid ]] || return 0
  kill -TERM "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do
    if ((waited++ >= STOP_SECONDS_MAX * 10)); then
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.1
  done
  wait "$pid" 2>/dev/null || true
}

clean_up() {
  local status=$?
  trap - EXIT
  stop "$clyra_pid"
  stop "$simulator_pid"
  if [[ $status -ne 0 && -s $scratch/clyra.log ]]; then
    echo "--- the end of what clyra said:"
    tail -n 40 "$scratch/clyra.log"
  fi
  rm -rf "$scratch"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Whether something answers on this port of 127.0.0.1.
answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Below the range that systems hand out to clients, so that only another server can be in the way.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    if ! answers "$port"; then
      echo "$port"
      return
    fi
  done
}

# Whether GET /readyz on this port is answered with 200.
is_ready() {
  local line=
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
    read -r -t 2 line <&3
    [[ $line == "HTTP/1.1 200"* ]]
  ) 2>/dev/null
}

# Status 0 once it is ready, 1 when the process ended first, 2 when the time is over.
wait_until_ready() {
  local port=$1 pid=$2 deadline=$((SECONDS + READY_SECONDS_MAX))
  while ! is_ready "$port"; do
    kill -0 "$pid" 2>/dev/null || return 1
    ((SECONDS < deadline)) || return 2
    sleep 0.1
  done
}

tests/scripts/prerequisites.sh build
if command -v python3 >/dev/null; then
  tests/scripts/prerequisites.sh python
fi

# The same packages and targets as `cargo test --workspace` builds, so that nothing is compiled a second time with
# other features.
echo "building clyra and clyra-simulator"
cargo build --quiet --workspace --locked --bins --tests
binaries=${CARGO_TARGET_DIR:-target}/debug

# It prints its address as its first line once it listens; reading that line is the wait.
mkfifo "$scratch/simulator"
"$binaries/clyra-simulator" --listen 127.0.0.1:0 >"$scratch/simulator" 2>"$scratch/simulator.log" &
simulator_pid=$!
if ! read -r -t "$READY_SECONDS_MAX" simulator_url <"$scratch/simulator"; then
  echo "failed: clyra-simulator did not come up"
  cat "$scratch/simulator.log"
  exit 1
fi

for ((try = 1; ; try++)); do
  port=$(free_port)
  admin_port=$(free_port)
  mcp_port=$(free_port)
  # A data directory of its own for each run: the first lines of a journal are part of what is tested.
  "$binaries/clyra" run --listen "127.0.0.1:$port" --admin "127.0.0.1:$admin_port" \
    --upstream "openai=$simulator_url" --upstream "anthropic=$simulator_url" --upstream "gemini=$simulator_url" \
    --upstream "ollama=$simulator_url" --upstream "bedrock=$simulator_url" --upstream "cohere=$simulator_url" \
    --upstream "mcp=http://127.0.0.1:$mcp_port" \
    --policy tests/clients/policy.yaml --data-dir "$scratch/data-$try" >"$scratch/clyra.log" 2>&1 &
  clyra_pid=$!
  outcome=0
  wait_until_ready "$admin_port" "$clyra_pid" || outcome=$?
  ((outcome != 0)) || break
  stop "$clyra_pid"
  clyra_pid=
  if ((outcome == 2)); then
    echo "failed: clyra was not ready within $READY_SECONDS_MAX s"
    exit 1
  fi
  if ((try >= PORT_TRIES_MAX)) || ! { answers "$port" || answers "$admin_port"; }; then
    echo "failed: clyra did not start"
    exit 1
  fi
done

export CLYRA_MCP_PORT=$mcp_port
tests/clients/run.sh "http://127.0.0.1:$port" "http://127.0.0.1:$admin_port"
