#!/usr/bin/env bash
# lariat generate: ids and text from options, files and standard input; why a reply ends; what is refused.
. "$(dirname "$0")/common.sh"
export LARIAT_KV=f32 # so that no processor rounds its way to another text

# The greedy continuations of the reference, on rings that are shorter and longer than the prompt.
for model in mha-bf16 gqa-llama3-fp16-sharded mqa-bias-headdim-fp32 gqa-yarn-bf16; do
    expected=$model/expected.safetensors
    "$tensors" ids $expected case2.tokens >prompt
    "$tensors" ids $expected case2.greedy >greedy
    run generate -q -m $model --tokens prompt -n 24 --kv f32
    must "as the reference continues it" cmp "$work.seen/out" greedy
    run generate -q -m $model --tokens prompt -n 24 --kv f32 --ranks 8 --chunk 3
    must "as the reference continues it" cmp "$work.seen/out" greedy
done
"$tensors" ids mha-bf16/expected.safetensors case5.tokens | tr ' ' ',' >long
"$tensors" ids mha-bf16/expected.safetensors case5.greedy >greedy
"$lariat" generate -q -m mha-bf16 --tokens - -n 24 --kv f32 --ranks 3 -t 3 <long >"$work.seen/out" 2>"$work.seen/err"
show $?
must "as the reference continues it" cmp "$work.seen/out" greedy

# Text is what its ids give.
run generate -q -m letters -p hello -n 9
"$lariat" tokenize -m letters -p hello | "$lariat" generate -q -m mha-bf16 --tokens - -n 9 >ids
{ "$lariat" tokenize -m letters --decode -f ids && echo; } >text
must "the text of the ids" cmp "$work.seen/out" text
printf hello >hello
for input in "-f hello" "-f -" ""; do
    # shellcheck disable=SC2086 # no input is no word
    "$lariat" generate -q -m letters $input -n 9 <hello >"$work.seen/out"
    must "the same text from '$input'" cmp "$work.seen/out" text
done
run generate -q -m letters --special -p '<s>hello' -n 4
"$lariat" generate -q -m mha-bf16 --tokens - -n 4 <<<'508 104 266 469' >ids
{ "$lariat" tokenize -m letters --decode --special -f ids && echo; } >text
must "a special token in the prompt is one" cmp "$work.seen/out" text
run generate -q -m letters -p x -n 0

# Sampling: one seed, one text.
sample=(generate -q -m letters -p hello -n 20 --temp 1.5 --top-k 40 --top-p 0.95 --min-p 0.01)
"$lariat" "${sample[@]}" -s 7 >one
"$lariat" "${sample[@]}" --seed=7 --ranks 1 >two
"$lariat" "${sample[@]}" -s 8 >three
must "one seed gives one text" cmp one two
must "another seed gives another" test "$(cmp one three)" != ""

"$lariat" generate -q -m letters -p hello -n 20 --temp 2 >one 2>err
"$lariat" generate -q -m letters -p hello -n 20 --temp 2 -s "$(sed -nE 's/^seed ([0-9]+) .*/\1/p' err)" >two
must "a seed that is drawn is said, and with -q too" cmp one two
"$lariat" "${sample[@]}" -s 7 --samples 3 >three
must "samples: the first is that of the seed" test "$(jq -rs '.[0].text' three)" = "$("$lariat" "${sample[@]}" -s 7)"
must "and none is another" jq -es '[.[].tokens] | unique | length == 3' three

# Texts that end a reply are not printed, wherever tokens are cut.
"$lariat" generate -q -m letters -p hello -n 30 >whole
for cut in 1 5 9 14; do
    must "the reply ends before what stands at $cut" test "$("$lariat" generate -q -m letters -p hello -n 30 --stop never \
        --stop "$(tail -c +$((cut + 1)) whole | head -c 3)")" = "$(head -c $cut whole)"
done
run generate -q -m mha-bf16 --tokens one -n 1 --stop x
run generate -q -m letters -p x -n 1 --stop ''
run generate -q -m letters -p x -n 1 --logit-bias 3
run generate -q -m letters -p x -n 1 --logit-bias 3=101
run generate -q -m letters -p x -n 1 --logit-bias 512=1
run generate -q -m letters -p '' -n 1 --samples 2
run generate -q -m letters --prompts one -n 1 --samples 2

# What has no use without a temperature is remarked on once; one that is named is meant.
echo 1 >one
run generate -q -m mha-bf16 --tokens one -n 0 --top-k 4 --top-p 0.5 --min-p 0.1 -s 1
run generate -q -m mha-bf16 --tokens one -n 0 --temp 0 -s 1
run chat -q -m letters -p x -n 1 -s 1
echo '{"tokens": [1], "temperature": 1}' | "$lariat" generate -q -m mha-bf16 --prompts - -n 1 -s 1 2>err >out
must "nor is a seed for lines that have one" cmp err /dev/null

