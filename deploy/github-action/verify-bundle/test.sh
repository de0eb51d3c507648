#!/usr/bin/env bash
# Runs the action's step as GitHub would, over evidence that is good, bad and not there, and looks at what it leaves.
#
#   deploy/github-action/verify-bundle/test.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "failed: $*" >&2
  exit 1
}

"$root/tests/scripts/tools.sh" shellcheck "$here/verify.sh" "$here/test.sh"

# The step is what action.yml says, and it hands over every input.
step=$(sed -n "s/^      run: '\(.*\)'$/\1/p" "$here/action.yml")
[[ $step == "\"\$GITHUB_ACTION_PATH/verify.sh\"" ]] || fail "action.yml runs something else: $step"
while read -r input; do
  name=INPUT_$(tr 'a-z-' 'A-Z_' <<<"$input")
  grep -qF "        $name: \${{ inputs.$input }}" "$here/action.yml" || fail "$input is not handed over"
  grep -qF "$name" "$here/verify.sh" || fail "$name is not read"
done < <(sed -n '/^inputs:/,/^outputs:/s/^  \([a-z-]*\):$/\1/p' "$here/action.yml")

# The Go that the other tests use.
go_bin=$("$root/tests/scripts/go.sh" env GOROOT)/bin

evidence=$work/evidence
(cd "$root/receipts/verifiers/go" && PEF_WRITE_EVIDENCE=$evidence "$root/tests/scripts/go.sh" test -count=1 -run '^TestWriteEvidence$' . >/dev/null)

# act STATUS PATHS ROOT: runs the step and checks its status.
act() {
  local wanted=$1 status=0
  rm -rf "$work/run"
  mkdir "$work/run"
  : >"$work/run/output"
  : >"$work/run/summary"
  env -i HOME="$HOME" PATH="$go_bin:$PATH" GOFLAGS="${GOFLAGS:-}" GITHUB_ACTION_PATH="$here" \
    RUNNER_TEMP="$work/run" GITHUB_OUTPUT="$work/run/output" GITHUB_STEP_SUMMARY="$work/run/summary" \
    INPUT_PATHS="$2" INPUT_ROOT_KEY="$3" INPUT_CHECKPOINT="" INPUT_WITNESS_POLICY="" INPUT_EVENT="" \
    bash -c "$step" >"$work/run/log" 2>&1 || status=$?
  [[ $status -eq $wanted ]] || fail "status $status, wanted $wanted: $(cat "$work/run/log")"
}

holds() {
  grep -qF -- "$2" "$work/run/$1" || fail "no '$2' in $1: $(cat "$work/run/$1")"
}

key=$(cat "$evidence/root.vkey")
act 0 "$evidence/good bundle.pef"$'\n' "$key"
holds output 'ok=true'
holds output 'verdict={"assurance":"origin","findings":[],'
holds summary 'GOOD: 0 errors, 0 warnings'
act 0 "$evidence/good*.pef" ""
holds log '::warning::No root key'
holds output '"assurance":"integrity"'
act 1 "$evidence/*.pef" "$evidence/root.vkey"
holds output 'ok=false'
holds output '"code":"E108"'
holds summary 'error E108 CONTAINER bad.pef'
holds log '::error::The evidence has findings'
act 2 "$evidence/none*.pef" "$key"
holds log '::error::Nothing to verify'
act 2 "" "$key"
act 2 "$evidence/good bundle.pef" "not a key"
# An input is never part of a command.
act 2 "\$(touch $work/injected)"$'\n'"; touch $work/injected" "$key"
[[ ! -e $work/injected ]] || fail "an input was executed"
echo "the action's step does what it says"
