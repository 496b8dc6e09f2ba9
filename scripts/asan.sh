#!/usr/bin/env bash
# AddressSanitizer over mm's and boot's tests on the host: stress by threads among them.
#
# Whole boots and sequences of operations run under it as fuzz targets (scripts/fuzz.sh). `scripts/asan.sh FILTER...`
# runs only tests whose names hold one; `cpus threads` are those of several threads.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

setup_toolchain
need_nightly rust-src
# Tests leak their arenas on purpose. An own --target keeps build scripts and macros out of it.
export RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
log=$BUILD/asan.log
cargo_nightly test --no-fail-fast --target $HOST --target-dir "$TARGET_DIR/asan" -p mm -p boot --lib -- \
    --skip bring_up::tests --skip random_operations --skip random_requests_of_all_kinds "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
printf 'summary: AddressSanitizer: %s tests of mm and boot clean\n' "$(grep -c '^test .* ok$' "$log")"
exit "$status"
