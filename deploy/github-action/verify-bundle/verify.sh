#!/usr/bin/env bash
# The one step of the action: builds the Go verifier out of this repository, runs it over what it was given, and leaves
# the verdict as outputs and in the summary of the job. Everything comes in through the environment, so that no input is
# ever part of a command.
set -euo pipefail

# A larger output is not accepted by GitHub together with others.
readonly VERDICT_OUTPUT_MAX=524288
# A summary may have 1 MiB.
readonly SUMMARY_MAX=524288

verifier=$GITHUB_ACTION_PATH/../../../receipts/verifiers/go
work=$(mktemp -d "${RUNNER_TEMP:-/tmp}/pef-verify.XXXXXX")

if ! command -v go >/dev/null; then
  echo "::error::Go is missing. Run on a GitHub-hosted runner, or put actions/setup-go before this action."
  exit 2
fi
(cd "$verifier" && go build -mod=readonly -trimpath -o "$work/pef-verify" ./cmd/pef-verify)

paths=()
while IFS= read -r line || [[ -n $line ]]; do
  line=${line%$'\r'}
  if [[ -z $line ]]; then
    continue
  fi
  # Patterns are expanded and nothing else: no splitting at spaces.
  mapfile -t matches < <(compgen -G "$line" || true)
  if [[ ${#matches[@]} -eq 0 ]]; then
    echo "::error::Nothing to verify: one of the paths matches no file."
    exit 2
  fi
  paths+=("${matches[@]}")
done <<<"$INPUT_PATHS"
if [[ ${#paths[@]} -eq 0 ]]; then
  echo "::error::Nothing to verify: no path is given."
  exit 2
fi

options=()
if [[ -n ${INPUT_ROOT_KEY:-} ]]; then
  options+=("--root=$INPUT_ROOT_KEY")
else
  echo "::warning::No root key was given: the evidence is checked against itself, not for whose it is."
fi
if [[ -n ${INPUT_CHECKPOINT:-} ]]; then
  options+=("--checkpoint=$INPUT_CHECKPOINT")
fi
if [[ -n ${INPUT_WITNESS_POLICY:-} ]]; then
  options+=("--witness-policy=$INPUT_WITNESS_POLICY")
fi
if [[ -n ${INPUT_EVENT:-} ]]; then
  options+=("--event=$INPUT_EVENT")
fi

verdict=$work/verdict.json
status=0
"$work/pef-verify" --json "${options[@]}" -- "${paths[@]}" >"$verdict" 2>"$work/words" || status=$?
if [[ $status -gt 1 ]]; then
  cat "$work/words" >&2
  echo "::error::The verifier could not run."
  exit "$status"
fi
"$work/pef-verify" "${options[@]}" -- "${paths[@]}" >"$work/report" 2>/dev/null || true

ok=true
if [[ $status -ne 0 ]]; then
  ok=false
fi
{
  echo "ok=$ok"
  echo "verdict-file=$verdict"
  # One line: canonical JSON has no line ends.
  if [[ $(wc -c <"$verdict") -le $VERDICT_OUTPUT_MAX ]]; then
    printf 'verdict=%s\n' "$(cat "$verdict")"
  else
    echo "verdict="
  fi
} >>"$GITHUB_OUTPUT"
{
  if [[ $ok == true ]]; then
    echo "### Evidence verified"
  else
    echo "### Evidence is bad"
  fi
  echo '````text'
  head -c "$SUMMARY_MAX" "$work/report"
  echo '````'
} >>"$GITHUB_STEP_SUMMARY"
cat "$work/report"
if [[ $ok == false ]]; then
  echo "::error::The evidence has findings; the summary lists them."
fi
exit "$status"
