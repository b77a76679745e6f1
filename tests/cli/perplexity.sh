#!/usr/bin/env bash
# lariat perplexity: the mean loss of the reference in one window; windows; what is refused.
. "$(dirname "$0")/common.sh"

# A few digits are the same on every processor.
perplexity() {
    say "\$ lariat perplexity $*"
    "$lariat" perplexity "$@" 2>"$work.seen/err" |
        sed -E '/^perp/s/\.[0-9]+ .*/.../; /^mean/s/(\.[0-9]{3})[0-9]* .*/\1.../' >"$work.seen/out"
    show "${PIPESTATUS[0]}"
}

for model in mha-bf16 mqa-bias-headdim-fp32 gqa-yarn-bf16; do
    "$tensors" ids $model/expected.safetensors case4.tokens >ids
    perplexity -q -m $model --tokens ids --kv f32 --ranks 2
    "$lariat" logits -q -m $model --tokens ids --kv f32 --out out.safetensors
    must "the loss as the reference" "$tensors" close out.safetensors nll $model/expected.safetensors case4.nll 2e-5
done
# Every token but each window's first: 257 tokens in windows of 100 are 99 + 99 + 56, of 64 are 4 x 63 and a last one of one.
perplexity -q -m gqa-yarn-bf16 --tokens ids --kv f32 -c 100
perplexity -q -m gqa-yarn-bf16 --tokens ids --kv f32 -c 64
# As llama.cpp's tool: whole windows, of which the second halves are scored: 2 x (100 - 50 - 1), 4 x (64 - 32 - 1),
# 51 x (5 - 2 - 1).
for window in 100 64 5; do
    "$lariat" perplexity -q -m gqa-yarn-bf16 --tokens ids --kv f32 -c $window --second-half >out
    say "$(tail -n 1 out)"
done
# One window is the second half of it: the whole's loss is that of both halves together.
tr ' ' '\n' <ids | head -n 64 >window
loss() { "$lariat" perplexity -q -m gqa-yarn-bf16 --tokens "$@" --kv f32 -c 64 | awk '/^mean/ {print $3}'; }
head -n 33 window >first
must "its loss and the first half's are the whole's" jq -en \
    "($(loss window --second-half) * 31 + $(loss first) * 32) / 63 - $(loss window) | fabs < 1e-6"
run perplexity -q -m gqa-yarn-bf16 --tokens first -c 64 --second-half
run perplexity -q -m gqa-yarn-bf16 --tokens first -c 2 --second-half
run perplexity -q -m gqa-yarn-bf16 --tokens first -c 8 --bos
printf 'the rain in spain' >text
"$lariat" tokenize -m letters -f text >ids
"$lariat" perplexity -q -m letters --tokens ids >of_ids
"$lariat" perplexity -q -m letters -f text >of_text
must "a text is scored as its ids" cmp of_ids of_text
# 508 is <s>, which each of the windows begins with.
tr ' ' '\n' <ids | awk 'NR % 4 == 1 {print 508} NR % 4 != 1' >begun
"$lariat" perplexity -q -m letters --tokens begun -c 4 >of_ids
"$lariat" perplexity -q -m letters -f text -c 4 --bos >of_text
must "windows with the token that begins a text" cmp of_ids of_text
run perplexity -m mha-bf16 -f text
printf 'a' >text && run perplexity -m letters -f text
echo 7 >bad && run perplexity -m mha-bf16 --tokens bad
run perplexity -m letters -f text -c 1
finish
