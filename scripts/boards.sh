# shellcheck shell=bash disable=SC2034 # what is set here is used by those that source it
# Sourced after lib.sh: the table of boards, and what each needs to boot our image under QEMU.

BOARDS=(ast2500 vexpress-a15 virt virt-numa raspi2b)

# board_select NAME: sets the defaults that the caller may then change.
#   BOARD_MACHINE, BOARD_CPU     QEMU's -M and -cpu (empty: the machine's own)
#   BOARD_MEM, BOARD_SMP         default -m and -smp
#   BOARD_MEM_FIXED, BOARD_SMP_MAX
#   BOARD_TREE                   ours (dts/), debian (a real board's), none (QEMU's own)
#   BOARD_EXTRA                  further arguments for QEMU
board_select() {
    BOARD=$1 BOARD_CPU='' BOARD_MEM=512M BOARD_SMP=1 BOARD_SMP_MAX=4 BOARD_MEM_FIXED='' BOARD_TREE='' BOARD_EXTRA=()
    case $1 in
        ast2500) # the primary board: a vexpress-a15 in an AST2500's clothes
            BOARD_MACHINE=vexpress-a15 BOARD_CPU=cortex-a15 BOARD_TREE=ours ;;
        vexpress-a15) # the same machine with its own tree, which names two CPUs
            BOARD_MACHINE=vexpress-a15 BOARD_CPU=cortex-a15 BOARD_SMP_MAX=2 BOARD_TREE=debian:vexpress-v2p-ca15-tc1 ;;
        virt) # RAM at 0x4000_0000
            BOARD_MACHINE=virt BOARD_CPU=cortex-a15 BOARD_SMP_MAX=8 BOARD_TREE=none BOARD_EXTRA=(-nic none) ;;
        virt-numa) # the same in two nodes, each with half of RAM and of the CPUs; one CPU leaves node 1 without
            BOARD_MACHINE=virt BOARD_CPU=cortex-a15 BOARD_SMP=2 BOARD_SMP_MAX=8 BOARD_TREE=none BOARD_EXTRA=(-nic none) ;;
        raspi2b) # RAM at 0; the machine has 1 GiB and four CPUs, or does not start
            BOARD_MACHINE=raspi2b BOARD_MEM=1G BOARD_MEM_FIXED=1G BOARD_SMP=4 BOARD_TREE=debian:bcm2836-rpi-2-b ;;
        *) usage_error "unknown board '$1': there are ${BOARDS[*]}" ;;
    esac
}

# bytes_of SIZE: prints 512M, 2G, 65536K or a plain number of bytes as a number; fails on anything else.
bytes_of() {
    [[ $1 =~ ^([1-9][0-9]{0,11})([KMGkmg]?)$ ]] || return 1
    case ${BASH_REMATCH[2]} in
        [Kk]) echo $((BASH_REMATCH[1] << 10)) ;;
        [Mm]) echo $((BASH_REMATCH[1] << 20)) ;;
        [Gg]) echo $((BASH_REMATCH[1] << 30)) ;;
        *) echo "${BASH_REMATCH[1]}" ;;
    esac
}

board_set_mem() {
    local bytes
    bytes=$(bytes_of "$1") || usage_error "--mem takes a size such as 512M or 2G, not '$1'"
    # A bare number is megabytes to QEMU: always hand it one with a unit.
    if [ -n "$BOARD_MEM_FIXED" ] && [ "$bytes" != "$(bytes_of "$BOARD_MEM_FIXED")" ]; then
        usage_error "board $BOARD has $BOARD_MEM_FIXED, no more and no less"
    fi
    ((bytes % 1048576 == 0)) || usage_error "--mem takes whole megabytes, not '$1'"
    BOARD_MEM=$((bytes >> 20))M
}

board_set_smp() {
    [[ $1 =~ ^[1-9][0-9]?$ ]] || usage_error "--smp takes a number of CPUs, not '$1'"
    (($1 <= BOARD_SMP_MAX)) || usage_error "board $BOARD has at most $BOARD_SMP_MAX CPUs, not $1"
    [ "$BOARD" != raspi2b ] || [ "$1" = 4 ] || usage_error "board raspi2b has 4 CPUs, no more and no less"
    BOARD_SMP=$1
}

