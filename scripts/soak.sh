#!/usr/bin/env bash
# The long runs: too long for every test run, done once in a while and recorded.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

help() {
    cat <<'PAGE'
usage: scripts/soak.sh [--record] PART...
       scripts/soak.sh --recorded

  model           100,000,000 random operations on each model test of the buddy and of the whole allocator, with every
                  invariant checked after each one; optimised, the checks for overflow on
  torture         10,000,000 operations of torture in the image, on 64 MiB, with failures injected
  fuzz[:TARGET]   an hour of fuzzing for each target, two at a time, or for one
  miri            Miri over all that it can do in an hour or so
  asan            AddressSanitizer over mm's and boot's tests

  --record        writes what came of it into docs/soaks.tsv, with the commit
  --recorded      runs nothing: says what docs/soaks.tsv holds, as the test run's summary does
PAGE
}

RECORD=$ROOT/docs/soaks.tsv
record='' recorded='' parts=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) help; exit 0 ;;
        --record) record=1 ;;
        --recorded) recorded=1 ;;
        model | torture | fuzz | fuzz:[a-z]* | miri | asan) parts+=("$1") ;;
        *) usage_error "unknown argument '$1'" ;;
    esac
    shift
done

# tell: a line for each recorded run.
tell() { sed -n 's/^\([^#\t]*\)\t\([^\t]*\)\t\([^\t]*\)$/summary: once, \1: \2 (recorded at \3)/p' "$RECORD"; }

# came NAME RESULT: says what came of a run, and keeps it if it is to be kept.
came() {
    printf 'summary: %s: %s\n' "$1" "$2"
    [ -n "$record" ] || return 0
    {
        grep -v "^$1"$'\t' "$RECORD" 2>/dev/null
        printf '%s\t%s\t%s\n' "$1" "$2" "$(git -C "$ROOT" rev-parse --short HEAD)"
    } | LC_ALL=C sort >"$RECORD.new"
    mv "$RECORD.new" "$RECORD"
}

# Two million operations by default.
model() {
    local log=$BUILD/soak-model.log name status since
    export CARGO_PROFILE_DEV_OPT_LEVEL=3 QUIRE_TEST_SCALE=50
    cargo_host test --target-dir "$TARGET_DIR/soak" -p mm --lib --no-run >"$log" 2>&1 || die "mm's tests do not build: see $log"
    for name in buddy::model::random_operations_agree buddy::model::random_operations_on_the_compact \
        classic::cases::random_model compact::cases::random_model; do
        since=$SECONDS
        cargo_host test --target-dir "$TARGET_DIR/soak" -p mm --lib -- "$name" >"$log" 2>&1
        status=$?
        grep -q 'test result: ok. 1 passed' "$log" || status=1
        [ $status = 0 ] || { tail -n 20 "$log"; die "$name failed"; }
        came "model $name" "100,000,000 operations, every invariant true after each, $((SECONDS - since)) s"
    done
}

torture() {
    local log=$BUILD/soak-torture.log
    "$ROOT/qemu-run.sh" --board vexpress-a15 --mem 64M --timeout 7200 --append "torture=10000000,1 selftest=none" \
        </dev/null >"$log" 2>&1 || { tail -n 5 "$log"; die "torture failed"; }
    came "torture=10000000,1 on 64 MiB" "$(sed -n 's/^.*torture: \(.*\)$/\1/p' "$log" | tail -n 1)"
}

# fuzz TARGET...: an hour each.
fuzz() {
    local log=$BUILD/soak-fuzz.log line
    "$ROOT/scripts/fuzz.sh" --seconds 3600 "$@" >"$log" 2>&1 || { tail -n 5 "$log"; die "fuzzing failed, or is left out"; }
    while IFS= read -r line; do came "${line%%:*}" "${line#*: }"; done < <(sed -n 's/^summary: //p' "$log")
}

miri() {
    local log=$BUILD/soak-miri.log since=$SECONDS
    QUIRE_LONG=1 "$ROOT/scripts/miri.sh" >"$log" 2>&1 || { tail -n 5 "$log"; die "Miri failed, or is left out"; }
    came "Miri, long" "$(sed -n 's/^summary: Miri: //p' "$log"), $((SECONDS - since)) s"
}

asan() {
    local log=$BUILD/soak-asan.log
    "$ROOT/scripts/asan.sh" >"$log" 2>&1 || { tail -n 5 "$log"; die "AddressSanitizer failed, or is left out"; }
    came "AddressSanitizer" "$(sed -n 's/^summary: AddressSanitizer: //p' "$log")"
}

if [ -n "$recorded" ]; then
    [ -e "$RECORD" ] && tell
    exit 0
fi
[ ${#parts[@]} -gt 0 ] || usage_error "which part?"
setup_toolchain
for part in "${parts[@]}"; do
    case $part in
        fuzz:*) fuzz "${part#fuzz:}" ;;
        *) $part ;;
    esac
done
