# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by what runs Python packages of others against Clyra: an environment without a developer's own settings, and the
# packages, from pinned, hashed lists, under target/clients.
# Needs `here` (tests/clients) and `work` (target/clients); `prepare_python` sets `python`.

# A developer's own keys, addresses and proxies must not reach the cases.
for name in $(compgen -e | grep -E '^(OPENAI|ANTHROPIC|GEMINI|GOOGLE|OLLAMA|AWS|CO|COHERE|LITELLM|LANGCHAIN|LANGSMITH)_' || true); do
  unset "$name"
done
export NO_PROXY='*' no_proxy='*' PYTHONDONTWRITEBYTECODE=1
# boto3 would look for an account of the machine's where it finds none of its own.
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

status=0

skip() {
  if [[ ${CI:-} == true ]]; then
    echo "failed: $1 (CI does not skip)"
    status=1
  else
    echo "skipped: $1"
  fi
}

fail() {
  echo "failed: $1"
  status=1
}

has_python() {
  command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

# Made anew when the pinned versions have changed. $1: which set.
prepare_python() {
  local venv=$work/python list=$here/python/requirements.txt
  if [[ $1 != core ]]; then
    venv=$work/python-$1 list=$here/python/requirements-$1.txt
  fi
  if ! cmp -s "$list" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" || return 1
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$list" || return 1
    cp "$list" "$venv/requirements.txt"
  fi
  python=$venv/bin/python
}
