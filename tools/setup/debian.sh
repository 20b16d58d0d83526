#!/usr/bin/env bash
# Installs the Debian packages of tools/setup/packages.txt that are missing.
#
#   tools/setup/debian.sh           install; says nothing and fetches nothing when all are there
#   tools/setup/debian.sh --check   only say what is missing; exit status 1 if something is
#
# Runs as root or with sudo. What apt says goes to build/logs/packages.log.
set -euo pipefail
cd "$(dirname "$0")/../.."
list=tools/setup/packages.txt
log=build/logs/packages.log

# One line a package: its name and its alternatives, separated by blanks.
wanted() { sed -e 's/#.*//' -e 's/|/ /g' "$list" | awk 'NF { $1 = $1; print }'; }

# Prints the lines of wanted() of which no name is installed.
missing() {
    local names line name found installed
    names=$(wanted | tr ' ' '\n' | sort -u)
    # dpkg-query fails when it does not know one of the names; what it knows it prints all the same.
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null |
        sed -n 's/^installed //p' || true)
    while read -r line; do
        found=no
        for name in $line; do
            grep -qxF -- "$name" <<<"$installed" && found=yes
        done
        [ "$found" = yes ] || echo "$line"
    done <<<"$(wanted)"
}

# Whether this release has a package of that name to install.
has_candidate() {
    local policy
    policy=$(LC_ALL=C apt-cache policy -- "$1" 2>/dev/null || true)
    [[ $policy =~ Candidate:\ [^\(] ]]
}

# For each line of $1 the first name that the release has, into `chosen`; lines without one into `unknown`.
choose() {
    local line name found
    chosen=()
    unknown=()
    while read -r line; do
        [ -n "$line" ] || continue
        found=
        for name in $line; do
            if [ -z "$found" ] && has_candidate "$name"; then found=$name; fi
        done
        if [ -n "$found" ]; then chosen+=("$found"); else unknown+=("${line%% *}"); fi
    done <<<"$1"
}

die() {
    echo "set-up: $*" >&2
    exit 1
}

apt() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@" </dev/null >>"$log" 2>&1
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this is not Debian or Ubuntu. Install what $list names with your own package manager; then" \
        "SHOAL_SKIP_PACKAGES=1 ./run build goes on without this step."
fi

absent=$(missing)
[ -n "$absent" ] || exit 0
if [ "${1:-}" = --check ]; then
    echo "set-up: missing: $(awk '{ printf "%s ", $1 }' <<<"$absent")"
    exit 1
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    die "these packages are missing and need root to install: $(awk '{ printf "%s ", $1 }' <<<"$absent")"
fi

mkdir -p build/logs
: >"$log"
choose "$absent"
fresh=no
if [ ${#unknown[@]} -gt 0 ]; then
    apt update || die "apt-get update failed; the reason is in $log. Is there a network and a package mirror?"
    fresh=yes
    choose "$absent"
fi
[ ${#unknown[@]} -eq 0 ] || die "no package mirror of this system has: ${unknown[*]}. Debian 12 (main) has them all:" \
    "see that /etc/apt names a complete mirror."

echo "set-up: installing ${#chosen[@]} packages: ${chosen[*]}"
if ! apt install "${chosen[@]}"; then
    # Lists that are older than the mirror name files that are gone: once more with new lists.
    if [ "$fresh" = yes ] || ! apt update || ! apt install "${chosen[@]}"; then
        die "apt-get install failed; the reason is at the end of $log"
    fi
fi
absent=$(missing)
[ -z "$absent" ] || die "still missing after the installation: $absent; see $log"
