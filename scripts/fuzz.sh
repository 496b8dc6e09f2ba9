#!/usr/bin/env bash
# Fuzzes the bodies in tests/src/fuzz/ with libFuzzer and AddressSanitizer, two targets at a time.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

help() {
    cat <<'PAGE'
usage: scripts/fuzz.sh [--seconds N] [TARGET...]

Fuzzes each target, or those named, for N seconds (60), two at a time. What breaks a target is left in
build/fuzz/crashes/TARGET/; moved to fuzz/regressions/TARGET/ it is tried by every test run. The corpus stays in
build/fuzz/corpus/ for the next time. Needs rustup; installs nightly Rust and cargo-fuzz by itself.
PAGE
}

seconds=60 names=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) help; exit 0 ;;
        --seconds) [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || usage_error "--seconds takes a number"; seconds=$2; shift ;;
        -*) usage_error "unknown option '$1'" ;;
        *) names+=("$1") ;;
    esac
    shift
done

FUZZ=$BUILD/fuzz

# fuzz_one TARGET LONGEST: leaves the log, and the corpus for the next time. In a process of its own.
fuzz_one() {
    local name=$1 longest=$2
    mkdir -p "$FUZZ/crashes/$name"
    exec timeout -k 5 $((seconds + 60)) "$TARGET_DIR/fuzz/$HOST/release/$name" "$FUZZ/corpus/$name" \
        -max_total_time="$seconds" -max_len=$((longest * 2)) -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$FUZZ/crashes/$name/" >"$FUZZ/$name.log" 2>&1
}

# told TARGET STATUS: one line of what came of it.
told() {
    local log=$FUZZ/$1.log runs coverage how="in $seconds s"
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    [ "$2" = 0 ] || how='until a finding'
    printf 'summary: fuzz %s: %s executions %s, %s branches\n' "$1" "${runs:-?}" "$how" "${coverage#cov: }"
}

# shellcheck disable=SC2046 # nothing or numbers
trap 'kill $(jobs -p) 2>/dev/null' EXIT
setup_toolchain
need_nightly rust-src
need c++=g++
need_tool cargo-fuzz 0.13.2
with_tools cargo_nightly fuzz build --fuzz-dir fuzz --target-dir "$TARGET_DIR/fuzz" >"$BUILD/fuzz-build.log" 2>&1 ||
    die "the fuzz targets do not build: $(grep -m 1 '^error' "$BUILD/fuzz-build.log") (details in build/fuzz-build.log)"

cargo_host run -q -p tests --bin fuzz-seeds -- "$FUZZ/corpus" >"$BUILD/fuzz-targets" || die "no seeds"
mapfile -t targets <"$BUILD/fuzz-targets"
for name in "${names[@]}"; do
    grep -q "^$name " "$BUILD/fuzz-targets" || usage_error "no target is called '$name'"
done

declare -A of=()
running=0 broken=()
# The longest waits end first: a child's status belongs to a name.
reap() {
    local pid status
    wait -n -p pid
    status=$?
    running=$((running - 1))
    told "${of[$pid]}" $status
    [ $status = 0 ] || broken+=("${of[$pid]}")
}
for line in "${targets[@]}"; do
    read -r name longest <<<"$line"
    [ ${#names[@]} = 0 ] || [[ " ${names[*]} " == *" $name "* ]] || continue
    ((running < 2)) || reap
    fuzz_one "$name" "$longest" &
    of[$!]=$name
    running=$((running + 1))
done
while ((running)); do reap; done

for name in "${broken[@]}"; do
    printf 'fuzz %s: %s; the input is in build/fuzz/crashes/%s\n' "$name" \
        "$(grep -m 1 'panicked\|ERROR:' -A 1 "$FUZZ/$name.log" | tr '\n' ' ')" "$name"
done
[ ${#broken[@]} = 0 ]
