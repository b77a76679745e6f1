#!/usr/bin/env bash
# Checks every #include "..." of the rooms and of the public headers against the table below, and every call from one room to
# another: a header that a room may see can declare what no room below it has. Also that a file name is there once.
# Rests on bash and nm. docs/dev/how-a-token-travels.md describes the rooms.
#   dependency_rule.sh CHECKOUT LIBRARY
set -euo pipefail
cd "$1"

# A room may include itself, base, the public headers, and the rooms and headers listed here; with - not base.
declare -A sees=(
    [base]=''
    [trace]=''
    [format]=''
    [text]='format'
    [device]=''
    [comm]='trace device/device.h device/gpu.h device/cuda/runtime/overlap.cuh device/cuda/runtime/element.cuh device/cuda/runtime/carry.cuh device/cuda/runtime/packets.h device/cuda/runtime/packets.cuh'
    [ring]='trace device comm'
    [model]='trace ring device format comm/comm.h'
    [engine]='trace model ring text format comm device/device.h device/gpu.h device/cuda/runtime/module.h device/cpu/cpu.h'
    [api]='engine trace model ring text format comm device/device.h device/gpu.h device/cuda/runtime/module.h device/cpu/cpu.h device/cpu/cpu_ceilings.h'
    [schedule]='-'
    [cli]='- schedule'
    [server]='- schedule'
)

bad=0
complain() {
    echo "$1: $2" >&2
    bad=1
}

# may ROOM INCLUDED
may() {
    local room=$1 what=$2 to=${2%%/*} allowed
    [ "$to" = lariat ] || [ "$to" = "$room" ] && return 0
    [ "$to" != base ] || [[ ${sees[$room]} != -* ]] || return 1 # the program sees the public interface only
    [ "$to" = base ] && return 0
    for allowed in ${sees[$room]}; do
        [ "$allowed" = "$what" ] || [ "$allowed" = "$to" ] && return 0
    done
    return 1
}

while IFS=: read -r file include; do
    what=${include#*\"}
    what=${what%%\"*}
    case $file in
    include/*)
        [ "${what%%/*}" = lariat ] || complain "$file" "a public header includes $what"
        ;;
    src/*)
        room=${file#src/}
        room=${room%%/*}
        if [ -z "${sees[$room]+known}" ]; then
            complain "$file" "$room is no room of the house"
        elif [[ $what != */* ]]; then
            complain "$file" "includes $what: say $room/$what"
        elif ! may "$room" "$what"; then
            complain "$file" "$room may not see $what"
        fi
        ;;
    esac
done < <(grep -rE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' include src --include='*.h' --include='*.c' --include='*.cu' --include='*.cuh' --include='*.inc')
# calls LIBRARY: lines "FILE ROOM SYMBOL", of what an object of the library takes from another room.
calls() {
    { find src -name '*.c' && nm -A -g "$1"; } | awk '
        /^src\// { split($0, path, "/"); name = $0; sub(/.*\//, "", name); rooms[name ".o"] = path[2]; files[name ".o"] = $0; next }
        { object = $1; sub(/:[0-9a-f]*$/, "", object); sub(/.*:/, "", object) }
        !(object in rooms) { next }
        $(NF - 1) == "U" { taken[object " " $NF]; next }
        { has[$NF] = rooms[object] }
        END {
            for (one in taken) {
                split(one, of, " ")
                if (of[2] in has && has[of[2]] != rooms[of[1]]) print files[of[1]], has[of[2]], of[2]
            }
        }'
}

n_calls=0
while read -r file other symbol; do
    n_calls=$((n_calls + 1))
    room=${file#src/}
    room=${room%%/*}
    [[ $other = base || " ${sees[$room]}" == *" $other"[\ /]* || " ${sees[$room]}" == *" $other" ]] ||
        complain "$file" "$room may not call $symbol of $other"
done < <(calls "$2")
[ "$n_calls" -gt 0 ] || complain "$2" "no room calls another: is this the library?"
# File names are unique in sources, examples and the tests' support, so that a name alone says which file is meant.
twice=$(find include src bench examples tests/support -path bench/results -prune -o -type f -printf '%f\n' | sort | uniq -d)
[ -z "$twice" ] || complain "the tree" "more than one file is called $(echo $twice)"
exit $bad
