# shellcheck shell=bash disable=SC2034 # what is set here is used by those that source it
# Sourced after toolchain.sh: nightly Rust and cargo's own tools, for proofs that stable Rust cannot give.
#
# Both need rustup: on the other road a proof is left out, in one line, with status 77.

NIGHTLY=nightly-2026-05-20
HOST=x86_64-unknown-linux-gnu
TOOLS=$BUILD/tools
LEFT_OUT=77

# left_out WHY: ends the script with the one line.
left_out() { printf 'left out: %s\n' "$*"; exit $LEFT_OUT; }

# need_rustup: for a proof of the pinned toolchain that Debian's lacks a part for.
need_rustup() { [ "$TOOLCHAIN" = rustup ] || left_out "it takes rustup, and this is the $TOOLCHAIN toolchain"; }

# nightly_has COMPONENT|TARGET...: whether the pinned nightly is there with all of them.
nightly_has() {
    local installed part
    installed=$("$RUSTUP" component list --toolchain "$NIGHTLY" --installed 2>/dev/null) || return 1
    for part in "$@"; do grep -q "^\(rust-std-\)\?$part\(-$HOST\)\?$" <<<"$installed" || return 1; done
}

# need_nightly COMPONENT...: the pinned nightly with these components; `target=TRIPLE` is a target.
need_nightly() {
    need_rustup
    local part wanted=() install=()
    for part in "$@"; do
        case $part in
            target=*) install+=(-t "${part#target=}") wanted+=("${part#target=}") ;;
            *) install+=(-c "$part") wanted+=("$part") ;;
        esac
    done
    nightly_has "${wanted[@]}" && return
    say "installing with rustup: $NIGHTLY with $*"
    # Proofs run side by side; rustup does not.
    flock "$BUILD/.nightly.lock" timeout 280 "$RUSTUP" toolchain install "$NIGHTLY" --profile minimal --no-self-update \
        "${install[@]}" >"$BUILD/nightly.log" 2>&1
    nightly_has "${wanted[@]}" || left_out "cannot install $NIGHTLY with $* ($(tail -n 1 "$BUILD/nightly.log"))"
}

# cargo_nightly ARGUMENT...: the pinned nightly's cargo, in the repository.
cargo_nightly() { (cd "$ROOT" && "$RUSTUP" run "$NIGHTLY" cargo "$@"); }

# need_tool NAME VERSION: cargo's tool NAME of this very version, in build/tools.
need_tool() {
    need_rustup
    grep -qs "^\"$1 $2 " "$TOOLS/.crates.toml" && return
    say "building $1 $2, into build/tools"
    cargo_host install "$1" --version "=$2" --locked --root "$TOOLS" --target-dir "$TARGET_DIR/tools" >"$BUILD/$1.log" 2>&1 ||
        left_out "cannot build $1 $2 ($(tail -n 1 "$BUILD/$1.log"))"
    rm -rf "$TARGET_DIR/tools"
}

# with_tools COMMAND...: runs it with build/tools before all else on PATH.
with_tools() { PATH="$TOOLS/bin:$PATH" "$@"; }