# Why a reply ends. 511 is the tokenizer's <|im_end|>; nobody tells a model without a tokenizer.
"$lariat" tokenize -m letters -p 'hello the world' | "$lariat" generate -q -m mha-bf16 --tokens - -n 9 >ids
must "the fifth id would be the end" test "$(cut -d ' ' -f 5 ids)" = 511
run generate -q -m letters -p 'hello the world'
cut -d ' ' -f -4 ids | { "$lariat" tokenize -m letters --decode && echo; } >text
must "so the text ends before it" cmp "$work.seen/out" text
echo 1 2 3 >ids
run generate -q -m mha-bf16 --tokens ids -c 8
run generate -q -m mha-bf16 --tokens ids -c 8 -n 2
run generate -q -m mha-bf16 --tokens ids -c 3 -n 2
run generate -q -m mha-bf16 --tokens ids -c 8193 -n 2

# A model with more ids than its tokenizer has tokens, as most published ones are padded: what has no token is no text, and no end.
mkdir padded && ln -s ../letters/{config.json,generation_config.json,model.safetensors} padded
jq '.added_tokens = [] | .model.vocab |= with_entries(select(.value < 256)) | .model.merges = []' letters/tokenizer.json \
    >padded/tokenizer.json
echo 97 | "$lariat" generate -q -m mha-bf16 --tokens - -n 12 >reply
must "some of the reply has no token, and some behind it has" \
    jq -e '[splits(" ") | tonumber] | index(map(select(. > 255))[0]) as $at | any(.[$at:][]; . < 256)' <<<"\"$(cat reply)\""
{ tr ' ' '\n' <reply | awk '$1 < 256' | "$lariat" tokenize -m padded --decode && echo; } >text
"$lariat" generate -q -m padded -p a -n 12 >"$work.seen/out"
must "the reply is whole, without what is no text" cmp "$work.seen/out" text
printf '{"prompt": "a"}\n{"tokens": [97]}\n' | "$lariat" generate -q -m padded --prompts - -n 12 >lines
must "so are replies of a batch" jq -es --rawfile text text --rawfile reply reply \
    'length == 2 and all(.text + "\n" == $text and (.tokens | map(tostring) | join(" ")) + "\n" == $reply)' lines
run tokenize -m padded --decode -p '104 511 105'

# The figures of a run.
run generate -q -m mha-bf16 --tokens ids -n 4 --ranks 2 --stats stats.json
must "the figures are JSON" \
    jq -e '.prefill_tokens == 3 and .decode_tokens == 3 and (.shard_slots | add) == 6 and .plan.ranks == 2' stats.json
for key in $(jq -r '[paths | map(select(type == "string")) | last] | unique[]' stats.json); do
    grep -qE "[\`.]$key\`" "$here/../../docs/files.md" || say "NOT in docs/files.md: $key"
done
"$lariat" generate -q -m mha-bf16 --tokens ids -n 4 --ranks 2 --plan --stats plan.json >/dev/null
must "under --plan it is the plan that the run has" \
    jq -es '(.[0] | keys) == ["command", "model", "plan", "version"] and .[0].command == .[1].command and .[0].model == .[1].model and
    ([.[].plan | del(.available_bytes, .fits_context)] | .[0] == .[1])' plan.json stats.json
run generate -q -m mha-bf16 --plan -c 8 --stats nowhere/stats.json
"$lariat" generate -m mha-bf16 --tokens ids -n 4 >/dev/null 2>"$work.seen/err"
must "the last line tells them" grep -qE \
    '^load [0-9.]+ s \| first token [0-9.]+ s \| prefill 3 tokens, [0-9.]+ tokens/s \| decode 3 tokens, [0-9.]+ tokens/s' "$work.seen/err"

# A trace of it: spans of work nest, and do not overlap otherwise; hops never do. Times are whole nanoseconds.
"$tensors" ids mha-bf16/expected.safetensors case5.tokens | tr ' ' '\n' >long
traced=(generate -q -m mha-bf16 --tokens long -n 3 --ranks 3 -t 3 --chunk 40 --layout tokens)
"$lariat" "${traced[@]}" >plain
run generate -q -m mha-bf16 --tokens long -n 3 --ranks 3 -t 3 --chunk 40 --layout tokens --trace trace.json --stats stats.json
must "the same text" cmp "$work.seen/out" plain
must "the trace is JSON" jq -e '.traceEvents[0].args.name == "mha-bf16"' trace.json
must "a track for each rank, one for its hops" test "$(jq -r '.traceEvents[] | select(.name == "thread_name").args.name' trace.json |
    sort | tr '\n' ,)" = "hops to rank 0,hops to rank 1,hops to rank 2,rank 0,rank 1,rank 2,"
