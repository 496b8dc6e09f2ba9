#!/usr/bin/env bash
# Mutation testing of mm with cargo-mutants: which changes of the code no test notices.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/toolchain.sh"
. "$ROOT/scripts/nightly.sh"

help() {
    cat <<'PAGE'
usage: scripts/mutants.sh [--shard K/N] [--jobs N] [--record] [MODULE|FILE...]
       scripts/mutants.sh --recorded

Mutates modules of mm (memblock buddy page_alloc zone paging by default), or single files of it (buddy/list.rs), and
runs mm's tests on each mutant, those of buddy and page_alloc
that are randomised at a hundredth of their size. Survivors are in build/mutants/*/mutants.out/missed.txt.

  --shard K/N   the K-th of N parts of the mutants, from 0: every N-th one, a sample
  --jobs N      mutants at a time (1)
  --record      writes what each module came to into docs/mutants.tsv, with the shard and the commit
  --recorded    mutates nothing: says what docs/mutants.tsv holds, as the test run's summary does

Mutants that no test can tell from the code are listed in docs/mutants-equivalent.tsv, each with the reason, and left out
of the count.
PAGE
}

shard=() jobs=1 record='' recorded='' parts=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) help; exit 0 ;;
        --shard) [[ ${2:-} =~ ^[0-9]+/[1-9][0-9]*$ ]] || usage_error "--shard takes K/N"; shard=(--shard "$2" --sharding round-robin); shift ;;
        --jobs) [[ ${2:-} =~ ^[1-9]$ ]] || usage_error "--jobs takes a number"; jobs=$2; shift ;;
        --record) record=1 ;;
        --recorded) recorded=1 ;;
        -*) usage_error "unknown option '$1'" ;;
        *) parts+=("$1") ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(memblock buddy page_alloc zone paging)
RECORD=$ROOT/docs/mutants.tsv EQUIVALENT=$ROOT/docs/mutants-equivalent.tsv

# lines_in FILE
lines_in() { if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi; }

# is_equivalent: of the mutants on the standard input, a line each, those that docs/mutants-equivalent.tsv lists.
is_equivalent() {
    awk -F '\t' 'NR == FNR { known[$1 ": " $2]; next } { sub(/:[0-9]+:[0-9]+/, "") } ($0 in known)' "$EQUIVALENT" -
}

# keep MODULE CAUGHT MISSED TIMEOUT UNVIABLE SHARD COMMIT EQUIVALENT: replaces the module's line.
keep() {
    { grep -v "^$1"$'\t' "$RECORD" 2>/dev/null; (IFS=$'\t'; printf '%s\n' "$*"); } | LC_ALL=C sort >"$RECORD.new"
    mv "$RECORD.new" "$RECORD"
}

# tell: a line for each recorded module, and one for all; shares of a sample with Wilson's interval of 95 %.
tell() {
    [ -e "$RECORD" ] || left_out "nothing is recorded yet"
    awk -F '\t' '
        function line(name, caught, missed, shard, commit, same,    n, p, z, middle, half) {
            n = caught + missed
            if (!n) return
            p = caught / n
            z = 1.96
            middle = (p + z * z / (2 * n)) / (1 + z * z / n)
            half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
            printf "summary: mutants %s: %d of %d viable ones caught (%.0f %%", name, caught, n, 100 * p
            if (shard != "0/1") printf "; a sample, 95 %% interval %.0f-%.0f %%", 100 * (middle - half), 100 * (middle + half)
            if (same) printf "; %d equivalent ones left out", same
            printf "), recorded at %s\n", commit
        }
        /^#/ { next }
        {
            line($1, $2 + $4, $3, $6, $7, $8)
            same += $8
            caught += $2 + $4
            missed += $3
            if ($6 != "0/1") sample = $6
            if (!index(commits, $7)) commits = commits (commits ? ", " : "") $7
        }
        END { line("in all", caught, missed, sample ? sample : "0/1", commits, same) }' "$RECORD"
}

# tests_of PART: the tests that are about it, by the beginnings of their names.
tests_of() {
    case ${1%%/*} in
        buddy) echo buddy:: page_alloc:: ;;
        paging) echo paging:: vmalloc:: ;;
        zone) echo zone:: page_alloc:: ;;
        *.rs) echo "${1%.rs}::" ;;
        *) echo "${1%%/*}::" ;;
    esac
}

if [ -n "$recorded" ]; then
    tell
    exit
fi
setup_toolchain
need_tool cargo-mutants 27.1.0
# A mutant is compiled once and run once: the time goes into compiling, so nothing is optimised, and random tests that are
# long then are short. What is caught so is caught by the whole tests, which catch more. The first failure is enough, and
# the tests stop there if they are asked as a nightly compiler's would be.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_INCREMENTAL=1
runner=CARGO_TARGET_${HOST^^}_RUNNER
export "${runner//-/_}=env RUSTC_BOOTSTRAP=1"
# Each job builds in its own copy: in one place for all they would run each other's mutants.
unset CARGO_TARGET_DIR
for part in "${parts[@]}"; do
    case $part in *.rs) files=(--file "mm/src/$part") ;; *) files=(--file "mm/src/$part/**" --file "mm/src/$part.rs") ;; esac
    [ -e "$ROOT/mm/src/$part" ] || usage_error "mm has no '$part'"
    out=$BUILD/mutants/${part//\//-}
    mkdir -p "$out"
    case $part in buddy* | page_alloc* | zone*) export QUIRE_TEST_SCALE=1/100 ;; *) export QUIRE_TEST_SCALE=1 ;; esac
    read -ra tests <<<"$(tests_of "$part")"
    # A mutant that hangs is caught.
    PATH="$TOOLS/bin:$PATH" cargo_host mutants --package mm "${files[@]}" "${shard[@]}" --jobs "$jobs" --output "$out" \
        --no-shuffle --minimum-test-timeout 20 --timeout-multiplier 3 --colors never \
        -- --lib -- "${tests[@]}" --skip churn_leaves -Zunstable-options --fail-fast
    found=$out/mutants.out
    same=$(is_equivalent <"$found/missed.txt" | wc -l)
    caught=$(lines_in "$found/caught.txt") missed=$(($(lines_in "$found/missed.txt") - same))
    hung=$(lines_in "$found/timeout.txt") broken=$(lines_in "$found/unviable.txt")
    viable=$((caught + missed + hung))
    ((viable)) || die "$part: no mutant could be tested (details in ${found#"$ROOT"/})"
    printf 'summary: mutants %s: %d of %d viable ones caught (%d %%), %d do not compile, %d equivalent\n' \
        "$part" $((caught + hung)) $viable $(((caught + hung) * 100 / viable)) "$broken" "$same"
    [ -z "$record" ] ||
        keep "$part" "$caught" "$missed" "$hung" "$broken" "${shard[1]:-0/1}" "$(git -C "$ROOT" rev-parse --short HEAD)" "$same"
done
