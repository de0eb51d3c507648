#!/usr/bin/env bash
# Fuzzes the decoders with libFuzzer (docs/fuzzing.md). Stable Rust, no sanitizer, nothing to install but a C++ compiler.
#
#   tests/scripts/fuzz.sh run SECONDS [TARGET…]   each target so long, one after the other; what it learns is kept
#   tests/scripts/fuzz.sh short [TARGET…]         a fixed number of inputs with a fixed seed, as CI runs it
#   tests/scripts/fuzz.sh try TARGET FILE…        what was found once more
#   tests/scripts/fuzz.sh lint                    builds the fuzzers, which Clippy reads as they are compiled
#
# Everything that is made lies under target/fuzz: what was learnt in corpus/, what was found in artifacts/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Each target with its inputs in a short run, its longest input in bytes, and its dictionary. The slower, the fewer.
targets=(
  "sse 10000 4096 sse"
  "lines 10000 4096 json"
  "event_stream 10000 4096 json"
  "encoding 3000 4096 json"
  "form 10000 8192 form"
  "json 10000 8192 json"
  "segments 20000 8192 surface"
  "messages 5000 8192 surface"
  "stream_guard 1000 2048 surface"
  "json_lock 5000 2048 repair"
  "contract 1500 2048 schema"
  "csv_lock 5000 2048 csv"
  "detectors 1000 2048 detectors"
  "path 3000 512 path"
  "policy 300 4096 policy"
  "canonical 10000 8192 json"
  "note 10000 8192 note"
  "anchor 10000 8192 anchor"
  "journal 1000 16384 evidence"
  "bundle 500 16384 evidence"
)

# A decoder that needs more memory or more time for one input is broken: the largest input has 16 KiB.
limits=(-rss_limit_mb=512 -timeout=10)

home=target/fuzz
usage() {
  echo "usage: tests/scripts/fuzz.sh run SECONDS [TARGET…] | short [TARGET…] | try TARGET FILE… | lint" >&2
  exit 2
}

[[ $# -gt 0 ]] || usage
task=$1
shift
case $task in
  run)
    seconds=${1:-}
    [[ $seconds =~ ^[1-9][0-9]*$ ]] || usage
    shift
    ;;
  short) ;;
  lint) [[ $# -eq 0 ]] || usage ;;
  try) [[ $# -ge 2 ]] || usage ;;
  *) usage ;;
esac

chosen=()
for target in "${targets[@]}"; do
  name=${target%% *}
  if [[ $task == try ]]; then
    [[ $name == "$1" ]] && chosen=("$target")
  elif [[ $# -eq 0 || " $* " == *" $name "* ]]; then
    chosen+=("$target")
  fi
done
if [[ ${#chosen[@]} -eq 0 ]]; then
  echo "no such target; there are:" "${targets[@]%% *}" >&2
  exit 2
fi

tests/scripts/prerequisites.sh build fuzz
# Clippy's driver is a compiler too: with it in the place of rustc for the fuzzers themselves, they are linted by the build
# that makes them. A run of its own would compile all of their dependencies once more.
RUSTC_WRAPPER=$PWD/tests/fuzz/rustc.sh RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__ \
  cargo build --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir "$home" --bins --example seeds
if [[ $task == lint ]]; then exit; fi

# In memory where that is to be had: two targets write files for each input.
scratch=$(mktemp -d -p "$(if [[ -w /dev/shm ]]; then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi)" clyra-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

if [[ $task == try ]]; then
  exec "$home/debug/$1" "${limits[@]}" "${@:2}"
fi

rm -rf "$home/seeds"
"$home/debug/examples/seeds" "${CLYRA_SHARED_DATA:-../shared/data}" "$home/seeds"
mkdir -p "$home/artifacts" "$home/logs"

one() {
  local name=$1 runs=$2 longest=$3 dictionary=$4 corpus log seeds=() how=()
  log=$home/logs/$name
  if [[ $task == run ]]; then
    corpus=$home/corpus/$name
    how=(-max_total_time="$seconds")
  else
    corpus=$scratch/corpus-$name
    how=(-runs="$runs" -seed=1)
  fi
  mkdir -p "$corpus"
  for directory in "tests/fuzz/seeds/$name" "$home/seeds/$name"; do
    if [[ -d $directory ]]; then seeds+=("$directory"); fi
  done
  if ! "$home/debug/$name" "${how[@]}" "${limits[@]}" -max_len="$longest" -dict="tests/fuzz/dictionaries/$dictionary.dict" \
    -artifact_prefix="$home/artifacts/$name-" -print_final_stats=1 -verbosity=1 "$corpus" "${seeds[@]}" >"$log" 2>&1; then
    echo "failed: $name"
    tail -n 60 "$log"
    echo "once more: tests/scripts/fuzz.sh try $name $(grep -ao "$home/artifacts/$name-[a-z]*-[0-9a-f]*" "$log" | tail -n 1)"
    return 1
  fi
  local coverage statistics
  coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
  statistics=$(awk '/number_of_executed_units/ { units = $2 } /average_exec_per_sec/ { rate = $2 } /peak_rss_mb/ { rss = $2 }
    END { printf "%9d inputs %7d/s %5d MiB", units, rate, rss }' "$log")
  printf '%-13s %s  %s\n' "$name" "$statistics" "$coverage"
}

# A long run leaves room for others; a short one is to be over soon.
jobs=1
if [[ $task == short ]]; then jobs=$(nproc); fi
for target in "${chosen[@]}"; do
  while [[ $(jobs -rp | wc -l) -ge $jobs ]]; do
    wait -n || true # which of them failed is in a file
  done
  read -r -a words <<<"$target"
  (one "${words[@]}" || touch "$scratch/failed") &
done
wait
if [[ -e $scratch/failed ]]; then exit 1; fi