must "with all that a ring does" test "$(jq -r '.traceEvents[] | select(.ph == "X").name' trace.json | sort -u | tr '\n' ' ')" = \
    "attention embedding feed-forward head hop layer pass projections wait "
must "spans nest and do not overlap" jq -e '[.traceEvents[] | select(.ph == "X") |
    {tid, b: (.ts * 1000 | round), e: ((.ts + .dur) * 1000 | round)}] | group_by(.tid) | length == 6 and all(
    reduce .[] as $s ({open: [], ok: true}; .open |= until(length == 0 or .[-1] > $s.b; .[:-1]) |
    .ok = (.ok and (.open == [] or ($s.tid % 2 == 0 and .open[-1] >= $s.e))) | .open += [$s.e]) | .ok)' trace.json
must "hops are of other ranks, and bring something" jq -e '[.traceEvents[] | select(.name == "hop")] |
    all(.tid % 2 == 1 and .args.owner != (.tid - 1) / 2 and .args.bytes > 0 and .args.layer >= 0)' trace.json
must "the figures have the hidden share" jq -e '.ring.hops > 0 and .ring.hops_hidden >= 0 and .ring.hops_hidden <= 1' stats.json
"$lariat" generate -m mha-bf16 --tokens long -n 1 --ranks 2 --layout tokens >/dev/null 2>"$work.seen/err"
must "so has the last line" grep -qE ' \| hop [0-9.]+ kB, hops [0-9]+ % hidden, waited [0-9.]+ s' "$work.seen/err"
"$lariat" generate -q -m mha-bf16 --tokens long -n 1 --stats stats.json >/dev/null
must "one rank has none" jq -e '.ring.hops == 0 and .ring.hops_hidden == null' stats.json
echo '{"prompt": "hello"}' | "$lariat" generate -q -m letters --prompts - -n 2 --trace trace.json >/dev/null
must "a batch is traced too" jq -e '[.traceEvents[] | select(.name == "pass")] | length > 0' trace.json
run generate -q -m mha-bf16 --tokens long -n 1 --trace nowhere/trace.json

# What is refused.
run generate -m nothing -p x
run generate -m mha-bf16 -p x
run generate -m mha-bf16
run generate -p x
run generate -m letters -p x -f hello
run generate -m letters -f nothing
run generate -m letters -f /
run generate -m letters -p ''
run generate -m letters -p hello -c 2
run generate -m letters -p x --stats nowhere/stats.json -n 1 -q
echo 1 512 >bad && run generate -m mha-bf16 --tokens bad
echo 1 -2 >bad && run generate -m mha-bf16 --tokens bad
echo 1 2x 3 >bad && run generate -m mha-bf16 --tokens bad
echo 99999999999999999999 >bad && run generate -m mha-bf16 --tokens bad
echo 1,,2 >bad && run generate -m mha-bf16 --tokens bad
printf ' \n, ' >bad && run generate -m mha-bf16 --tokens bad
echo 1 2 3 >bad && run generate -m mha-bf16 --tokens bad -n 30000000
"$lariat" generate -m random:70b --tokens ids -c 16m 2>"$work.seen/err"
must "what does not fit is refused" test $? = 1
must "by how much" grep -qE '^lariat: random:70b: .*needs [0-9.]+ GB, .* [0-9.]+ GB too little' "$work.seen/err"
# fits [MODEL CONTEXT]: half of it, as others take memory meanwhile; nothing is named where no type would do, or the weights do fit
fits() {
    [ $# = 0 ] || { "$lariat" generate -m "$1" -c $((($2 + 1) / 2)) --plan >plan && ! grep 'does not fit' plan; }
}
"$lariat" generate -m random:13b --tokens ids -c 16m 2>"$work.seen/err"
fitting=$(grep -oE 'random:13b:[A-Z0-9_]+, with which a context of [0-9]+' "$work.seen/err" | tr -d ,)
# shellcheck disable=SC2086 # two words: the model and its context
must "and what it says would fit does" fits ${fitting%% *} ${fitting##* }
run generate -m random:7b: --tokens ids
sed 's/"vocab":{/"vocab":{"none":-1,/' "$here/letters/tokenizer.json" >letters/tokenizer.json
run generate -m letters -p hello
finish
