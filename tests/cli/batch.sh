#!/usr/bin/env bash
# lariat generate --prompts: answers in the order of the input, each as if its prompt were alone; a bad line has an error there.
. "$(dirname "$0")/common.sh"
export LARIAT_KV=f32 # so that no processor rounds its way to another text

# All prompts of the reference at once, more than are run at the same time, in an order that lets the short end first.
expected=mha-bf16/expected.safetensors
for round in 1 2 3 4; do
    for case in 4 0 3 1 2; do
        echo "{\"id\": \"$round.$case\", \"tokens\": [$("$tensors" ids $expected case$case.tokens | tr ' ' ',')]}"
    done
done >prompts
run generate -q -m mha-bf16 --prompts prompts -n 24 --kv f32 --ranks 2
while read -r line; do
    id=$(jq -r .id <<<"$line")
    must "$id as the reference continues it" test "$(jq -r '.tokens | map(tostring) | join(" ")' <<<"$line")" = \
        "$("$tensors" ids $expected "case${id#*.}.greedy")"
done <"$work.seen/out"

# With -c each is as long as that, so that they end at different times.
grep -v '\.4"' prompts >short
"$lariat" generate -q -m mha-bf16 --prompts short -c 90 --kv f32 --ranks 3 >out
while read -r line; do
    id=$(jq -r .id <<<"$line")
    must "$id as the reference begins" test "$(jq -r '.stop + " " + (.tokens[:24] | map(tostring) | join(" "))' <<<"$line")" = \
        "context $("$tensors" ids $expected "case${id#*.}.greedy")"
done <out

# Names, text, and why each ends.
cat >prompts <<'END'
{"prompt": "hello"}

{"id": 17, "tokens": [104, 266, 469]}
{"id": "a\"b", "prompt": "<s>"}
END
run generate -q -m letters --prompts prompts -n 3
"$lariat" generate -q -m letters --prompts - -n 3 <prompts >out
must "the same from standard input" cmp "$work.seen/out" out
# A file of results: what is whole stays, what was torn is made again, what is of another input is refused.
run generate -q -m letters --prompts prompts -n 3 --resume results.jsonl
must "the file has the same" cmp "$work.seen/out" /dev/null
must "and all of it" cmp results.jsonl out
head -c $(($(head -n 1 out | wc -c) + 20)) out >results.jsonl
run generate -q -m letters --prompts prompts -n 3 --resume results.jsonl --stats stats.json
must "a torn line is made again" cmp results.jsonl out
must "and no whole one" jq -e '.prefill_tokens == 6' stats.json
# Wherever a run was killed, also where lines have no names but their numbers: the whole comes out, and each is read once.
printf '%s\n' '{"prompt": "hello"}' '' '{"tokens": [104, 266, 469]}' '{"tokens": [9]}' >nameless
"$lariat" generate -q -m letters --prompts nameless -n 3 --temp 1 -s 5 >whole
resumes_from() {
    head -c "$1" whole >results.jsonl
    "$lariat" generate -q -m letters --prompts nameless -n 3 --temp 1 -s 5 --resume results.jsonl --stats stats.json &&
        cmp results.jsonl whole
}
step=$([ "$quick" = 1 ] && echo 97 || echo 23)
for ((at = 0; at < $(wc -c <whole); at += step)); do
    resumes_from $at >why 2>&1 || say "NOT: killed behind byte $at: $(cat why)"
done
must "killed before the end of a line" resumes_from $(($(head -n 2 whole | wc -c) - 1))
must "only the last two are made again" jq -e '.prefill_tokens == 4' stats.json
must "killed between two lines" resumes_from "$(head -n 2 whole | wc -c)"
must "only the last is made" jq -e '.prefill_tokens == 1' stats.json
printf '{"id": 3, "text": "x", "tokens": []}\n{"id": ' >results.jsonl
run generate -q -m letters --prompts prompts -n 3 --resume results.jsonl
must "a file that is refused stays as it is" test "$(wc -l <results.jsonl)" = 1
run generate -q -m letters --prompts prompts --resume /dev/null
run generate -q -m letters -p x --resume results.jsonl
echo '{"tokens": [1, 2, 3]}' >prompts
run generate -q -m mha-bf16 --prompts prompts -c 6

# Parameters of a line: its own before the options', and each is as the options alone.
cat >prompts <<'END'
{"id": "greedy", "prompt": "hello"}
{"id": "own", "prompt": "hello", "max_tokens": 9, "temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "seed": 7, "mine": [1]}
{"id": "none", "prompt": "hello", "max_tokens": 0, "temperature": null, "seed": 3, "model": "any"}
{"id": "penal", "prompt": "hello", "max_completion_tokens": 9, "presence_penalty": 2, "frequency_penalty": 1.5, "repeat_penalty": 1.3}
{"id": "bias", "prompt": "hello", "max_tokens": 9, "logit_bias": {"107": 100, "108": -3.5}}
{"id": "stop", "prompt": "hello", "max_tokens": 9, "stop": ["zz", "kde"], "n": 2}
{"id": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, "chat_template_kwargs": {"add_generation_prompt": false}}
END
run generate -q -m letters --prompts prompts -n 5
cp "$work.seen/out" lines
# alone ID ARGS...: the line's text is what generate prints for it alone
alone() {
    local id=$1
    shift
    "$lariat" generate -q -m letters -p hello "$@" >plain
    must "$id as it is alone" test "$(cat plain)" = "$(jq -r "select(.id == \"$id\") | .text // .choices[0].text" lines)"
}
alone greedy -n 5
alone own -n 9 --temp 1.5 --top-k 40 --top-p 0.9 --min-p 0.01 -s 7
alone penal -n 9 --presence-penalty 2 --frequency-penalty 1.5 --repeat-penalty 1.3
alone bias -n 9 --logit-bias 107=100 --logit-bias 108=-3.5
alone stop -n 9 --stop zz --stop kde
must "a bias of 100 is all that is left" jq -es '.[4].tokens | all(. == 107)' lines
must "both samples of a greedy line are the same" jq -es '.[5].choices | .[0].text == .[1].text' lines
# What is not supported is that line's error; so is what is out of range, or of another type.
hello='"messages": [{"role": "user", "content": "hello"}]'
for line in '"stream": true' '"best_of": 2' '"response_format": {"type": "json_object"}' '"temperature": -1' '"temperature": "x"' \
    '"max_tokens": 1.5' '"n": 0' '"stop": [""]' '"logit_bias": {"x": 1}' '"logit_bias": {"512": 1}' '"logprobs": 21' \
    '"top_logprobs": 2' '"seed": []' '"stop": 3' '"presence_penalty": 3' '"chat_template_kwargs": 1, "messages": []' \
    '"chat_template_kwargs": 5' '"chat_template_kwargs": {"x": 1}, "tools": []' '"tools": [{}]' '"messages": {}' '"messages": [{"role": 1}]' \
    '"tools": "bad"' "$hello, \"tools\": \"bad\"" "$hello, \"chat_template_kwargs\": {\"messages\": []}" \
    "$hello, \"tools\": [], \"chat_template_kwargs\": {\"tools\": []}"; do
    case $line in *'"messages"'*) prompt= ;; *) prompt=', "prompt": "x"' ;; esac
    echo "{\"id\": 1$prompt, $line}"
done >prompts
echo '{"prompt": "x", "stream": false, "best_of": 1, "response_format": {"type": "text"}, "echo": null, "tools": [], "chat_template_kwargs": {}}' >>prompts
run generate -q -m letters --prompts prompts -n 1
sed -n 1p prompts >bad
run generate -q -m letters --prompts bad -n 1 --plan
{ cat bad && echo '{"prompt": "x"}'; } >prompts
"$lariat" generate -q -m letters --prompts prompts -n 1 --plan >"$work.seen/out" 2>"$work.seen/err"
must "a plan is for the lines that are good, and names a bad one" grep -q '1 of 2 lines.*line 1: "stream"' "$work.seen/err"
must "it is printed" grep -q context "$work.seen/out"
echo '{"tokens": [1], "stop": "x"}' | "$lariat" generate -q -m mha-bf16 --prompts - -n 1 >"$work.seen/out" 2>"$work.seen/err"
show $?

# Log-probabilities: greedy tokens are the most probable ones, and of the oracle's logits.
"$tensors" ids $expected case2.tokens >ids
echo "{\"tokens\": [$(tr ' ' ',' <ids)], \"logprobs\": 3, \"n\": 2}" >prompts
"$lariat" generate -q -m mha-bf16 --prompts prompts -n 24 --kv f32 --ranks 2 >lines
must "each token's log-probability is that of the most probable" jq -e '.choices | length == 2 and all(.[]; (.tokens | length) == 24 and
    ([.tokens, .logprobs] | transpose | all(.[0] == .[1].token and .[1].top[0].token == .[0] and .[1].top[0].logprob == .[1].logprob and
    (.[1].top | length) == 3 and .[1].logprob < 0)))' lines
