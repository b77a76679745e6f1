#!/usr/bin/env bash
# lariat generate --prompts: answers in the order of the input, each as if its prompt were alone; bad lines are named first.
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

# A bad line is named before anything runs.
for line in 'nothing' '[]' '{}' '{"prompt": "x", "tokens": [1]}' '{"prompt": 7}' '{"tokens": "7"}' '{"tokens": [1, -1]}' \
    '{"tokens": [1, 2.5]}' '{"tokens": []}' '{"id": [], "tokens": [1]}' '{"prompt": "x"}' '{"tokens": [1], "tokens": [2]}'; do
    printf '{"tokens": [1]}\n%s\n' "$line" >prompts
    run generate -q -m mha-bf16 --prompts prompts -n 1
done
printf '{"tokens": [1]}\n{"tokens": [512]}\n' >prompts
run generate -q -m mha-bf16 --prompts prompts -n 1
printf '{"tokens": [1, 2, 3]}\n' >prompts
run generate -q -m mha-bf16 --prompts prompts -c 2
: >prompts && run generate -m mha-bf16 --prompts prompts
run generate -m mha-bf16 --prompts nothing
finish
