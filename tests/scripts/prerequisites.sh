#!/usr/bin/env bash
# Makes sure that the system has what a task needs before the task begins, so that nothing fails half-way through.
#
#   tests/scripts/prerequisites.sh NEED…
#
# A NEED is `build` (what cargo needs to compile Clyra), `fuzz` (a C++ compiler, for libFuzzer), `python` (a python3 that can
# make virtual environments), `token` (a software token), `trace` (strace, which lets system calls fail), `browser` (Chromium,
# and the zstd command), or `powercut` (a block device that records what is written to it).
# Missing Debian packages are installed when this runs as root where apt-get is; otherwise it says what to install and
# exits with status 2. Rust itself is never installed here: that choice is the owner's.
set -euo pipefail

missing=() # what is missing, in words
packages=() # the Debian packages that bring it

need() {
  missing+=("$1")
  packages+=("${@:2}")
}

look() {
  missing=()
  packages=()
  for what in "$@"; do
    case $what in
      build)
        # C code is in the tree through zstd, zlib-ng, ring and blake3; zlib-ng is built with cmake.
        command -v cc >/dev/null || need "a C compiler (cc)" gcc libc6-dev
        command -v cmake >/dev/null || need cmake cmake
        command -v make >/dev/null || need make make
        ;;
      fuzz)
        command -v c++ >/dev/null || need "a C++ compiler (c++)" g++
        ;;
      python)
        if ! command -v python3 >/dev/null; then
          need python3 python3 python3-venv
        elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
          need "python3's venv module" python3-venv
        fi
        ;;
      token)
        # A software token and the tool that makes a key for it.
        command -v softhsm2-util >/dev/null || need softhsm2 softhsm2
        command -v openssl >/dev/null || need openssl openssl
        ;;
      browser)
        # For the page that verifies evidence, and bundles packed by the reference encoder.
        command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
          need chromium chromium
        command -v zstd >/dev/null || need zstd zstd
        ;;
      trace)
        command -v strace >/dev/null || need strace strace
        ;;
      powercut)
        # Which of the two has the daemon depends on the release.
        command -v qemu-storage-daemon >/dev/null || need qemu-storage-daemon qemu-utils qemu-system-common
        command -v mkfs.ext4 >/dev/null || need mkfs.ext4 e2fsprogs
        command -v losetup >/dev/null || need losetup util-linux
        ;;
      *)
        echo "prerequisites.sh: unknown need: $what (build, fuzz, python, token, browser, trace or powercut)" >&2
        exit 2
        ;;
    esac
  done
}

list() {
  local joined
  joined=$(printf '%s, ' "$@")
  echo "${joined%, }"
}

if [[ $# -eq 0 ]]; then
  echo "usage: tests/scripts/prerequisites.sh NEED… (build, fuzz, python, token, browser, trace or powercut)" >&2
  exit 2
fi

if [[ " $* " == *" build "* ]] && ! command -v cargo >/dev/null; then
  echo "missing: cargo. Install Rust with rustup and try again; rust-toolchain.toml names the version, rustup fetches it." >&2
  exit 2
fi

look "$@"
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
  echo "installing what is missing, $(list "${missing[@]}"): ${packages[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
  look "$@"
fi

if [[ ${#missing[@]} -gt 0 ]]; then
  echo "missing: $(list "${missing[@]}"). Install with your system's package manager and try again." >&2
  echo "On Debian and Ubuntu: sudo apt-get install ${packages[*]}" >&2
  exit 2
fi
