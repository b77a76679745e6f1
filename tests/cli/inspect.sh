#!/usr/bin/env bash
# lariat inspect: what a model is, as text and as JSON; what is refused.
. "$(dirname "$0")/common.sh"

# What memory is for activations, and which passes go by slices, is told by other tests.
inspect() {
    say "\$ lariat inspect $*"
    "$lariat" inspect "$@" 2>"$work.seen/err" |
        sed -E '/^  (layout|attention|activations|total)/d; /^fingerprint/s/ [0-9a-f]{16}$/ .../' >"$work.seen/out"
    show "${PIPESTATUS[0]}"
}

inspect mha-bf16 -t 1
inspect letters -c 4k --ranks 3 -t 3 --kv f32
inspect gqa-llama3-fp16-sharded -t 2 --ranks 2
say '$ lariat inspect mqa-bias-headdim-fp32 --json'
"$lariat" inspect mqa-bias-headdim-fp32 --json -t 1 |
    jq -S 'del(.fingerprint) | .plan |= {ranks, threads, chunk, context, kv_bytes_per_rank, weight_bytes} | .tensors |= .[:3]' \
        >"$work.seen/out"
show $?
must "the bytes of all tensors are the weights" test \
    "$("$lariat" inspect mqa-bias-headdim-fp32 --json | jq '.weight_bytes == ([.tensors[].bytes] | add)')" = true
must "as many parameters as the configuration has" test "$("$lariat" inspect random:7b --json | jq .parameters)" = 6738415616

fingerprint() {
    "$lariat" inspect "$1" --json | jq .fingerprint
}
must "equal models have equal fingerprints" test "$(fingerprint letters)" = "$(fingerprint mha-bf16)"
must "others have others" test "$(fingerprint letters)" != "$(fingerprint gqa-yarn-bf16)"

run inspect nothing
run inspect .
echo '{}' >empty.gguf && run inspect empty.gguf
echo x >weights.pth && run inspect weights.pth
run generate -m weights.pth -p hello
run inspect missing.pth
run inspect random:1b
finish
