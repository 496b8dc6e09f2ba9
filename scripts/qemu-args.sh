#!/usr/bin/env bash
# Prints QEMU's arguments for a board, one a line, for the tests: the board table lives in boards.sh alone.
#
# usage: scripts/qemu-args.sh BOARD [MEM [SMP]]       the last two lines name the device tree (or -) and the initramfs
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/boards.sh"

case $# in
    1 | 2 | 3) ;;
    *) usage_error "usage: scripts/qemu-args.sh BOARD [MEM [SMP]]" ;;
esac
board_select "$1"
[ -z "${2:-}" ] || board_set_mem "$2"
[ -z "${3:-}" ] || board_set_smp "$3"
need_qemu
tree=$(board_tree) || exit 1
initrd=$(initramfs)
board_qemu_args "${tree:-}"
printf '%s\n' "${QEMU_ARGS[@]}" "${tree:--}" "$initrd"
