#!/usr/bin/env bash
# Pins the Node packages of the demonstration anew, after package.json was changed. The file that it writes names versions
# and hashes, and no registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -f package-lock.json
npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
