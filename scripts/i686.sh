#!/usr/bin/env bash
# The fuzz bodies, and the tests of device trees and memblock, as 32-bit programs: lengths wrap there as on the target.
#
# Linked by the toolchain's own linker against musl: no 32-bit C compiler is needed.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

TRIPLE=i686-unknown-linux-musl
setup_toolchain
need_rustup
if ! [ -d "$("$RUSTUP" run "$PIN" rustc --print sysroot)/lib/rustlib/$TRIPLE/lib" ]; then
    say "installing with rustup: $TRIPLE"
    timeout 280 "$RUSTUP" target add --toolchain "$PIN" "$TRIPLE" >"$BUILD/rustup.log" 2>&1 ||
        left_out "cannot install $TRIPLE ($(tail -n 1 "$BUILD/rustup.log"))"
fi
export CARGO_TARGET_I686_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
log=$BUILD/i686.log
# Most are built at once, and nobody looks at them with a debugger.
export CARGO_PROFILE_DEV_DEBUG=0
{
    cargo_host test --no-run --target $TRIPLE -p tests -p mm --lib --test fuzz &&
        cargo_host test --no-fail-fast --target $TRIPLE -p tests --test fuzz -- "$@" &&
        cargo_host test --no-fail-fast --target $TRIPLE -p boot --lib -- fdt:: cmdline:: "$@" &&
        cargo_host test --no-fail-fast --target $TRIPLE -p mm --lib -- memblock:: addr:: vmalloc:: paging:: "$@"
} 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
printf 'summary: 32-bit build: %s tests passed\n' \
    "$(sed -n 's/^test result:.* \([0-9]\+\) passed;.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')"
exit "$status"
