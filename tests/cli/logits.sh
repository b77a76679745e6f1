#!/usr/bin/env bash
# lariat logits: what it writes against the reference, and what is refused.
. "$(dirname "$0")/common.sh"

for model in mha-bf16 gqa-llama3-fp16-sharded mqa-bias-headdim-fp32 gqa-yarn-bf16; do
    expected=$model/expected.safetensors
    for case in 0 2 4; do
        "$tensors" ids $expected case$case.tokens >ids
        run logits -q -m $model --tokens ids --out out.safetensors --kv f32 --ranks 3 --chunk 50
        must "logits as the reference" "$tensors" close out.safetensors logits $expected case$case.logits 2e-5
        must "the loss as the reference" "$tensors" close out.safetensors nll $expected case$case.nll 2e-5
    done
done
"$tensors" ids mha-bf16/expected.safetensors case4.tokens >ids
run logits -q -m mha-bf16 --tokens ids --out last.safetensors --kv f32 --last 5
must "the last rows as the reference" "$tensors" close last.safetensors logits mha-bf16/expected.safetensors case4.logits 2e-5
must "the loss of all" "$tensors" close last.safetensors nll mha-bf16/expected.safetensors case4.nll 2e-5
must "five rows and a loss" test "$(head -c 200 last.safetensors | tail -c +9 | grep -ao '{.*}')" = \
    '{"logits":{"dtype":"F32","shape":[5,512],"data_offsets":[0,10240]},"nll":{"dtype":"F64","shape":[1],"data_offsets":[10240,10248]}}'
must "nothing else is left" test "$(echo ./*.safetensors*)" = "./last.safetensors ./out.safetensors"

run logits -m mha-bf16 --tokens nothing --out x
: >empty && run logits -m mha-bf16 --tokens empty --out x
echo 600 >bad && run logits -m mha-bf16 --tokens bad --out x
run logits -m mha-bf16 --tokens ids --out x -c 100
run logits -m mha-bf16 --tokens ids --out nowhere/x
run logits -m mha-bf16 --tokens ids --out x --last 258
run logits -q -m mha-bf16 --tokens ids --out /dev/full
must "no file is left behind" test ! -e x
finish
