#!/usr/bin/env bash
# One fuzz target for a fixed number of executions: the same ones each time, since the seed of its random numbers is fixed.
# An input that crashes, hangs or takes memory by its own say-so is left beside the target.
#   run.sh TARGET SEEDS RUNS
set -euo pipefail
target=$1 seeds=$2 runs=$3
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
[ -n "$(ls -A "$seeds")" ] # a target without seeds finds nothing
# What it finds on the way goes to the first folder. 4 s and 512 MB: far more than any of these inputs needs.
"$target" -runs="$runs" -seed=1 -timeout=4 -malloc_limit_mb=256 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$target-" "$found" "$seeds" 2>&1
