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
build=(--no-fail-fast --target-dir "$TARGET_DIR/coverage" -p mm -p boot --lib)
# Counters make tests slow, and a tenth of the random cases goes the same ways; so do the fuzz bodies below in place of the
# longest sequences.
export QUIRE_TEST_SCALE=${QUIRE_TEST_SCALE:-1/10}
# What each test took is in the log.
cargo_nightly test "${build[@]}" -- --skip random_operations --skip random_requests_of_all_kinds --skip the_tree_may_lie_anywhere \
    -Zunstable-options --report-time >"$data/test.log" 2>&1 ||
    die "a test fails: $(grep -m 1 'FAILED\|^error' "$data/test.log")"
cargo_nightly test --target-dir "$TARGET_DIR/coverage" -p tests --test fuzz --test host_boot >>"$data/test.log" 2>&1 ||
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
