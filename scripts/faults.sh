#!/usr/bin/env bash
# Kills, stops and cuts off processes of rings at random moments, and prints a table of what was seen (bench/results/faults.md).
# Rests on common.sh, Open MPI, python3 and, for links, root; CI tries twelve faults of these (tests/clusters).
#   scripts/faults.sh [KILLS STOPS LINKS [FILE.jsonl]]    200 50 20; the file keeps what was seen, and a run that was broken
#                                                         off goes on behind it
#   LARIAT_BUILD=FOLDER                        a build; ./build if not given
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

build=${LARIAT_BUILD:-build}
[ -x "$build/lariat" ] || die "$build/lariat is not there: build it, or name a build with LARIAT_BUILD"
model=$(scripts/fetch-model.sh)
exec python3 tests/clusters/faults.py --lariat "$PWD/$build/lariat" --model "$model" --kills "${1:-200}" --stops "${2:-50}" \
    --links "${3:-20}" --prompt 800 -n 120 --table ${4:+--resume "$4"}
