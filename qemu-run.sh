#!/usr/bin/env bash
# Builds the image and runs it under QEMU: `./qemu-run.sh --help` tells all.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/scripts/lib.sh"
. "$ROOT/scripts/boards.sh"

help() {
    cat <<'PAGE'
usage: ./qemu-run.sh [boot|bench|monitor|gdb] [OPTION...]

Builds the image, installing what that takes, and runs it on an emulated board.

  boot      (default) shows the boot log and runs the self-tests in the image. The exit status is the verdict:
            0 when every self-test passed; 1 on a failed one, a panic, a boot that stopped or a QEMU that died;
            124 on a hang. Each failure gives its reason in one line.
  bench     measures, and prints one line each: bench<TAB>NAME<TAB>COUNT. Use --icount for guest instructions, which
            repeat exactly. Without --board and --mem it measures 512 MiB on ast2500, 2 GiB and 64 MiB on vexpress-a15,
            writes the rows to build/bench.tsv, and with --save to bench/baseline.tsv, which the test run compares with.
            With --core compact it is 512 MiB on ast2500, build/bench-compact.tsv and bench/compact.tsv.
  monitor   a prompt on the board's console (not there yet)
  gdb       stops before the first instruction and waits for a debugger, with symbols loaded

  --board NAME    ast2500      vexpress-a15 dressed as an AST2500: 512 MiB at 0x80000000 (default)
                  vexpress-a15 the same machine with its own device tree
                  virt         RAM at 0x40000000, QEMU's own device tree
                  virt-numa    the same in two nodes, with 2 CPUs
                  raspi2b      RAM at 0, 1 GiB and 4 CPUs
  --smp N         number of CPUs (default 1; raspi2b always 4)
  --mem SIZE      RAM, such as 64M or 2G
  --dtb FILE      a device tree in place of the board's
  --initrd FILE   an initial file system in place of the small one made here
  --append ARGS   further arguments for the image, such as highmem=off or selftest=none
  --image FILE    a raw image in place of the one built here
  --debug         the debug image: every check on, less optimised
  --core NAME     the image with this free-list core: classic (default) or compact
  --icount        one instruction is one nanosecond of virtual time: -icount shift=0
  --save          bench --icount: makes what was measured the committed baseline
  --timeout S     seconds after which a run counts as hung (default 120; bench 300; gdb 3600)
  --port N        gdb: the TCP port (default 1234)
  -h, --help      this page

Environment: QUIRE_TOOLCHAIN=rustup|debian forces a toolchain; CARGO_TARGET_DIR is honoured.
Files: build/<release|debug>[-compact]/quire.bin is the image, quire.elf its symbols; build/boot.log
and build/bench.log are the last logs, with -compact in the name those of that core.
PAGE
}

# --- the command line -----------------------------------------------------------------------------------------------

command=boot profile=release core=classic board=ast2500 board_given='' smp='' mem='' dtb='' initrd='' image='' append=''
icount='' save='' limit='' port=1234

is_number() { [[ $1 =~ ^[1-9][0-9]{0,5}$ ]]; }

read_file_option() { if [ ! -r "$2" ] || [ ! -f "$2" ]; then usage_error "$1: cannot read '$2'"; fi; }

parse_command_line() {
    local option value
    case ${1:-} in
        boot | bench | monitor | gdb) command=$1; shift ;;
        -*) ;;
        ?*) usage_error "unknown command '$1': there are boot, bench, monitor, gdb" ;;
    esac
    while [ $# -gt 0 ]; do
        option=$1 value=
        shift
        case $option in
            -h | --help) help; exit 0 ;;
            --debug) profile=debug; continue ;;
            --icount) icount=1; continue ;;
            --save) save=1; continue ;;
            --board=* | --smp=* | --mem=* | --dtb=* | --initrd=* | --image=* | --append=* | --timeout=* | --port=* | --core=*)
                value=${option#*=} option=${option%%=*} ;;
            --board | --smp | --mem | --dtb | --initrd | --image | --append | --timeout | --port | --core)
                [ $# -gt 0 ] || usage_error "$option needs a value"
                value=$1
                shift ;;
            *) usage_error "unknown option '$option'" ;;
        esac
        case $option in
            --board) board=$value board_given=1 ;;
            --smp) smp=$value ;;
            --mem) mem=$value ;;
            --dtb) read_file_option "$option" "$value"; dtb=$value ;;
            --initrd) read_file_option "$option" "$value"; initrd=$value ;;
            --image) read_file_option "$option" "$value"; image=$value ;;
            --append) append+="${append:+ }$value" ;;
            --timeout) is_number "$value" || usage_error "--timeout takes seconds, not '$value'"; limit=$value ;;
            --core) [[ $value =~ ^(classic|compact)$ ]] || usage_error "--core takes classic or compact, not '$value'"
                core=$value ;;
            --port) is_number "$value" || usage_error "--port takes a TCP port, not '$value'"; port=$value ;;
        esac
    done
}

