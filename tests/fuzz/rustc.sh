#!/usr/bin/env bash
# Compiles like rustc, with libFuzzer's coverage counters in the code that is to be fuzzed: Clyra's own crates and the
# parsers that others wrote for them. All else stays plain, which is what makes the fuzzers quick to build. cargo calls it
# (RUSTC_WRAPPER). The flags are those of cargo-fuzz; stable Rust takes them.
set -euo pipefail

# Build scripts run without libFuzzer.
if [[ " $* " != *" --crate-name build_script_"* ]]; then
  case ${CARGO_PKG_NAME:-} in
    clyra* | multer | aws-smithy-eventstream | serde-saphyr | granit-parser)
      set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
      ;;
  esac
fi
exec "$@"
