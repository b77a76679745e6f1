#!/usr/bin/env bash
# The original experiment, redone: token latency of ring and regular attention by prompt length, without a KV cache
# at two sizes of blocks, then with one; writes tables, data and pictures into a folder. On CPUs a rank is one core, with the demo's
# model and a larger shape; where there are two GPUs or more a rank is a GPU, with the 7b shape of the original.
# An interrupted run continues where it stopped. Rests on common.sh and fetch-model.sh; docs/experiment.md has the results.
#   scripts/experiment.sh [FOLDER]      (default: experiment)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

out=${1:-experiment}
case $out in
-*) die "$out: no such option, give a folder for the results or nothing" ;;
esac

need_packages gcc=gcc libc6-dev cmake=cmake ninja=ninja-build pkg-config=pkg-config libjansson-dev libpcre2-dev \
    libutf8proc-dev libedit-dev gnuplot=gnuplot-nox
need_room . 300 "another folder for the checkout"

say "Building ..."
configure build-experiment -DCMAKE_BUILD_TYPE=Release
quietly "building" cmake --build build-experiment --parallel "$(jobs)"
lariat=build-experiment/lariat
mkdir -p "$out"

# measure NAME ARGUMENTS...: rings beside regular attention; $out/NAME.md is the table, NAME.jsonl every measurement, NAME/ the
# pictures.
measure() {
    local name=$1
    shift
    say "" "$name: lariat bench --compare $*"
    "$lariat" bench --compare "$@" --resume "$out/$name.jsonl" --plot "$out/$name" | tee -i "$out/$name.md.part"
    mv "$out/$name.md.part" "$out/$name.md"
}

# Doubles from 2 up to $1.
rings() {
    local n list=2
    for ((n = 4; n <= $1; n *= 2)); do
        list=$list,$n
    done
    echo "$list"
}

cards=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU ' || true)
if [ "$cards" -ge 2 ]; then
    gpus=(-m random:7b --device cuda --ranks "$(rings "$cards")")
    measure gpu-without-cache "${gpus[@]}" --no-cache -n 29 -p '128..4k*2,16k' --block 1k,2k
    measure gpu-with-cache "${gpus[@]}" -n 128 -p '512..128k*2' --trace "$out/gpu-with-cache.trace.json" \
        --timeline "$out/gpu-with-cache.timeline.svg"
    "$lariat" bench --hops --device cuda --ranks "$(rings "$cards")" | tee "$out/gpu-hops.md"
    exit 0
fi

# Without a cache 29 tokens of a long prompt would take an hour on two cores, each the same time: 2 are enough.
model=$(scripts/fetch-model.sh)
cores=$(jobs)
[ "$cores" -ge 2 ] || die "one core: a ring has a core for each of two ranks at least"
cpus=(--device cpu --rank-threads 1 --ranks "$(rings "$cores")")
measure without-cache -m "$model" "${cpus[@]}" --no-cache -n 2 -p '128..2k*2' --block 128,1k
measure without-cache-1b -m random:3.2-1b:q4_1 "${cpus[@]}" --no-cache -n 1 -r 1 -p '128..512*2'
measure with-cache -m "$model" "${cpus[@]}" -n 32 -p '128..4k*2' --trace "$out/with-cache.trace.json" \
    --timeline "$out/with-cache.timeline.svg"
"$lariat" bench --hops --device cpu --ranks "$(rings "$cores")" -t "$cores" | tee "$out/hops.md"