select_board() {
    board_select "$1"
    [ -z "$2" ] || board_set_mem "$2"
    [ -z "$smp" ] || board_set_smp "$smp"
}

# However the script ends, QEMU ends with it.
QEMU_PID=
ERRORS=
clean_up() {
    [ -z "$QEMU_PID" ] || kill "$QEMU_PID" 2>/dev/null
    rm -f "$ERRORS"
}

# --- a run ----------------------------------------------------------------------------------------------------------

# qemu_command BOOTARGS EXTRA...: sets QEMU to the whole command.
qemu_command() {
    local bootargs=$1
    shift
    board_qemu_args "$dtb"
    QEMU=(qemu-system-arm "${QEMU_ARGS[@]}" -semihosting-config 'enable=on,target=native'
        -kernel "${image:-$BUILT/quire.bin}" -initrd "${initrd:-$(initramfs)}"
        -append "$bootargs${append:+ $append}" "$@")
    [ -z "$icount" ] || QEMU+=(-icount shift=0)
}

# A line without the logger's "[    0.012345] ".
unstamped() { [[ $1 =~ ^\[\ *[0-9]+\.[0-9]+\]\ (.*)$ ]] && printf '%s' "${BASH_REMATCH[1]}" || printf '%s' "$1"; }

# watch SHOW: runs QEMU and hands each line to SHOW. Sets STATUS, VERDICT, LAST_WORD (a panic or a stopped boot), STUCK.
# An image that has said its last word but goes on running (it may have no semihosting) is given three seconds.
watch() {
    local show=$1 line text console end patience=()
    STATUS='' VERDICT='' LAST_WORD='' STUCK=''
    : >"$LOG"
    exec {console}< <(exec timeout -k 5 "$limit" "${QEMU[@]}" </dev/null 2>"$ERRORS")
    QEMU_PID=$!
    while :; do
        IFS= read -r "${patience[@]}" line <&"$console"
        end=$?
        [ $end -le 128 ] || { STUCK=1; kill "$QEMU_PID"; }
        # The last line may lack its end.
        [ $end = 0 ] || [ -n "$line" ] || break
        line=${line%$'\r'}
        printf '%s\n' "$line" >>"$LOG"
        "$show" "$line"
        text=$(unstamped "$line")
        case $text in
            panic:* | boot:*) [[ $LAST_WORD == panic:* ]] || LAST_WORD=$text ;;
        esac
        [[ $text =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]] && VERDICT=$text
        [ -z "$LAST_WORD$VERDICT" ] || patience=(-t 3)
        [ $end = 0 ] || break
    done
    wait "$QEMU_PID"
    STATUS=$?
    QEMU_PID=
    exec {console}<&-
}

fail() { printf 'FAILED: %s\n' "$1"; exit "${2:-1}"; }

# What QEMU itself had to say, in one line.
qemu_error() { grep -v 'audio\|ALSA' "$ERRORS" | tail -n 1; }

# Ends the script on anything that is a failure whatever the command was.
refuse_bad_end() {
    [[ $LAST_WORD == panic:* ]] && fail "$LAST_WORD"
    [ "$STATUS" = 124 ] || [ "$STATUS" = 137 ] && fail "hung: no end after $limit s" 124
    [ -n "$VERDICT" ] || [ -z "$LAST_WORD" ] || fail "the boot stopped: $LAST_WORD"
    if [ "$STATUS" != 0 ] && [ -z "$VERDICT" ]; then
        local said
        said=$(qemu_error)
        fail "no verdict: QEMU ended with status $STATUS${said:+: $said}"
    fi
}

show_line() { printf '%s\n' "$1"; }

