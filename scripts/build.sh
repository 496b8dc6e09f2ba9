#!/usr/bin/env bash
# Builds the image: build/<release|debug>[-compact]/quire.elf (symbols) and quire.bin (what a boot loader loads).
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

profile=release core=classic
while [ $# -gt 0 ]; do
    case $1 in
        --debug) profile=debug ;;
        --core) core=${2:-} && shift ;;
        -h | --help) echo "usage: scripts/build.sh [--debug] [--core classic|compact]"; exit 0 ;;
        *) usage_error "unknown option '$1'" ;;
    esac
    shift
done

# The symbols are large: leave the copy alone when nothing changed.
copy_if_new() { cmp -s "$1" "$2" || cp "$1" "$2"; }

setup_toolchain
out=$BUILD/$profile artefacts=$TARGET_DIR
flags=(-p kernel --bin kernel)
[ $profile = release ] && flags+=(--release)
# For a debugger.
export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-2}
case $core in
    classic) ;;
    # With a directory of its own, neither image is built anew because of the other.
    compact) out+=-compact artefacts=$TARGET_DIR/variants flags+=(--features core_compact --target-dir "$artefacts") ;;
    *) usage_error "--core takes classic or compact, not '$core'" ;;
esac
mkdir -p "$out"
cargo_target build "${flags[@]}" || die "the $profile image does not build"

copy_if_new "$artefacts/$TARGET/$profile/kernel" "$out/quire.elf" || die "cannot write $out"
if [ ! -e "$out/quire.bin" ] || [ "$out/quire.elf" -nt "$out/quire.bin" ]; then
    "$OBJCOPY" -O binary "$out/quire.elf" "$out/quire.bin" || die "$OBJCOPY failed on $out/quire.elf"
fi
printf '%s: %d bytes, symbols in quire.elf: %d bytes\n' \
    "${out#"$ROOT/"}/quire.bin" "$(stat -c %s "$out/quire.bin")" "$(stat -c %s "$out/quire.elf")" >&2
