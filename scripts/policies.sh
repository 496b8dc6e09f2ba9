#!/usr/bin/env bash
# What each policy of the page allocator costs and is good for: `scripts/policies.sh [--save]`.
# shellcheck disable=SC2016 # backquotes are Markdown's
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"

PAGE=$ROOT/docs/policies.md
BENCHES=pair,burst1000,bulk512,atomic
ROWS=(pair_o0 pair_o1 pair_o3 pair_o6 burst1000_random bulk512 atomic_o3_blocks)

case ${1:-} in
    '' | --save) ;;
    -h | --help)
        echo "usage: scripts/policies.sh [--save]"
        echo "Measures rows of the bench with each policy switched, and prints them; with --save into docs/policies.md."
        exit 0
        ;;
    *) usage_error "unknown option '$1'" ;;
esac

# rows_of ARGUMENT IMAGE: the rows' figures, as cells.
rows_of() {
    local figures row log=$BUILD/policies.log options=(--board "${3:-ast2500}")
    [ -z "$2" ] || options+=(--image "$2")
    "$ROOT/qemu-run.sh" bench --icount "${options[@]}" --append "bench=$BENCHES $1" </dev/null >"$log" 2>&1 ||
        die "the bench with '$1' failed (details in build/policies.log)"
    figures=$(grep '^bench' "$log")
    for row in "${ROWS[@]}"; do
        awk -v row="$row" '$2 == row { printf " %.0f |", $3 }' <<<"$figures" | grep . || printf ' – |'
    done | tr -d '\n'
    echo
}

table() {
    printf '| switched on |'
    printf ' `%s` |' "${ROWS[@]}"
    printf '\n|---|'
    printf -- '--:|%.0s' "${ROWS[@]}"
    printf '\n| nothing: the defaults |%s' "$(rows_of '' '')"
    local argument
    for argument in page_alloc.reserve={off,blocks} page_alloc.{fair_zones,zonelist_cache,check_context}=on \
        sysctl.vm.{zone_reclaim_mode=1,watermark_boost_factor=15000} {init_on_alloc,init_on_free,page_poison,page_owner}=on; do
        printf '\n| `%s` |%s' "$argument" "$(rows_of "$argument" '')"
    done
    printf '\n| feature `pagesets_single` |%s' "$(rows_of '' "$single")"
    printf '\n| two nodes: the defaults |%s' "$(rows_of '' '' virt-numa)"
    printf '\n| two nodes, `page_alloc.zonelist_cache=on` |%s\n' "$(rows_of page_alloc.zonelist_cache=on '' virt-numa)"
}

setup_toolchain
single=$BUILD/pagesets_single/quire.bin
mkdir -p "${single%/*}"
{
    cargo_target build -p kernel --bin kernel --release --features pagesets_single --target-dir "$TARGET_DIR/variants" &&
        "$OBJCOPY" -O binary "$TARGET_DIR/variants/$TARGET/release/kernel" "$single"
} || die "the image does not build"
table=$(table) || exit
printf '%s\n' "$table"
[ -n "${1:-}" ] || exit 0
{
    sed '/^<!-- table -->$/q' "$PAGE"
    printf '%s\n' "$table"
    sed -n '/^<!-- \/table -->$/,$p' "$PAGE"
} >"$PAGE.new" && mv "$PAGE.new" "$PAGE"
