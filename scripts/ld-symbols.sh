#!/usr/bin/env bash
# The image's linker, for rustc: links twice, the second time with the table of the functions that the first link placed
# (mm::fault::symbols says what a line is). The table lies behind all code and constants, so nothing of them moves.
# QUIRE_LD and QUIRE_NM name the tools (scripts/toolchain.sh).
set -euo pipefail

out=
previous=
for argument in "$@"; do
    [ "$previous" != -o ] || out=$argument
    previous=$argument
done
table=$out.symbols

link() { "$QUIRE_LD" "$@" --format=binary "$table" --format=default; }

# Rust's names as people write them, without their hashes. Tools demangle the newer scheme; of the older one they leave this.
readable() {
    # shellcheck disable=SC2016 # the dollars are the names' own
    sed -E 's/ ?\(?\.llvm\.[0-9]+\)?$//; s/::h[0-9a-f]{16}$//; s/\$LT\$/</g; s/\$GT\$/>/g; s/\$C\$/,/g; s/\$u20\$/ /g; s/\$u7b\$/{/g; s/\$u7d\$/}/g
        s/\$u5b\$/[/g; s/\$u5d\$/]/g; s/\$RF\$/\&/g; s/\$BP\$/*/g; s/\$LP\$/(/g; s/\$RP\$/)/g; s/\$u27\$/'"'"'/g
        s/\.\./::/g; s/::_([<{])/::\1/g; s/ _</ </'
}

# Of several names for one address the last: the linker script's own begin with an underscore.
functions() {
    "$QUIRE_NM" -C --defined-only "$out" | readable | sort | {
        base='' last='' line=''
        while read -r address kind name; do
            case $kind in [Tt]) ;; *) continue ;; esac
            : "${base:=$address}"
            [ "$address" = "$last" ] || printf '%s' "$line"
            printf -v line '%06x %s\n' $((0x$address - 0x$base)) "$name"
            last=$address
        done
        printf '%s' "$line"
    }
}

: >"$table"
link "$@"
functions >"$table.new"
mv "$table.new" "$table"
link "$@"
