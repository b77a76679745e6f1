# Shared by the scripts, which source it: messages, packages, the cache.
# Rests on apt, dpkg and, where the user is not root, sudo. Read on in demo.sh and test.sh.
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/lariat

say() {
    printf '%s\n' "$@" >&2
}

# Prints one line (what is missing, what to do) and exits.
die() {
    say "$(basename "$0"): $*"
    exit 1
}

[ "$cache" != /.cache/lariat ] || die "no home folder: set HOME or XDG_CACHE_HOME"

jobs() {
    nproc 2>/dev/null || echo 1
}

sign_every=10 # seconds
signs=        # the process that gives them

# Progress on standard error during a long command, until calm: the elapsed time and the last line of its LOG. Ends with the
# script.
#   signs_of_life [LOG]
signs_of_life() {
    local log=${1:-/dev/null} started=$SECONDS last
    while sleep "$sign_every" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        last=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | tail -n 1 | cut -c 1-90)
        say "  ... still at work, $((SECONDS - started)) s${last:+: $last}"
    done </dev/null >/dev/null &
    signs=$!
}

calm() {
    [ -z "$signs" ] || kill "$signs" 2>/dev/null || :
    signs=
}

# Runs a long command with progress, its output in a file under the cache; prints the end of the output on failure.
#   quietly WHAT COMMAND...
quietly() {
    local what=$1 log status=0
    shift
    mkdir -p "$cache/log" || die "cannot write to $cache: make room there, or set XDG_CACHE_HOME"
    log=$cache/log/$(basename "$0" .sh)-${what//[^a-zA-Z0-9]/-}.log
    signs_of_life "$log"
    "$@" </dev/null >"$log" 2>&1 || status=$?
    calm
    if [ $status != 0 ]; then
        tail -n 40 "$log" >&2
        die "$what failed (exit $status); all of its output is in $log"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o DPkg::Lock::Timeout=600 "$@"
}

# Is a Debian package installed?
have_package() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs missing Debian packages. COMMAND=PACKAGE: the package only if there is no such command.
need_packages() {
    local want missing=() log
    for want in "$@"; do
        if [[ $want == *=* ]]; then
            command -v "${want%%=*}" >/dev/null || missing+=("${want#*=}")
        else
            have_package "$want" 2>/dev/null || missing+=("$want")
        fi
    done
    [ ${#missing[@]} != 0 ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here: install what Debian calls ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "neither root nor sudo: let somebody run apt-get install ${missing[*]}"
        # Ask for a password here, before progress output.
        as_root true 2>/dev/null || die "sudo refused: run me on a terminal, or apt-get install ${missing[*]} first"
    fi
    say "Installing ${missing[*]} ..."
    log=$(mktemp) || die "no room for a temporary file: clear ${TMPDIR:-the temporary folder}, or set TMPDIR"
    signs_of_life "$log"
    # A failed update is fatal only if the packages cannot be installed.
    apt_get update </dev/null >"$log" 2>&1 || :
    if ! apt_get install --no-install-recommends "${missing[@]}" </dev/null >>"$log" 2>&1; then
        calm
        want=$(grep -m 1 -E '^E: ' "$log" || tail -n 1 "$log")
        rm -f "$log"
        die "apt-get could not install ${missing[*]} (${want#E: }): is there a network, a package mirror and room on the disk?"
    fi
    calm
    rm -f "$log"
}

# Has the folder of $1 so many free megabytes?
need_room() {
    local free
    free=$(df -Pm "$1" 2>/dev/null | awk 'NR == 2 { print $4 }')
    [ -z "$free" ] || [ "$free" -ge "$2" ] || die "$1 has $free MB left, $2 MB are needed: make room there, or set $3"
}

# Configures a build folder; one of another source tree is recreated.
#   configure FOLDER OPTIONS...
configure() {
    local folder=$1 generator=()
    shift
    if [ -f "$folder/CMakeCache.txt" ]; then
        grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt" || rm -rf "$folder"
    fi
    [ -f "$folder/CMakeCache.txt" ] || generator=(-G Ninja)
    quietly "configuring $folder" cmake -S . -B "$folder" "${generator[@]}" "$@"
}
