#!/usr/bin/env bash
# Miri over mm's tests that fit its speed, with strict provenance: `scripts/miri.sh [FILTER]`.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

# What is random by the thousand, or large: Miri is a thousand times slower than the machine.
TOO_SLOW=(random stress churn large every_ any_ proptest gibibytes threads thousand exhaust whole_machine model
    all_of_ramdom)

setup_toolchain
need_nightly miri rust-src
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks"
log=$BUILD/miri.log skip=()
for part in "${TOO_SLOW[@]}"; do skip+=(--skip "$part"); done
cargo_nightly miri test --target-dir "$TARGET_DIR/miri" -p mm --lib -- "${skip[@]}" "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
printf 'summary: Miri: %s tests of mm without undefined behaviour\n' "$(grep -c '^test .* ok$' "$log")"
exit "$status"
