#!/usr/bin/env bash
# All tests and benchmarks for GPUs, in a few minutes; their output is kept in a folder. CI has no GPU: the results of this
# script are in bench/results. Rests on common.sh, CUDA (nvcc, or an existing
# build) and, for the peers, a python3 with torch, transformers and safetensors.
#   scripts/gpu-test.sh [PART...]      parts: ops engine sanitizer types model attention (all of them)
#   LARIAT_BUILD=FOLDER                a build with CUDA and tests; made in build-gpu if not given
#   OUT=FOLDER                         where reports go; build-gpu/report if not given
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/common.sh

command -v nvidia-smi >/dev/null || die "no nvidia-smi: this machine has no NVIDIA driver, install one"
build=${LARIAT_BUILD:-build-gpu}
out=${OUT:-build-gpu/report}
mkdir -p "$out"
if [ -z "${LARIAT_BUILD:-}" ]; then
    say "Building ..."
    configure "$build" -DLARIAT_TESTS=ON -DLARIAT_BENCH=ON -DLARIAT_CUDA=ON
    quietly "building for GPUs" cmake --build "$build" --parallel "$(jobs)"
fi
lariat=$build/lariat
models=${LARIAT_REFERENCE:-../shared}/reference/models
[ -d "$models" ] || models=$build/tests/reference/models
export LARIAT_REFERENCE=${models%/reference/models}

failed=0
# part NAME COMMAND...: runs it with its output in a file of that name, and prints the outcome
part() {
    local name=$1 started=$SECONDS status=0
    shift
    "$@" >"$out/$name.txt" 2>&1 || status=$?
    case $status in
    0) say "$name: passed, $((SECONDS - started)) s" ;;
    77) say "$name: skipped: $(tail -n 1 "$out/$name.txt")" ;;
    *)
        say "$name: FAILED ($status), $((SECONDS - started)) s; the end of $out/$name.txt:" "$(tail -n 15 "$out/$name.txt")"
        failed=1
        ;;
    esac
}

# shellcheck disable=SC2317 # called through part
checked() {
    compute-sanitizer --error-exitcode 9 --tool "$@"
}

# A ring of three ranks on one card, small enough for a checker.
# shellcheck disable=SC2317
small_ring() {
    seq 1 40 >"$out/ids"
    checked "$1" "$lariat" logits -q -m "$models/gqa-yarn-bf16" --tokens "$out/ids" --out "$out/small.safetensors" --device cuda \
        --dtype "$2" --ranks 3 --chunk 24
}

# The kernels of 16-bit types at a head_dim of 64, few rows and many: a prompt, then a reply whose steps are recorded.
# shellcheck disable=SC2317
small_reply() {
    seq 1 150 >"$out/ids"
    checked "$1" "$lariat" generate -q -m random:smollm2-135m --tokens "$out/ids" -n 6 --device cuda --devices 0
}

run_part() {
    case $1 in
    ops)
        part ops "$build/tests/cuda_test_ops"
        part joined "$build/tests/cuda_test_joined"
        part codes "$build/tests/cuda_test_codes"
        part ops-memory "$build/tests/cuda_test_memory"
        part ops-attention "$build/tests/cuda_test_attention"
        part record "$build/tests/cuda_test_record"
        part sample "$build/tests/cuda_test_sample"
        part comm "$build/tests/cuda_test_comm"
        part ceilings "$build/tests/cuda_test_ceilings"
        ;;
    engine)
        part engine "$build/tests/cuda_test_engine"
        part generate "$build/tests/cuda_test_generate"
        part trace "$build/tests/cuda_test_trace"
        part current "$build/tests/cuda_test_current"
        part gguf "$build/tests/cuda_test_gguf"
        part family "$build/tests/cuda_test_family"
        # One hardware queue for all streams: every wait must be queued after the work that ends it.
        CUDA_DEVICE_MAX_CONNECTIONS=1 part engine-one-queue "$build/tests/cuda_test_engine"
        CUDA_DEVICE_MAX_CONNECTIONS=1 part comm-one-queue "$build/tests/cuda_test_comm"
        CUDA_DEVICE_MAX_CONNECTIONS=1 part generate-one-queue "$build/tests/cuda_test_generate"
        CUDA_DEVICE_MAX_CONNECTIONS=1 part trace-one-queue "$build/tests/cuda_test_trace"
        ;;
    sanitizer)
        part memcheck-record checked memcheck "$build/tests/cuda_test_record"
        for tool in memcheck racecheck synccheck; do
            part "$tool-ring-bf16" small_ring $tool bf16
            part "$tool-ring-f32" small_ring $tool f32
            [ $tool = racecheck ] || part "$tool-reply" small_reply $tool # racecheck takes minutes over it, as over cuda_test_record
        done
        ;;
    types)
        part types python3 tests/cuda/sixteen_bit.py "$lariat" "$models"
        part types-family python3 tests/cuda/sixteen_bit.py "$lariat" "$build/tests/family"
        ;;
    model) part model python3 bench/gpu_model.py "$lariat" ;;
    attention) part attention python3 bench/bench_attention_cuda.py "$build/bench/liblariat_cuda_bench.so" --out "$out/attention.md" ;;
    *) die "$1: no such part, choose from ops engine sanitizer types model attention" ;;
    esac
}

nvidia-smi --query-gpu=index,name,memory.total,driver_version,clocks.sm --format=csv | tee "$out/machine.txt" >&2
[ $# -gt 0 ] || set -- ops engine sanitizer types model attention
for name in "$@"; do
    run_part "$name"
done
exit $failed
