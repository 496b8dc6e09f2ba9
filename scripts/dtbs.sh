#!/usr/bin/env bash
# Real boards' device trees, from Debian's armmp kernel package, into build/dtbs/: once, without touching the system.
#
# The package is of another architecture: apt works here on lists and a cache of its own under build/.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DTBS=$BUILD/dtbs

private_apt() {
    local tool=$1
    shift
    "$tool" -o APT::Architecture=armhf -o APT::Architectures=armhf -o Dir::State="$BUILD/apt/state" \
        -o Dir::State::status=/dev/null -o Dir::Cache="$BUILD/apt/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=1 -o Acquire::http::Timeout=30 "$@"
}

# The newest 6.1 kernel, whose trees the references were taken with; any newest one where there is no 6.1.
newest_package() {
    private_apt apt-cache pkgnames linux-image- | grep -E '^linux-image-[0-9.]+([+-][^-]+)?-armmp$' | sort -V >"$work/names"
    grep '^linux-image-6\.1\.' "$work/names" | tail -n 1 | grep . || tail -n 1 "$work/names"
}

fetch() {
    mkdir -p "$BUILD/apt/state/lists/partial" "$BUILD/apt/cache/archives/partial"
    private_apt apt-get -q update # a part of it (security) may fail; the look-up judges
    package=$(newest_package)
    [ -n "$package" ] || return 1
    (cd "$work" && private_apt apt-get -q download "$package") || return 1
    dpkg -x "$work"/*.deb "$work/tree" || return 1
    find "$work/tree" -name '*.dtb' -exec mv -t "$work/dtbs" {} +
    [ -n "$(ls "$work/dtbs")" ]
}

[ -e "$DTBS/.package" ] && exit 0
exec 9>"$BUILD/.dtbs.lock"
flock 9 # tests run side by side
[ -e "$DTBS/.package" ] && exit 0
command -v apt-get >/dev/null || die "real boards' device trees come from a Debian package, and there is no apt-get"
say "fetching device trees: Debian's linux-image armmp package for armhf, into build/dtbs"
work=$(mktemp -d "$BUILD/dtbs.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/dtbs"
fetch >"$BUILD/dtbs.log" 2>&1 || die "cannot fetch Debian's armmp device trees: $(tail -n 1 "$BUILD/dtbs.log") (details in build/dtbs.log)"
printf '%s\n' "$package" >"$work/dtbs/.package"
rm -rf "$DTBS"
mv "$work/dtbs" "$DTBS"
