#!/usr/bin/env bash
# What cannot be written, read or waited for: one line, or none where nobody needs one; the right exit status, nothing left behind.
. "$(dirname "$0")/common.sh"

# Standard output that is full, or closed.
echo 1 2 3 >ids
for command in "generate -q -m mha-bf16 --tokens ids -n 2" "tokenize -m letters -p hello" "inspect mha-bf16" "--help" \
    "--version" "help --man" "perplexity -q -m mha-bf16 --tokens ids" "generate -m mha-bf16 --plan -c 8" \
    "bench -q -m mha-bf16 -p 2 -n 1 -r 1"; do
    say "\$ lariat $command >/dev/full"
    # shellcheck disable=SC2086 # several words
    "$lariat" $command >/dev/full 2>"$work.seen/err"
    status=$?
    : >"$work.seen/out"
    show $status
done
# A reader that has seen enough ends the program as it ends cat: without a word.
for i in {1..4000}; do echo '"hello"'; done >lines
for i in {1..40}; do echo '{"tokens": [1, 2, 3]}'; done >prompts
for command in "generate -q -m mha-bf16 --tokens ids -n 4000" "generate -q -m mha-bf16 --prompts prompts -n 40" "tokenize -m letters --jsonl -f lines" \
    "help --man" "bench -q -m mha-bf16 -p 2..32+1 -n 1 -r 1" "chat -q -m letters -n 400 -p hello" \
    "generate -q -m mha-bf16 --tokens ids -n 1 --stats /dev/stdout"; do
    say "\$ lariat $command | a reader that goes away"
    # shellcheck disable=SC2086 # several words
    { until_it test -e gone; "$lariat" $command 2>"$work.seen/err"; echo $? >status; } | { exec <&-; : >gone; }
    : >"$work.seen/out"
    show "$(cat status)"
    rm gone
done
run generate -q -m mha-bf16 --tokens ids -n 1 --stats /dev/full

# start ARGS...: the program itself as $!, not a shell around it
start() {
    rm -f stream
    (trap - EXIT && exec "$lariat" "$@" >stream 2>"$work.seen/err") &
}

