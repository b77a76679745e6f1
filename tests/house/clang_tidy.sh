#!/usr/bin/env bash
# clang-tidy, configured by .clang-tidy, over every C file of src/ that the build compiles (not CUDA). A clean file is checked again
# only after the file, a header or the settings have changed.
#   clang_tidy.sh CHECKOUT BUILD [FILE...]      CHECKOUT and BUILD as CMake names them
set -euo pipefail
cd "$1"
source=$1 build=$2
shift 2
command -v clang-tidy >/dev/null && command -v jq >/dev/null || { echo "skipped: no clang-tidy or no jq here"; exit 77; }

if [ $# = 0 ]; then
    # In the checkout's src/: its own path may have a src/ in it, like ~/src/lariat.
    mapfile -t files < <(jq -r --arg rooms "$source/src/" '.[].file | select(startswith($rooms) and endswith(".c"))' \
        "$build/compile_commands.json" | sort -u)
    [ ${#files[@]} != 0 ] || { echo "$build compiles no C file of $source/src" >&2; exit 1; }
    set -- "${files[@]}"
fi
clean=$build/clang-tidy
mkdir -p "$clean"
# A file of two targets is checked once: checking it twice in one process gives false findings (clang 14).
jq 'unique_by(.file)' "$build/compile_commands.json" >"$clean/compile_commands.json"
export clean build
# A change of any header invalidates all files.
common=$({ clang-tidy --version; cat .clang-tidy "$build/compile_commands.json"; find include src -name '*.h' -print0 | sort -z | xargs -0 cat; } | sha256sum)
export common

look() {
    local stamp output
    stamp=$clean/$({ echo "$common"; cat "$1"; } | sha256sum | cut -c 1-32)
    [ ! -e "$stamp" ] || return 0
    output=$(clang-tidy --quiet -p "$clean" --extra-arg=-Wno-unknown-warning-option "$1" 2>&1) || {
        echo "$output"
        return 1
    }
    : >"$stamp"
}
export -f look
# shellcheck disable=SC2016
printf '%s\0' "$@" | xargs -0 -n 1 -P "${TIDY_JOBS:-1}" bash -c 'look "$1"' look
