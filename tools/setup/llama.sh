#!/usr/bin/env bash
# Brings libllama, ggml and minja for shoal-engine, and nothing else. Used by ./run; can be called alone.
#
#   tools/setup/llama.sh [--prefix DIR] [--with-tools]
#
# The order: SHOAL_LLAMA_PREFIX as it is; a system-wide libllama; the system's own packages, where its release has
# them and we may install; else a private prefix (default build/llama) filled from Debian's unstable suite, taken from
# the mirror that the system's own sources name and checked by apt against the Debian archive keyring. The system's
# apt state is not touched. What was taken is written to DIR/packages.txt: name, version, SHA-256.
#
# Quiet, except one line when it fetches; a second call fetches nothing. --with-tools adds llama.cpp's own programs,
# which the benches measure against. Exit 1 with one line when it cannot be had.
set -euo pipefail

tested_llama='1:0.7.0+dfsg-2'
tested_ggml='0.27.0-1'
prefix=build/llama
tools=no
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a folder}; shift 2 ;;
        --with-tools) tools=yes; shift ;;
        -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "llama.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
done

say() { echo "llama.sh: $*" >&2; }
die() { say "$*"; exit 1; }
has_llama() { compgen -G "$1/lib/*/cmake/llama/llama-config.cmake" >/dev/null ||
    [ -e "$1/lib/cmake/llama/llama-config.cmake" ]; }
has_minja() { [ -e "$1/include/minja/minja.hpp" ] || [ -e "$1/include/google/minja/minja.hpp" ]; }

if [ -n "${SHOAL_LLAMA_PREFIX:-}" ]; then
    has_llama "$SHOAL_LLAMA_PREFIX/usr" || has_llama "$SHOAL_LLAMA_PREFIX" ||
        die "SHOAL_LLAMA_PREFIX=$SHOAL_LLAMA_PREFIX holds no llama-config.cmake; unset it to get a private copy"
    exit 0
fi
for root in /usr /usr/local; do
    if has_llama $root && has_minja $root; then exit 0; fi
done

runtime='libc6 libgcc-s1 libstdc++6 libgomp1 libggml0 libllama0 libggml0-backend-rpc'
headers='libggml-dev libllama-dev libminja-dev'
# For GPUs, and loaded by nobody who did not ask for one: 4 MB, 41 unpacked. The build and the tests do without.
gpu='libggml0-backend-vulkan libvulkan1'
wanted="$runtime $headers $gpu"
# The tools also want TLS, and what that wants.
[ $tools = no ] || wanted="$wanted llama.cpp-tools llama.cpp-tools-extra llama.cpp-tests libssl3t64 zlib1g libzstd1"

stamp=$prefix/packages.txt
missing=
for package in $wanted; do
    grep -q "^$package " "$stamp" 2>/dev/null || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$missing" = " $gpu" ]; then
    # Nothing that the build needs: without a network it goes on.
    die() { say "$*; going on without the Vulkan back end (--gpu)"; exit 0; }
fi

command -v apt-get >/dev/null || die "no apt here: install llama.cpp 0.7 yourself and name it by SHOAL_LLAMA_PREFIX"
if [ "$(id -u)" = 0 ] && [ $tools = no ] &&
    [ "$(apt-cache policy libllama-dev libminja-dev 2>/dev/null | grep -c 'Candidate: [^(]')" = 2 ]; then
    say "installing libllama-dev and libminja-dev of this system's release"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libllama-dev libminja-dev >/dev/null ||
        die "apt-get install libllama-dev libminja-dev failed; run it by hand to see why"
    exit 0
fi

# The mirror of the system's own main suite: not of its security or update pockets. Lists that were never fetched
# carry no origin, so the sources' own words decide then.
# shellcheck disable=SC2016 # apt's own variables
{
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' \
    2>/dev/null | awk '$4 == "Debian" && $3 == "main" && $2 !~ /-/ { print $1; exit }')
[ -n "$mirror" ] || mirror=$(apt-get indextargets --no-release-info \
    --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 2>/dev/null |
    awk '$1 ~ /debian\/?$/ && $3 == "main" && $2 !~ /[-\/]/ { print $1; exit }')
}
[ -n "$mirror" ] || die "no Debian mirror in apt's sources: give SHOAL_LLAMA_PREFIX, or install libllama-dev"
keyring=
for at in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
    if [ -e "$at" ]; then keyring=$at; break; fi
done
[ -n "$keyring" ] || die "no Debian archive keyring: install debian-archive-keyring"

mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
stamp=$prefix/packages.txt
state=$prefix/.apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
echo "deb [signed-by=$keyring] $mirror sid main" >"$state/sources.list"
: >"$state/status"
options=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$state/lists"
    -o "Dir::Cache=$state/cache" -o "Dir::State::status=$state/status" -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
    -o APT::Sandbox::User=root -o Acquire::Retries=2 -qq)
say "fetching libllama into $prefix"
update() { apt-get "${options[@]}" update >"$state/log" 2>&1; }
# A mirror that stands still serves a signed list whose date is over. Signature and hashes hold all the same, and the
# tested version is asked for by its number, so an old list can at most lack it.
update || { grep -q '^E: Release file .* is expired' "$state/log" && options+=(-o Acquire::Check-Valid-Until=false) &&
    say "the mirror's list of suite sid is out of date: taking it as it is" && update; } ||
    die "the mirror $mirror does not answer for suite sid ($(grep -m1 '^[EW]:' "$state/log" || echo "see $state/log"))"

names=
for package in $missing; do
    case $package in
        *llama*) want=$tested_llama ;;
        *ggml*) want=$tested_ggml ;;
        *) want= ;;
    esac
    if [ -n "$want" ] && apt-cache "${options[@]}" madison "$package" 2>/dev/null | grep -qF " $want "; then
        package=$package=$want
    elif [ -n "$want" ]; then
        say "$package $want, the tested version, is gone: taking the newest; the tests of engine_worker decide"
    fi
    names="$names $package"
done
# shellcheck disable=SC2086 # a list of words
(cd "$state/debs" && rm -f ./*.deb && apt-get "${options[@]}" download $names >"$state/log" 2>&1) ||
    die "cannot download from $mirror: $(grep -m1 '^[EW]:' "$state/log" || echo "see $state/log")"

# Unpacked first, stamped last: a call that is cut short is repeated by the next.
for deb in "$state"/debs/*.deb; do
    dpkg-deb -x "$deb" "$prefix" || die "cannot unpack $(basename "$deb"); delete $prefix and try again"
done
for deb in "$state"/debs/*.deb; do
    name=$(dpkg-deb -f "$deb" Package)
    { [ ! -e "$stamp" ] || grep -v "^$name " "$stamp" || true; echo "$name $(dpkg-deb -f "$deb" Version)" \
        "$(sha256sum "$deb" | cut -d' ' -f1)"; } >"$stamp.new"
    mv "$stamp.new" "$stamp"
done
rm -rf "$state"
