# shellcheck shell=bash disable=SC2034 # what is set here is used by those that source it
# Sourced after lib.sh: finds or installs a Rust toolchain for the host and for armv7a-none-eabi.
#
# Two roads, chosen by what works here; QUIRE_TOOLCHAIN=rustup|debian forces one.
#   rustup  the version that rust-toolchain.toml pins, with its prebuilt core and its own linker
#   debian  the packages rustc-web, cargo-web, rust-web-src: core is built from source, linked with ld.lld
# Afterwards: TOOLCHAIN names the road, cargo_host and cargo_target run cargo (the latter links by ld-symbols.sh, with LLD
# and NM), OBJCOPY makes a raw image, have_cargo_tool tells whether clippy or fmt is there.

TOOLCHAIN=
OBJCOPY='' NM='' LLD=''
DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src lld)
TOOLCHAIN_TROUBLE=()

pinned() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml"; }

find_rustup() {
    command -v rustup && return
    local home=${CARGO_HOME:-$HOME/.cargo}
    [ -x "$home/bin/rustup" ] && printf '%s\n' "$home/bin/rustup"
}

# Prints what the pinned toolchain lacks, as arguments for rustup; nothing when it is whole.
rustup_lacks() {
    local sysroot
    sysroot=$("$RUSTUP" run "$PIN" rustc --print sysroot 2>/dev/null) || { echo toolchain; return; }
    [ -d "$sysroot/lib/rustlib/$TARGET/lib" ] || echo "target $TARGET"
    [ -d "$sysroot/lib/rustlib/src/rust/library" ] || echo "rust-src"
    [ -x "$sysroot/bin/cargo-clippy" ] || echo "clippy"
    [ -x "$sysroot/bin/cargo-fmt" ] || echo "rustfmt"
    set -- "$sysroot"/lib/rustlib/*/bin/llvm-objcopy
    if [ -x "$1" ]; then OBJCOPY_FOUND=$1; else echo "llvm-tools"; fi
}

road_rustup() {
    RUSTUP=$(find_rustup) || { TOOLCHAIN_TROUBLE+=("rustup: not found"); return 1; }
    PIN=$(pinned)
    export RUSTUP_AUTO_INSTALL=0
    local lacks_file=$BUILD/.rustup-lacks
    rustup_lacks >"$lacks_file"
    if [ -s "$lacks_file" ]; then
        say "installing with rustup: Rust $PIN with $TARGET ($(paste -sd, "$lacks_file") missing)"
        timeout 280 "$RUSTUP" toolchain install "$PIN" --profile minimal --no-self-update -t "$TARGET" \
            -c llvm-tools -c rust-src -c clippy -c rustfmt >"$BUILD/rustup.log" 2>&1
        rustup_lacks >"$lacks_file"
        if [ -s "$lacks_file" ]; then
            TOOLCHAIN_TROUBLE+=("rustup: cannot install Rust $PIN ($(tail -n 1 "$BUILD/rustup.log"))")
            return 1
        fi
    fi
    OBJCOPY=$OBJCOPY_FOUND NM=${OBJCOPY_FOUND%/*}/llvm-nm LLD=${OBJCOPY_FOUND%/*}/rust-lld
    need cc="gcc libc6-dev" # the host's linker: build scripts and tests
    TOOLCHAIN=rustup
}

debian_whole() {
    local sysroot
    command -v ld.lld >/dev/null && [ -x /usr/bin/cargo ] || return 1
    sysroot=$(/usr/bin/rustc --print sysroot 2>/dev/null) || return 1
    [ -f "$sysroot/lib/rustlib/src/rust/library/core/src/lib.rs" ]
}

# Debian's compiler must be at least the manifest's rust-version: an old one stops with riddles, not reasons.
debian_new_enough() {
    local have want
    have=$(/usr/bin/rustc --version | cut -d' ' -f2)
    want=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ] && return
    TOOLCHAIN_TROUBLE+=("debian: /usr/bin/rustc is $have, older than $want")
    return 1
}

road_debian() {
    if ! debian_whole || ! debian_new_enough; then
        TOOLCHAIN_TROUBLE=()
        if ! apt_install "${DEBIAN_PACKAGES[@]}" || ! debian_whole; then
            TOOLCHAIN_TROUBLE+=("debian: cannot install ${DEBIAN_PACKAGES[*]} (details in build/apt.log)")
            return 1
        fi
        # An index from before the security updates offers an older compiler.
        if ! debian_new_enough; then
            apt_refresh
            apt_install "${DEBIAN_PACKAGES[@]}"
            TOOLCHAIN_TROUBLE=()
            debian_new_enough || return 1
        fi
    fi
    if ! command -v llvm-objcopy >/dev/null; then
        need arm-none-eabi-objcopy=binutils-arm-none-eabi
    fi
    need cc="gcc libc6-dev"
    OBJCOPY=$(command -v llvm-objcopy || command -v arm-none-eabi-objcopy)
    NM=$(command -v llvm-nm || command -v arm-none-eabi-nm) LLD=ld.lld
    # Not through rustup's stand-ins on PATH: they would look for the pinned version.
    unset RUSTUP_TOOLCHAIN
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc PATH="/usr/bin:$PATH"
    TOOLCHAIN=debian
}

# setup_toolchain: chooses and prepares; ends the script with one line when there is none to be had.
setup_toolchain() {
    TOOLCHAIN_TROUBLE=()
    case ${QUIRE_TOOLCHAIN:-} in
        rustup) road_rustup ;;
        debian) road_debian ;;
        '')
            road_rustup || {
                say "${TOOLCHAIN_TROUBLE[*]}; trying Debian's packages"
                road_debian
            } ;;
        *) usage_error "QUIRE_TOOLCHAIN is rustup or debian, not '$QUIRE_TOOLCHAIN'" ;;
    esac || die "no Rust toolchain: $(IFS=';'; printf '%s' "${TOOLCHAIN_TROUBLE[*]}")"
}

# cargo_host ARGUMENT...: cargo for this machine.
cargo_host() {
    case $TOOLCHAIN in
        rustup) (cd "$ROOT" && "$RUSTUP" run "$PIN" cargo "$@") ;;
        debian) (cd "$ROOT" && /usr/bin/cargo "$@") ;;
    esac
}

# cargo_target SUBCOMMAND ARGUMENT...: cargo for the image's target.
cargo_target() {
    local sub=$1
    shift
    local -x QUIRE_LD=$LLD QUIRE_NM=$NM CARGO_TARGET_ARMV7A_NONE_EABI_LINKER=$ROOT/scripts/ld-symbols.sh
    case $TOOLCHAIN in
        rustup) cargo_host "$sub" --target "$TARGET" "$@" ;;
        debian)
            RUSTC_BOOTSTRAP=1 cargo_host "$sub" \
                -Zbuild-std=core,alloc,compiler_builtins -Zbuild-std-features=compiler-builtins-mem \
                --target "$TARGET" "$@" ;;
    esac
}

# have_cargo_tool clippy|fmt: the debian road may lack them.
have_cargo_tool() {
    case $TOOLCHAIN in
        rustup) return 0 ;;
        debian) [ -x "/usr/bin/cargo-$1" ] ;;
    esac
}
