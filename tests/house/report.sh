#!/usr/bin/env bash
# tests/report.py on a run of CTest: the time of each group, every skip of a test or case with its reason; with a list, other
# skips are failures.
#   report.sh CHECKOUT
set -euo pipefail
report=$1/tests/report.py
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cd "$stage"
cat >CTestTestfile.cmake <<'END'
function(one_test name text status)
  add_test(${name} sh -c "printf '${text}'; exit ${status}")
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
endfunction()
one_test(ring/plan "it passes" 0)
one_test(ring/cache "skipped: another day\\nthe rest passes" 0)
one_test(cuda/ops "skipped: no driver" 77)
one_test(slow/ring/merge "[  SKIPPED ] a_case" 0)
END

# tell ALLOWED...: prints the report and its exit status with these lines as the list
tell() {
    printf '%s\n' "# a list" "" "$@" >allowed
    status=0
    python3 "$report" results.xml allowed >said 2>&1 || status=$?
}

# must_say PATTERN
must_say() {
    grep -qE "$1" said && return
    echo "the report does not say '$1':" >&2
    cat said >&2
    exit 1
}

ctest --output-junit "$stage/results.xml" --test-output-size-passed 1000000 >ctest.log
tell 'ring/cache  another *' 'cuda/*  no driver' 'slow/ring/merge  no reason given'
[ "$status" = 0 ]
must_say '^ +[0-9.]+ s  ring, 2 tests$'
must_say '^ +[0-9.]+ s  slow/ring, 1 test$'
must_say '^skipped: no driver$'
must_say '^    cuda/ops$'
tell 'ring/cache  another *' 'cuda/*  no driver'
[ "$status" = 1 ]
must_say '^FAILED: slow/ring/merge .*no reason given'
tell 'ring/*  another reason' 'cuda/*  no driver' 'slow/*  *'
[ "$status" = 1 ]
must_say '^FAILED: ring/cache .*another day'
[ "$(grep -c FAILED said)" = 1 ]
tell 'ring/cache  another *' 'cuda/*'
[ "$status" = 1 ]
must_say "^allowed: line 4: 'cuda/\*' names a test without a reason"
python3 "$report" results.xml >said # without a list every skip is allowed
must_say '^skipped: another day$'
