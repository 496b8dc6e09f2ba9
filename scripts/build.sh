#!/usr/bin/env bash
# Builds the image: build/<release|debug>/quire.elf (symbols) and quire.bin (what a boot loader loads).
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

profile=release
for argument in "$@"; do
    case $argument in
        --debug) profile=debug ;;
        -h | --help) echo "usage: scripts/build.sh [--debug]"; exit 0 ;;
        *) usage_error "unknown option '$argument'" ;;
    esac
done

# The symbols are large: leave the copy alone when nothing changed.
copy_if_new() { cmp -s "$1" "$2" || cp "$1" "$2"; }

setup_toolchain
out=$BUILD/$profile
mkdir -p "$out"
flags=(-p kernel --bin kernel)
[ $profile = release ] && flags+=(--release)
cargo_target build "${flags[@]}" || die "the $profile image does not build"

copy_if_new "$TARGET_DIR/$TARGET/$profile/kernel" "$out/quire.elf" || die "cannot write $out"
if [ ! -e "$out/quire.bin" ] || [ "$out/quire.elf" -nt "$out/quire.bin" ]; then
    "$OBJCOPY" -O binary "$out/quire.elf" "$out/quire.bin" || die "$OBJCOPY failed on $out/quire.elf"
fi
printf '%s: %d bytes, symbols in quire.elf: %d bytes\n' \
    "build/$profile/quire.bin" "$(stat -c %s "$out/quire.bin")" "$(stat -c %s "$out/quire.elf")" >&2
