#!/usr/bin/env bash
# Miri over mm's tests that fit its speed, with strict provenance: `scripts/miri.sh [FILTER]`.
#
# Without a filter those of small things, under Stacked Borrows, which take some minutes together. With QUIRE_LONG set more
# of them, and then those over a memory map or tables of thousands of entries, and fuzz bodies. With each reference to such a
# map Stacked Borrows looks at all of its atomics, which would take hours: these run without a model of aliasing.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

SMALL=(sync:: addr:: gfp:: order:: percpu:: trace:: paging::descriptor)
[ -z "${QUIRE_LONG:-}" ] || SMALL+=(memblock::tests vmalloc::store vmalloc::early)
# Whatever has unsafe code is among these or those.
LARGE=(report:: memmap:: phase:: paging::table paging::slots paging::edit space::tests::what space::tests::each
    page_alloc::pageset buddy::tests::classic)
LARGE+=(page_alloc::tests::classic::cases::{following,owned,turns})
# So many steps that Miri would take longer for one of them than for all others.
TOO_SLOW=(random every_word every_base model threads grows_from plan::tests zonelist::tests a_batch_takes
    whatever_values)
BODIES=(memblock buddy page_alloc)

setup_toolchain
need_nightly miri rust-src
export QUIRE_TEST_SCALE=1/100 # whatever other tests are given
strict="-Zmiri-strict-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks"
log=$BUILD/miri.log skip=()
for part in "${TOO_SLOW[@]}"; do skip+=(--skip "$part"); done
# under FLAGS TEST...: mm's tests of these names.
under() {
    MIRIFLAGS="$strict $1" cargo_nightly miri test --target-dir "$TARGET_DIR/miri" -p mm --lib -- "${skip[@]}" "${@:2}"
}
long() {
    local unaliased=-Zmiri-disable-stacked-borrows
    under $unaliased "${LARGE[@]}" &&
        MIRIFLAGS="$strict $unaliased" cargo_nightly miri test --target-dir "$TARGET_DIR/miri" -p tests --test fuzz -- "${BODIES[@]}"
}
{
    under "" "${@:-${SMALL[@]}}" && { [ $# -gt 0 ] || [ -z "${QUIRE_LONG:-}" ] || long; }
} 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" = 0 ] || exit "$status"
# A name that matches nothing proves nothing.
names=("${SMALL[@]}")
[ -z "${QUIRE_LONG:-}" ] || names+=("${LARGE[@]}" "${BODIES[@]/%/ }")
[ $# = 0 ] || names=("$@")
for name in "${names[@]}"; do
    grep -q "^test .*$name.* ok$" "$log" || die "Miri ran no test of the name '$name'"
done
printf 'summary: Miri: %s tests without undefined behaviour\n' "$(grep -c '^test .* ok$' "$log")"