must "the tokens are the reference's" test "$(jq -r '.choices[1].tokens | map(tostring) | join(" ")' lines)" = \
    "$("$tensors" ids $expected case2.greedy)"
"$lariat" generate -q -m mha-bf16 --tokens ids -n 24 --kv f32 --ranks 2 --samples 2 --logprobs 3 >two
must "--samples and --logprobs give the same" jq -es '.[0].choices == .[1:]' lines two

echo '{"custom_id": "ids", "body": {"prompt": [1, 2], "max_tokens": 2, "logprobs": 2}}' >prompts
"$lariat" generate -q -m mha-bf16 --prompts prompts >lines
echo '{"tokens": [1, 2]}' | "$lariat" generate -q -m mha-bf16 --prompts - -n 2 >two
must "OpenAI's form has ids as texts where there is no tokenizer" jq -es '.[1].tokens as $ids |
    .[0].response.body.choices[0].logprobs | (.tokens | map(tonumber)) == $ids and
    ([.tokens, .top_logprobs, .token_logprobs] | transpose | all(.[1][.[0]] == .[2] and (.[1] | length) == 2))' lines two

# An id that the model does not have is found before the prompt is read, and is no result.
run generate -q -m mha-bf16 --tokens ids -n 2 --samples 2 --logit-bias 512=1
echo 512 >bad && run generate -q -m mha-bf16 --tokens bad -n 2 --samples 2
printf '{"tokens": [1, 2], "n": 2, "logit_bias": {"512": 1}}\n{"tokens": [3]}\n' >prompts
"$lariat" generate -q -m mha-bf16 --prompts prompts -n 1 --stats stats.json >lines 2>"$work.seen/err"
must "only the other prompt is read" jq -e '.prefill_tokens == 1' stats.json

