# shellcheck shell=bash disable=SC2034 # what is set here is used by those that source it
# Sourced first by every script: where things are, how a script speaks, how it installs what it needs.

ROOT=$(unset CDPATH && cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
TARGET=armv7a-none-eabi
ME=${0##*/}
export QEMU_AUDIO_DRV=none
# cargo is started in ROOT: a relative directory is meant from there.
TARGET_DIR=${CARGO_TARGET_DIR:-target}
case $TARGET_DIR in /*) ;; *) TARGET_DIR=$ROOT/$TARGET_DIR ;; esac
if ! mkdir -p "$BUILD" 2>/dev/null || ! [ -w "$BUILD" ]; then
    printf '%s: cannot write to %s\n' "$ME" "$BUILD" >&2
    exit 1
fi

# What a script does, on stderr: stdout belongs to its product.
say() { printf '==> %s\n' "$*" >&2; }

# One clear line and a failing status.
die() { printf '%s: %s\n' "$ME" "$*" >&2; exit 1; }

# One clear line on a wrong call.
usage_error() { printf '%s: %s (see --help)\n' "$ME" "$*" >&2; exit 2; }

# Runs a command as root, directly or by sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif ! command -v sudo >/dev/null; then return 127
    elif [ -t 0 ]; then sudo "$@"
    else sudo -n "$@"
    fi
}

# apt_refresh: fetches the package index anew.
apt_refresh() {
    say "refreshing apt's package index"
    as_root apt-get update >"$BUILD/apt.log" 2>&1
}

# apt_install PACKAGE...: installs, with a fresh package index only when the one at hand does not do.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local log=$BUILD/apt.log
    local -a install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@")
    say "installing with apt-get: $*"
    as_root "${install[@]}" >"$log" 2>&1 && return
    as_root apt-get update >>"$log" 2>&1 # may fail in part; the install below is the judge
    as_root "${install[@]}" >>"$log" 2>&1
}

# need COMMAND="PACKAGE..."...: makes sure that each command exists.
need() {
    local pair packages=() commands=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null && continue
        commands+=("${pair%%=*}")
        read -ra more <<<"${pair#*=}"
        packages+=("${more[@]}")
    done
    [ ${#commands[@]} = 0 ] && return
    apt_install "${packages[@]}" ||
        die "cannot install ${packages[*]} (for ${commands[*]}): install by hand; details in build/apt.log"
    hash -r
}

need_qemu() { need "qemu-system-arm=qemu-system-arm"; }
need_dtc() { need "dtc=device-tree-compiler"; }
