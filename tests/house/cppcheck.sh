#!/usr/bin/env bash
# cppcheck over src/ and the tests: warnings, performance and portability.
#   cppcheck.sh CHECKOUT FOLDER-FOR-ITS-NOTES
set -euo pipefail
cd "$1"
command -v cppcheck >/dev/null || { echo "skipped: no cppcheck here"; exit 77; }

mkdir -p "$2"
# Tests need not handle failed allocations.
tests=()
for kind in nullPointerOutOfMemory ctunullpointerOutOfMemory nullPointerArithmeticOutOfMemory; do
    tests+=("--suppress=$kind:tests/*")
done
# normalCheckLevelMaxBranches, missingInclude*: remarks about cppcheck itself.
cppcheck --quiet --std=c11 --language=c --platform=unix64 --enable=warning,performance,portability --inline-suppr \
    --cppcheck-build-dir="$2" --error-exitcode=1 --suppress=missingInclude --suppress=missingIncludeSystem \
    --suppress=normalCheckLevelMaxBranches \
    --suppress=unmatchedSuppression "${tests[@]}" --template=gcc \
    -D_GNU_SOURCE -D__x86_64__ -DLARIAT_X86_SIMD=1 -DLARIAT_VERSION='"0"' -DLARIAT_COMMIT='""' -Iinclude -Isrc -Itests src tests
