#!/usr/bin/env bash
# Miri over mm's tests that fit its speed, with strict provenance: `scripts/miri.sh [FILTER]`.
#
# Without a filter those that take some minutes together; with QUIRE_LONG set the larger ones too, and the fuzz bodies.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

# mm's own tests of small things; the large ones run as fuzz bodies, cut to Miri's speed (a thousandth of the machine's).
SMALL=(sync:: addr:: gfp:: order:: percpu:: trace:: paging::descriptor)
LARGE=(memblock::tests:: zone:: report::)
TOO_SLOW=(random every_word every_base model threads grows_from plan::tests zonelist::tests)
[ -z "${QUIRE_LONG:-}" ] || SMALL+=("${LARGE[@]}")

setup_toolchain
need_nightly miri rust-src
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks"
log=$BUILD/miri.log skip=()
for part in "${TOO_SLOW[@]}"; do skip+=(--skip "$part"); done
{
    cargo_nightly miri test --target-dir "$TARGET_DIR/miri" -p mm --lib -- "${skip[@]}" "${@:-${SMALL[@]}}" &&
        { [ $# -gt 0 ] || [ -z "${QUIRE_LONG:-}" ] || cargo_nightly miri test --target-dir "$TARGET_DIR/miri" -p tests --test fuzz -- \
            memblock buddy page_alloc mapper vmalloc; }
} 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
printf 'summary: Miri: %s tests of mm without undefined behaviour\n' "$(grep -c '^test .* ok$' "$log")"
exit "$status"