# What is written is not kept: six times as many results (19 KB a token here) take no more memory. Sanitizers keep what is freed.
# peak LINES: kB that a run of so many has taken when it writes one more, which no pipe holds
mkfifo pipe
peak() {
    for ((i = 0; i < $1; i++)); do echo '{"tokens": [1], "logprobs": 20}'; done >prompts
    echo '{"tokens": [1], "logprobs": 20, "max_tokens": 200}' >>prompts
    "$lariat" generate -q -m mha-bf16 --prompts prompts -n 60 >pipe &
    exec {piped}<pipe
    head -n "$1" <&$piped >/dev/null
    grep VmHWM "/proc/$!/status" | tr -dc 0-9
    cat <&$piped >/dev/null
    exec {piped}<&-
    wait
}
if [ "$quick" != 1 ]; then
    must "results are freed as they are written" test "$(peak 96)" -lt $((2 * $(peak 16)))
else
    say "results are freed as they are written"
fi

# OpenAI's form.
cat >prompts <<'END'
{"custom_id": "one", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "hello", "max_tokens": 5}, "mine": 3}
{"custom_id": "two", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "logprobs": true, "top_logprobs": 1}}
{"custom_id": "bad", "url": "/v1/embeddings", "body": {"input": "x"}}
{"custom_id": "key", "url": "/v1/completions", "body": {"prompt": "x", "max_tokens": 1, "min_tokens": 3, "user": "me", "object": "mine"}}
{"custom_id": "ids", "url": "/v1/completions", "body": {"prompt": [104, 266, 469], "max_tokens": 2, "logprobs": 1, "n": 2}}
{"custom_id": "other", "url": "/v1/completions", "body": {"messages": []}}
{"custom_id": 3, "body": {}}
{"custom_id": "number", "url": 5, "body": {"prompt": "x"}}
END
"$lariat" generate -q -m letters --prompts prompts >"$work.seen/out" 2>"$work.seen/err"
status=$?
cp "$work.seen/out" openai
sed -i -E 's/"created": [0-9]+/"created": .../; s/(-[0-9]\.[0-9]{3})[0-9]*/\1.../g' "$work.seen/out"
show $status
head -n 3 openai >results.jsonl
run generate -q -m letters --prompts prompts --resume results.jsonl
must "it goes on behind the lines that are there" cmp <(head -n 3 openai) <(head -n 3 results.jsonl)
must "what is no parameter is copied" jq -es '.[3].response.body | .min_tokens == 3 and .user == "me" and .object == "text_completion"' openai
must "to the same" jq -es 'map(del(.response.body.created)) | .[:8] == .[8:]' openai results.jsonl