# A model that shrinks while it is in use.
mkdir shrinking && cp mha-bf16/config.json mha-bf16/model.safetensors shrinking && chmod u+w shrinking/*
say '$ lariat generate with a model that shrinks'
start generate -q -m shrinking --tokens ids -c 8k
until_it test -s stream
truncate -s 4096 shrinking/model.safetensors
wait $!
status=$?
: >"$work.seen/out"
show $status

# Ctrl-C ends a run with 130, and takes with it what is not whole. (With job control, a background job does not ignore it.)
set -m
say '$ lariat generate, interrupted'
start generate -q -m mha-bf16 --tokens ids -c 8k
until_it test -s stream
kill -INT $!
wait $!
show $?
"$tensors" ids mha-bf16/expected.safetensors case5.tokens >long
for _ in 1 2 3 4 5 6 7 8; do cat long; done >longer
say '$ lariat logits, interrupted'
start logits -q -m mha-bf16 --tokens longer --out out.safetensors --chunk 1
until_it compgen -G 'out.safetensors*' >/dev/null
kill -INT $!
wait $!
show $?
must "nothing is left behind" test "$(compgen -G 'out.safetensors*')" = ""

# So does SIGTERM, with 143.
say '$ lariat generate, terminated'
start generate -q -m mha-bf16 --tokens ids -c 8k --stats stats.json
until_it grep -Eq '([0-9]+ ){3}' stream # the first token is the prompt's, and no decoded one
kill -TERM $!
wait $!
show $?
must "the figures are there" jq -e '.decode_tokens > 0' stats.json
# And SIGUSR1, which batch systems send before their limit of time, with 138.
say '$ lariat generate, warned'
start generate -q -m mha-bf16 --tokens ids -c 8k --stats stats.json
until_it grep -Eq '([0-9]+ ){3}' stream
kill -USR1 $!
wait $!
show $?
must "the figures are there" jq -e '.decode_tokens > 0' stats.json
# A batch writes what it has made, whole or not, or, to a file with which it goes on, what is whole.
printf '{"tokens": [1, 2], "id": "long"}\n{"tokens": [3]}\n' >prompts
say '$ lariat generate --prompts, interrupted'
start generate -q -m mha-bf16 --prompts prompts -n 8000
sleep 0.3
kill -INT $!
wait $!
show $? | cat >/dev/null
must "each line has what was made of it" jq -es '[.[] | [.id, .stop]] == [["long", "interrupted"], [2, "interrupted"]]' stream
# A file with which the batch goes on gets whole replies only.
printf '{"tokens": [1, 2], "max_tokens": 2}\n{"tokens": [3]}\n' >prompts
start generate -q -m mha-bf16 --prompts prompts -n 8000 --resume results.jsonl
until_it test -s results.jsonl
"$lariat" generate -q -m mha-bf16 --prompts prompts -n 8000 --resume results.jsonl 2>"$work.seen/refused"
must "another run leaves the file alone" grep -qx \
    'lariat: results.jsonl: another run writes it, wait for it or give another file' "$work.seen/refused"
kill -USR1 $!
wait $!
must "only the whole reply is kept" jq -es '[.[] | [.id, .stop]] == [[1, "length"]]' results.jsonl
# interrupt ARGS...: generate, and Ctrl-C once it has loaded the model
interrupt() {
    start generate "$@"
    until_it grep -q '^model ' "$work.seen/err"
    kill -INT $!
    wait $!
    local status=$?
    : >"$work.seen/err"
    show $status
}
# A result of OpenAI's form has no word for that but an error.
for i in {1..16}; do
    echo "{\"custom_id\": \"$i\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": [1], \"n\": 2, \"max_tokens\": 8000}}"
done >prompts
say '$ lariat generate --prompts, interrupted, of OpenAI'
interrupt -v -m mha-bf16 --prompts prompts
must "what is not whole is an error, what has not begun is missing" jq -es 'length >= 1 and length < 16 and
    all(.response == null and .error.code == "interrupted") and .[0].custom_id == "1"' stream
# Also while a prompt is read that samples share: what has begun by then is interrupted. (The line of the model follows loading.)
printf '{"tokens": [1, 2]}\n{"tokens": [%s], "n": 2}\n' "$(tr ' \n' ',,' <longer | sed 's/,$//')" >prompts
say '$ lariat generate --prompts, interrupted while it reads'
interrupt -v -m mha-bf16 --prompts prompts -n 9 --chunk 1
must "the replies that had begun are there" jq -es '[.[] | .stop // .choices[].stop] | .[-1] == "interrupted" and
    (.[:-1] | all(. == "length"))' stream
say '$ lariat logits, terminated'
start logits -q -m mha-bf16 --tokens longer --out out.safetensors --chunk 1
until_it compgen -G 'out.safetensors*' >/dev/null
kill -TERM $!
wait $!
show $?
must "nothing is left behind" test "$(compgen -G 'out.safetensors*')" = ""
# Of a text those windows are scored that are whole.
yes 1 2 3 5 | head -n 100000 | tr '\n' ' ' >endless
say '$ lariat perplexity, interrupted'
start perplexity -v -m mha-bf16 --tokens endless -c 2
until_it grep -q '^model ' "$work.seen/err"
sleep 1
kill -INT $!
wait $!
status=$?
windows=$(sed -nE 's/.*interrupted after ([0-9]+) of 200000 windows.*/\1/p' "$work.seen/err")
: >"$work.seen/err"
show $status
head -c $((windows * 4)) endless >begun
"$lariat" perplexity -q -m mha-bf16 --tokens begun -c 2 >whole
must "the result is that of the text as far as it was read" cmp stream whole
say '$ lariat bench, terminated'
start bench -q -m mha-bf16 -p 8,4k -n 1 -r 900 -o jsonl --resume kept.jsonl
until_it grep -q '}$' kept.jsonl
"$lariat" bench -q -m mha-bf16 -p 8,4k -n 1 -r 900 -o jsonl --resume kept.jsonl 2>"$work.seen/refused"
must "another run leaves the file alone" grep -q 'kept.jsonl: another run writes it, wait for it' "$work.seen/refused"
kill -TERM $!
wait $!
show $?
must "what was measured is written" jq -e '.reps >= 1' stream
mkfifo typed && exec {typed}<>typed
say '$ lariat chat, terminated while it waits for a line'
echo hello >&$typed
start chat -q -m letters -n 4 -c 48 <&$typed
until_it test -s stream
sleep 0.2
kill -TERM $!
wait $!
show $?
say '$ lariat tokenize, terminated while it waits for its text'
start tokenize -m letters <&$typed
sleep 0.2
kill -TERM $!
wait $!
show $?
finish
