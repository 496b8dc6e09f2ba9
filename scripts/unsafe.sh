#!/usr/bin/env bash
# The ledger of unsafe code, docs/unsafe.md: holds it against the code, or writes it anew with --save.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

case ${1:-} in
    '' | --save) ;;
    -h | --help) echo "usage: scripts/unsafe.sh [--save]"; exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
esac
setup_toolchain
cargo_host run -q -p tools -- unsafe "$@"
