#!/usr/bin/env bash
# loom: every interleaving, and every order that the memory model allows, over what CPUs share (loom/).
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

setup_toolchain
log=$BUILD/loom.log
cargo_host test --manifest-path loom/Cargo.toml --target-dir "$TARGET_DIR/loom" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
printf 'summary: loom: %s models hold\n' "$(grep -c '^test .* ok$' "$log")"
exit "$status"
