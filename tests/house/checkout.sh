#!/usr/bin/env bash
# The checks of style and clang-tidy read the project's files only, in any path, with and without git: tested with a small checkout
# in a folder whose path has a src/ and a blank.
#   checkout.sh CHECKOUT
set -euo pipefail
cd "$1"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
checks=$PWD/tests/house
here="$stage/src/a checkout"
build=$here/build
mkdir -p "$here/src/room" "$here/tests" "$here/include" "$build" "$here/.git" "$stage/bin"
cp .clang-tidy "$here"
echo "One page." >"$here/README.md"
printf '/* Adds. */\nint add(int a, int b);\n\nint add(int a, int b)\n{\n    return a + b;\n}\n' >"$here/src/room/add.c"

# passes WHAT CHECK ARGUMENTS...
passes() {
    local what=$1 check=$2
    shift 2
    "$checks/$check" "$@" >"$stage/said" 2>&1 && return
    echo "$what, but $check found:" >&2
    cat "$stage/said" >&2
    exit 1
}

# finds WHAT WHERE CHECK ARGUMENTS...
finds() {
    local what=$1 where=$2 check=$3
    shift 3
    ! "$checks/$check" "$@" >"$stage/said" 2>&1 && grep -qF "$where" "$stage/said" && return
    echo "$what, but $check did not find it:" >&2
    cat "$stage/said" >&2
    exit 1
}

# A failing git counts as none.
printf '#!/bin/sh\nexit 127\n' >"$stage/bin/git"
chmod +x "$stage/bin/git"
PATH=$stage/bin:$PATH
printf 'worktree = /ro''ot/elsewhere\n' >"$here/.git/config" # what git keeps is no text of the project
printf 'TO''DO\n' >"$build/log"
passes "nothing is wrong without git" style.sh "$here"
printf '/* Unfinished: TO''DO. */\n' >"$here/src/room/more words.c"
finds "something is unfinished" "src/room/more words.c" style.sh "$here"
rm "$here/src/room/more words.c"

command -v clang-tidy >/dev/null && command -v jq >/dev/null || { echo "skipped: no clang-tidy or no jq here"; exit 77; }
# unclean FILE: writes code with a finding of clang-tidy
unclean() {
    printf '/* Waits. */\nint wait(int s);\n\nint wait(int s)\n{\n    if (s)\n        ;\n    return s;\n}\n' >"$1"
}
unclean "$here/tests/test_add.c"
for file in src/room/add.c tests/test_add.c; do
    jq -n --arg at "$build" --arg file "$here/$file" '{directory: $at, command: ("cc -c \"" + $file + "\""), file: $file}'
done | jq -s . >"$build/compile_commands.json"
passes "the rooms are clean" clang_tidy.sh "$here" "$build"
unclean "$here/src/room/add.c"
finds "a room is not clean" "src/room/add.c" clang_tidy.sh "$here" "$build"
