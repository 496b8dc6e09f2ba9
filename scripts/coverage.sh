#!/usr/bin/env bash
# Coverage of mm and boot by the host's tests: lines and branches, held against docs/coverage.md. `--save` writes its table.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

save=()
case ${1:-} in
    '') ;;
    --save) save=(--save) ;;
    *) usage_error "unknown argument '$1'" ;;
esac
setup_toolchain
need_nightly llvm-tools rust-src
data=$BUILD/coverage
rm -rf "$data"
mkdir -p "$data"
export RUSTFLAGS="-Cinstrument-coverage -Zcoverage-options=branch" LLVM_PROFILE_FILE=$data/%p-%m.profraw
# Counters need no debug info.
export CARGO_PROFILE_DEV_DEBUG=0

# covered CRATE SCALE [SKIPPED...]: runs a crate's tests; what each took is in the log.
covered() {
    local crate=$1 scale=$2 skip=() name
    shift 2
    for name in "$@"; do skip+=(--skip "$name"); done
    QUIRE_TEST_SCALE=${QUIRE_TEST_SCALE:-$scale} cargo_nightly test --no-fail-fast --target-dir "$TARGET_DIR/coverage" \
        -p "$crate" --lib -- "${skip[@]}" -Zunstable-options --report-time >>"$data/test.log" 2>&1 ||
        die "a test fails: $(grep -m 1 'FAILED\|^error' "$data/test.log")"
}

# Most are built at once; boot has other features in its own tests.
cargo_nightly test --no-run --target-dir "$TARGET_DIR/coverage" -p mm -p tests --lib --test fuzz \
    >>"$data/test.log" 2>&1 || die "the tests do not build: $(grep -m 1 '^error' "$data/test.log")"
# Counters make tests slow. A tenth of mm's random cases goes the same ways, a quarter of boot's all but a few of them; and
# the fuzz bodies below stand for the longest sequences.
covered mm 1/10 random_operations random_requests_of_all_kinds
covered boot 1/4 the_tree_may_lie_anywhere
cargo_nightly test --target-dir "$TARGET_DIR/coverage" -p tests --test fuzz >>"$data/test.log" 2>&1 ||
    die "a test fails: $(grep -m 1 'FAILED\|^error' "$data/test.log")"

llvm=("$("$RUSTUP" run "$NIGHTLY" rustc --print sysroot)"/lib/rustlib/*/bin)
"${llvm[0]}/llvm-profdata" merge -sparse "$data"/*.profraw -o "$data/all.profdata" || die "llvm-profdata failed"
objects=()
while IFS= read -r file; do objects+=(-object "$file"); done < <(
    sed -n 's/^ *Running .*(\(.*\))$/\1/p' "$data/test.log" | sort -u
)
(cd "$ROOT" && "${llvm[0]}/llvm-cov" export -format=lcov -instr-profile="$data/all.profdata" "${objects[@]}") \
    >"$data/all.lcov" 2>"$data/export.log" || die "llvm-cov failed: $(tail -n 1 "$data/export.log")"
unset RUSTFLAGS LLVM_PROFILE_FILE
cargo_host run -q -p tools -- coverage "$data/all.lcov" "$ROOT/docs/coverage.md" "${save[@]}" | sed 's/^coverage /summary: &/'
exit "${PIPESTATUS[0]}"