# Each line has random numbers of its own, and each sample; -s repeats them.
for ((i = 0; i < 20; i++)); do echo '{"prompt": "hello", "n": 2}'; done >prompts
"$lariat" generate -m letters --prompts prompts -n 8 --temp 3 >lines 2>err
must "no two are alike" jq -es '[.[].choices[].tokens] | (unique | length) == 40' lines
"$lariat" generate -q -m letters --prompts prompts -n 8 --temp 3 -s "$(sed -nE 's/^seed ([0-9]+) .*/\1/p' err)" --ranks 2 >again
must "the seed that was drawn is said, and gives them again" cmp lines again
"$lariat" generate -m letters --prompts prompts -n 8 --temp 3 >again 2>/dev/null
must "without it others come" test "$(cmp lines again)" != ""
"$lariat" tokenize -m letters -p hello >ids
"$lariat" logits -q -m letters --tokens ids --out row.safetensors --last 1
yes '{"prompt": "hello", "max_tokens": 1}' | head -n "$([ "$quick" = 1 ] && echo 1500 || echo 10000)" >many
"$lariat" generate -q -m letters --prompts many --temp 1 -s 1 >lines
must "tokens of 10,000 lines are as frequent as the model has them" python3 "$here/chi_square.py" row.safetensors lines
"$lariat" generate -m letters --prompts prompts 2>"$work.seen/err" >lines -c 12
must "without -n a reply is bounded, which is said" grep -qx 'replies end after 512 tokens at most where -n and max_tokens do not say how many' \
    "$work.seen/err"

# A bad line has an error, the others run.
for line in 'nothing' '[]' '{}' '{"prompt": "x", "tokens": [1]}' '{"prompt": 7}' '{"tokens": "7"}' '{"tokens": [1, -1]}' \
    '{"tokens": [1, 2.5]}' '{"tokens": []}' '{"id": [], "tokens": [1]}' '{"prompt": "x"}' '{"tokens": [1], "tokens": [2]}'; do
    printf '{"tokens": [1]}\n%s\n' "$line" >prompts
    run generate -q -m mha-bf16 --prompts prompts -n 1
done
printf '{"tokens": [1]}\n{"tokens": [512]}\n' >prompts
run generate -q -m mha-bf16 --prompts prompts -n 1
printf '{"tokens": [1, 2, 3]}\n' >prompts
run generate -q -m mha-bf16 --prompts prompts -c 2
# null is as if the key were absent; custom_id and body beside a prompt are keys like others.
cat >prompts <<'END'
{"prompt": "hello", "tokens": null, "messages": null, "id": null, "custom_id": null, "body": null}
{"prompt": null, "messages": [{"role": "user", "content": "hello"}], "tools": null}
{"tokens": [104, 266, 469], "custom_id": "mine", "body": "text"}
{"custom_id": "openai", "body": {"prompt": "hello", "messages": null, "tokens": null, "min_tokens": null}, "url": null}
{"custom_id": null, "body": {"prompt": "hello"}}
{"custom_id": "no body", "body": null}
{"prompt": null}
END
"$lariat" generate -q -m letters --prompts prompts -n 1 >"$work.seen/out" 2>"$work.seen/err"
status=$?
sed -i -E 's/"created": [0-9]+/"created": .../' "$work.seen/out"
show $status
"$lariat" generate -q -m letters --prompts prompts -n 1 --resume results.null 2>"$work.seen/err"
run generate -q -m letters --prompts prompts -n 1 --resume results.null
# So has one with a zero byte, and one that is no UTF-8; at its beginning the input is of another encoding.
printf '{"prompt": "a\0b"}\n\xff\xfe{"prompt": "x"}\n\0\n{"prompt": "x"}\n' >prompts
run generate -q -m letters --prompts prompts -n 1
printf '\xff\xfe{\0\n\0' >wide && run generate -q -m letters --prompts wide
# A bad line takes no figures from the others.
printf '{"tokens": [1, 2]}\n{}\n' >prompts
run generate -q -m mha-bf16 --prompts prompts -n 3 --stats stats.json --trace trace.json
must "the figures are there" jq -e '.prefill_tokens == 2 and .decode_tokens == 2' stats.json
must "docs/files.md lists their keys, and no others" python3 "$here/stats_keys.py" "$here/../../docs/files.md" stats.json
must "so is the trace" jq -e '[.traceEvents[] | select(.name == "pass")] | length > 0' trace.json
"$lariat" generate -m mha-bf16 --prompts prompts -n 3 >/dev/null 2>"$work.seen/err"
must "and the line of figures" grep -qE '^load .* \| prefill 2 tokens' "$work.seen/err"
echo '{}' >prompts
run generate -q -m mha-bf16 --prompts prompts --stats none.json --resume results.new
run generate -q -m mha-bf16 --prompts prompts --stats none.json --trace none.json --resume results.new
must "without an engine there are none" test ! -e none.json
: >prompts && run generate -m mha-bf16 --prompts prompts
run generate -m mha-bf16 --prompts nothing
finish