boot() {
    limit=${limit:-120}
    select_board "$board" "$mem"
    qemu_command 'semihosting=on'
    watch show_line
    refuse_bad_end
    [ -n "$VERDICT" ] || fail "no verdict: the image ended without its 'N passed, N failed' line"
    [[ $VERDICT == *', 0 failed' ]] || fail "self-tests: $VERDICT"
    [ -z "$LAST_WORD" ] || fail "after its verdict: $LAST_WORD"
    if [ -n "$STUCK" ]; then
        [[ $append == *semihosting=off* ]] || fail "the image passed its self-tests but did not end"
    elif [ "$STATUS" != 0 ]; then
        fail "the image passed its self-tests but ended with status $STATUS"
    fi
}

# Prints a figure, the first time that its name comes.
declare -A FIGURES=()
ROWS=()
figures_seen=0
show_figure() {
    local tag name _
    IFS=$'\t' read -r tag name _ <<<"$1"
    [ "$tag" = bench ] || return 0
    figures_seen=$((figures_seen + 1))
    [ -z "${FIGURES[$name]:-}" ] || return 0
    FIGURES[$name]=1
    ROWS+=("${1#*$'\t'}")
    printf '%s\n' "$1"
}

# bench_once BOARD MEM [ROWS]
bench_once() {
    figures_seen=0
    select_board "$1" "$2"
    qemu_command "semihosting=on bench=${3:-all} selftest=none"
    watch show_figure
    refuse_bad_end
    [ "$STATUS" = 0 ] || fail "the image ended with status $STATUS"
    ((figures_seen)) || fail "no figures from board $1, $BOARD_MEM"
}

# Whether the run is the one whose rows are kept: all of them, exact, from the image as it is.
comparable() { [ "$icount:$profile:$board_given$mem$smp$dtb$image$append" = 1:release: ]; }

# keep MEASURED BASELINE: what the rows of a whole run are for.
keep() {
    ! comparable || printf '%s\n' "${ROWS[@]}" >"$BUILD/$1"
    [ -z "$save" ] || cp "$BUILD/$1" "$ROOT/bench/$2"
}

bench() {
    limit=${limit:-300}
    if [ -n "$board_given$mem" ]; then
        bench_once "$board" "$mem"
    elif [ "$core" = compact ]; then
        bench_once ast2500 512M
        keep bench-compact.tsv compact.tsv
    else
        bench_once ast2500 512M
        bench_once vexpress-a15 2G
        bench_once vexpress-a15 64M boot
        keep bench.tsv baseline.tsv
    fi
}

gdb() {
    limit=${limit:-3600}
    select_board "$board" "$mem"
    qemu_command 'semihosting=on' -S -gdb "tcp:127.0.0.1:$port"
    local debugger=(gdb-multiarch -q "$BUILT/quire.elf" -ex "target remote 127.0.0.1:$port")
    if [ -t 0 ] && [ -t 1 ]; then
        need gdb-multiarch=gdb-multiarch
        say "the console goes to build/gdb.log"
        # In a session of its own: an interrupt typed at the debugger is not QEMU's.
        setsid timeout -k 5 "$limit" "${QEMU[@]}" >"$LOG" 2>"$ERRORS" </dev/null &
        QEMU_PID=$!
        "${debugger[@]}"
    else
        say "QEMU waits on port $port for $limit s: ${debugger[*]@Q}"
        exec timeout -k 5 "$limit" "${QEMU[@]}" </dev/null
    fi
}

parse_command_line "$@"
if [ -n "$save" ] && ! { [ "$command" = bench ] && comparable; }; then
    usage_error "--save goes with 'bench --icount' and nothing else: the baseline holds every row"
fi
[ "$command" != monitor ] || { echo "$ME: the monitor comes later" >&2; exit 2; }
select_board "$board" "$mem" # a wrong name or size is told before anything is built
LOG=$BUILD/$command.log
[ "$core" = classic ] || LOG=$BUILD/$command-$core.log # benches of both cores may run side by side
trap clean_up EXIT
trap 'exit 130' INT TERM
ERRORS=$(mktemp)
need_qemu
BUILT=$BUILD/$profile
flags=()
[ $profile = release ] || flags+=(--debug)
[ "$core" = classic ] || { flags+=(--core "$core"); BUILT+=-$core; }
[ -n "$image" ] || "$ROOT/scripts/build.sh" "${flags[@]}" || exit 1
$command
