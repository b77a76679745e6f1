#!/usr/bin/env bash
# The demo's model, where scripts/fetch-model.sh has put it: text as the reference continues it, a talk, tokens, a batch.
. "$(dirname "$0")/common.sh"
[ "$quick" = 0 ] || skip "this build is a slow one"
[ -r "$demo_model" ] || skip "$demo_model is not here, scripts/fetch-model.sh fetches it"
ln -s "$demo_model" model.gguf

# The reference's case 0: "The capital of France is", greedy; its text goes on past the end of the reply, which is where we stop.
expected=" Paris.

The answer is: 2018-01-22 12:12:53."
run generate -q -m model.gguf -p 'The capital of France is'
must "as the reference continues it" test "$(cat "$work.seen/out")" = "$expected"
run generate -q -m model.gguf -p 'The capital of France is' --ranks 2 --kv f32
must "as the reference continues it" test "$(cat "$work.seen/out")" = "$expected"
run generate -q -m model.gguf -p 'The capital of France is' -n 2
echo '{"id": "capital", "prompt": "The capital of France is"}' >prompts
"$lariat" generate -q -m model.gguf --prompts prompts >out
must "and so does a batch" test "$(jq -r '.id + .stop + .text' out)" = "capitalend$expected"

run tokenize -m model.gguf -p 'The capital of France is<|im_end|>'
run tokenize -m model.gguf --special -p 'The capital of France is<|im_end|>'
"$lariat" chat -q -m model.gguf -p 'What is the capital of France?' -c 256 >out
must "it knows the capital of France" grep -q Paris out
"$lariat" inspect model.gguf --json >json
must "what it is" jq -e \
    '.weight_type == "Q4_1" and .parameters == 134515008 and (.tokenizer.template | contains("<|im_start|>")) and .trained_context == 8192' json
finish
