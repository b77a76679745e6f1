#!/usr/bin/env bash
# The shared library exports what the public headers declare, all of it and nothing else.
#   exports.sh CHECKOUT LIBRARY
set -euo pipefail
cd "$1"

declared=$(cat include/lariat/*.h | tr '\n' ' ' | grep -oE 'LARIAT_API [^;(]*\(' | sed -nE 's/.*[ *](lariat_[a-z0-9_]+) *\($/\1/p' | sort -u)
exported=$(nm -D --defined-only "$2" | awk '{ print $3 }' | sort -u)
[ -n "$declared" ]
diff <(echo "$declared") <(echo "$exported") || {
    echo "< declared in include/lariat, but not exported; > exported, but not declared" >&2
    exit 1
}
