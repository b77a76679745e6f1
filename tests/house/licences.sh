#!/usr/bin/env bash
# Licences are named: every library that is linked or opened, and the source of every file of tests/data.
#   licences.sh CHECKOUT
set -euo pipefail
cd "$1"

bad=0
complain() {
    echo "$*" >&2
    bad=1
}

grep -q '^Copyright (c) [0-9]* The Lariat authors$' LICENSE || complain "LICENSE: no copyright of the Lariat authors"
section=$(sed -n '/^## Licence$/,$p' README.md)
[[ $section == *"](LICENSE)"* ]] || complain "README.md, Licence: does not name LICENSE"

# Headers compiled into the module for GPUs.
if grep -rq '#include <nvtx3/' src; then
    [[ $section == *NVTX* ]] || complain "README.md, Licence: does not name NVTX"
    grep -q NVTX docs/licences.md || complain "docs/licences.md does not name NVTX"
fi

# pkg_check_modules(NAME REQUIRED IMPORTED_TARGET LIBRARY-VERSION): libpcre2-8 is written PCRE2
mapfile -t linked < <(sed -nE 's/^pkg_check_modules\(.* ([a-z0-9]+)(-[0-9]+)?\)$/\1/p' CMakeLists.txt)
[ ${#linked[@]} -ge 3 ] || complain "CMakeLists.txt: its libraries are not where this check looks"
for library in "${linked[@]}" cublasLt; do
    either="(^|[^a-z])($library|${library#lib})($|[^a-z])"
    grep -qiE "$either" <<<"$section" || complain "README.md, Licence: does not name $library"
    grep -qiE "$either" docs/licences.md || complain "docs/licences.md does not name $library"
done

# Generators are beside their output.
for path in tests/data/* tests/data/fuzz/*; do
    name=${path#tests/data/}
    case $name in
    README.md | fuzz) ;;
    *) grep -qF -- "\`$name\`" tests/data/README.md || complain "tests/data/README.md does not say where $name is from" ;;
    esac
done
exit $bad
