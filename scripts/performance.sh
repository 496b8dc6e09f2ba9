#!/usr/bin/env bash
# The figures of docs/performance.md, docs/order0-pair.md and README.md, and the plots: holds them against bench/*.tsv,
# or writes them anew with --save.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

case ${1:-} in
    '' | --save) ;;
    -h | --help) echo "usage: scripts/performance.sh [--save]"; exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
esac
setup_toolchain
cargo_host run -q -p tools -- performance "$@"
