#!/usr/bin/env bash
# Each public header compiles alone, as C and as C++, without a warning.
#   headers.sh CHECKOUT CC CXX
set -euo pipefail
cd "$1"
cc=$2 cxx=$3
command -v "$cxx" >/dev/null || { echo "skipped: no C++ compiler here"; exit 77; }

alone() {
    local header=$1
    shift
    echo "#include \"lariat/$(basename "$header")\"" | "$@" -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -
}
for header in include/lariat/*.h; do
    for standard in c99 c17; do
        alone "$header" "$cc" -x c -std=$standard
    done
    for standard in c++11 c++20; do
        alone "$header" "$cxx" -x c++ -std=$standard
    done
done