# Our tree with as many CPUs as the machine is given.
ast2500_tree() {
    local cpus=$1 dtb=$BUILD/ast2500-${1}cpu.dtb cpu
    if [ ! -e "$dtb" ] || [ "$ROOT/dts/ast2500.dts" -nt "$dtb" ]; then
        need_dtc
        {
            echo '/include/ "ast2500.dts"'
            for cpu in 0 1 2 3; do ((cpu < cpus)) || echo "/delete-node/ &cpu$cpu;"; done
        } | dtc -q -I dts -O dtb -i "$ROOT/dts" -o "$dtb.new.$$" - || die "dts/ast2500.dts does not compile"
        mv "$dtb.new.$$" "$dtb"
    fi
    printf '%s\n' "$dtb"
}

# board_tree: prints the path of the board's device tree; nothing where QEMU brings its own.
board_tree() {
    case $BOARD_TREE in
        ours) ast2500_tree "$BOARD_SMP" ;;
        debian:*)
            "$ROOT/scripts/dtbs.sh" || exit 1
            printf '%s\n' "$BUILD/dtbs/${BOARD_TREE#debian:}.dtb" ;;
    esac
}

# numa_args: prints what splits the machine into two nodes, one argument a line.
numa_args() {
    local half=$((${BOARD_MEM%M} / 2)) near=$(((BOARD_SMP + 1) / 2)) node cpus=()
    cpus[0]=,cpus=0-$((near - 1))
    ((BOARD_SMP == near)) || cpus[1]=,cpus=$near-$((BOARD_SMP - 1))
    for node in 0 1; do
        printf '%s\n' -object "memory-backend-ram,id=node$node,size=${half}M" \
            -numa "node,nodeid=$node,memdev=node$node${cpus[node]:-}"
    done
    printf '%s\n' -numa dist,src=0,dst=1,val=15
}

# board_qemu_args [DTB]: sets QEMU_ARGS, all but the image, the initrd and the kernel's arguments.
board_qemu_args() {
    local tree=${1:-}
    if [ -z "$tree" ]; then tree=$(board_tree) || exit 1; fi
    QEMU_ARGS=(-M "$BOARD_MACHINE" -m "$BOARD_MEM" -smp "$BOARD_SMP" -display none -monitor none -serial stdio)
    [ -z "$BOARD_CPU" ] || QEMU_ARGS+=(-cpu "$BOARD_CPU")
    [ -z "$tree" ] || QEMU_ARGS+=(-dtb "$tree")
    QEMU_ARGS+=("${BOARD_EXTRA[@]}")
    if [ "$BOARD" = virt-numa ]; then
        local numa
        mapfile -t numa < <(numa_args)
        QEMU_ARGS+=("${numa[@]}")
    fi
}

# newc_entry NAME MODE DATA: one record of a cpio archive; every number in it is 8 hexadecimal digits.
newc_entry() {
    local name=$1 mode=$2 data=$3 pad
    newc_inode=$((newc_inode + 1))
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' \
        $newc_inode "$mode" 0 0 1 0 ${#data} 0 0 0 0 $((${#name} + 1)) 0
    printf '%s\0' "$name"
    for ((pad = (110 + ${#name} + 1) % 4; pad % 4; pad++)); do printf '\0'; done
    printf '%s' "$data"
    for ((pad = ${#data} % 4; pad % 4; pad++)); do printf '\0'; done
}

# initramfs: prints the path of a small one, made by hand: a fresh machine has no cpio.
initramfs() {
    local file=$BUILD/initramfs.cpio
    if [ ! -e "$file" ]; then
        newc_inode=0
        {
            newc_entry motd $((8#100644)) "$(printf 'An initial file system for Quire.%.0s\n' {1..1024})"
            newc_entry 'TRAILER!!!' 0 ''
        } >"$file.new.$$"
        mv "$file.new.$$" "$file"
    fi
    printf '%s\n' "$file"
}
