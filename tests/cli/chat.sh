#!/usr/bin/env bash
# lariat chat: turns, the document, commands, what is refused; at a terminal: editing, history, Ctrl-C.
. "$(dirname "$0")/common.sh"
export LARIAT_KV=f32 # so that no processor rounds its way to another text

# What the template makes of a turn is what generate continues.
run chat -q -m letters -p 'hello' -n 12 -c 128
marked=$'<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n'
"$lariat" generate -q -m letters --special -p "$marked" -n 12 >text
must "as generate continues the written-out turn" cmp "$work.seen/out" text

# Each line of a pipe is a turn. The cache that is kept between turns changes nothing, and costs a turn its own tokens only.
printf 'hello\n \nhow are you\n' | "$lariat" chat -q -m letters -n 8 -c 256 --kv f32 --stats stats.json >two 2>"$work.seen/err"
show $? && say "$(wc -l <two) lines"
first=$("$lariat" chat -q -m letters -p hello -n 8 -c 256 --kv f32)
begins=$'<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n'
goes_on=$'<|im_end|>\n<|im_start|>user\nhow are you<|im_end|>\n<|im_start|>assistant\n'
ids() {
    "$lariat" tokenize -m letters --special -p "$1"
}
# reply FOLDER OPTION...: the first answer, of a batch; reply_ids: its ids
reply() {
    echo '{"messages": [{"role": "user", "content": "hello"}]}' | "$lariat" generate -q -m "$1" --prompts - "${@:2}"
}
reply_ids() {
    reply "$@" | jq -r '.tokens[]'
}
answer=$(reply_ids letters -n 8)
{ ids "$begins"; echo "$answer"; ids "$goes_on"; } >second
"$lariat" generate -q -m letters --tokens second -n 8 --kv f32 >text
must "the first turn as alone" test "$(head -n 1 two)" = "$first"
must "the second turn as without a cache, with the ids of the first answer" test "$(tail -n +2 two)" = "$(cat text)"
must "whose text has other ids" test "$(ids "$first" | tr ' ' '\n')" != "$answer"
# All but the answer's last id, which nothing has followed yet.
must "what was read is not read again" jq -e ".prefill_tokens == $(wc -w <second) - 7 and .decode_tokens == 14" stats.json

# A reply ends at the text of a marker that no file names: here the fifth id of the answer has that text.
fifth=$(sed -n 5p <<<"$answer")
cp -r letters marked && jq --argjson id "$fifth" '
    (.model.vocab | to_entries[] | select(.value == $id).key) as $old
    | .model.vocab |= with_entries(if .value == $id then .key = "<|eot_id|>" else . end)
    | .model.merges |= map(select(split(" ") | .[0] != $old and .[1] != $old and add != $old))' \
    letters/tokenizer.json >marked/tokenizer.json
must "the prompt is the same" test "$("$lariat" tokenize -m marked --special -p "$begins")" = "$(ids "$begins")"
must "the reply ends at the marker" test "$(reply_ids marked -n 8)" = "$(head -n 4 <<<"$answer")"
must "and not there with --no-stop-markers" test "$(reply_ids marked -n 8 --no-stop-markers)" = "$answer"
must "so does a turn of chat" test "$("$lariat" chat -q -m marked -p hello -n 8)" = "$(reply marked -n 8 | jq -r .text)"
must "and not there with --no-stop-markers" test "$("$lariat" chat -q -m marked -p hello -n 8 --no-stop-markers)" = \
    "$(reply marked -n 8 --no-stop-markers | jq -r .text)"

# The model may go on with an id that the tokenizer has not: a row that pads the vocabulary.
cp -r letters fewer && jq '.model.vocab |= with_entries(select(.value < 300)) | .added_tokens |= map(select(.id < 300))
    | .model.vocab as $v | .model.merges |= map(select($v[split(" ") | add]))' letters/tokenizer.json >fewer/tokenizer.json
must "the model has ids that the tokenizer has not" jq -e 'any(.tokens[]; . >= 300)' <(reply fewer -n 8)
must "and talks on after one" test "$(printf 'hello\nhow are you\n' | "$lariat" chat -q -m fewer -n 8 -c 256 | wc -l)" = 2

# An answer that a text ended stays in the talk as it was shown.
cut=${first:1:2}
printf 'hello\nhow are you\n' | "$lariat" chat -q -m letters -n 8 -c 256 --kv f32 --stop "$cut" >two
must "the answer ends before the text" test "$(head -n 1 two)" = "${first%%"$cut"*}"
second=$'<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n'"${first%%"$cut"*}"
second+=$'<|im_end|>\n<|im_start|>user\nhow are you<|im_end|>\n<|im_start|>assistant\n'
"$lariat" generate -q -m letters --special -p "$second" -n 8 --kv f32 --stop "$cut" >text
must "and the next turn goes on from that" test "$(tail -n +2 two)" = "$(cat text)"

# The document stands before the first thing that is said, also after /reset.
printf 'a long document' >document
run chat -q -m letters -f document -p 'sum up' -n 6 -c 256
marked=$'<|im_start|>user\na long document\n\nsum up<|im_end|>\n<|im_start|>assistant\n'
"$lariat" generate -q -m letters --special -p "$marked" -n 6 >text
must "the document before the question" cmp "$work.seen/out" text
printf 'sum up\n/reset\nsum up\n' | "$lariat" chat -q -m letters -f document -n 6 -c 256 >twice
must "twice the same" cmp twice <(cat text text)
run chat -q -m letters --system 'be brief' -p 'hello' -n 6 -c 128
marked=$'<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n'
"$lariat" generate -q -m letters --special -p "$marked" -n 6 >text
must "the system message first" cmp "$work.seen/out" text

# Commands.
say '$ lariat chat <commands'
printf '/help\n/nothing\n/exit\nnever said\n' | "$lariat" chat -q -m letters -c 128 >"$work.seen/out" 2>"$work.seen/err"
show $?

say '$ lariat chat <a folder'
"$lariat" chat -q -m letters -c 128 <letters >"$work.seen/out" 2>"$work.seen/err"
show $?

# A full context is said.
run chat -q -m letters -p 'hello' -c 48
run chat -q -m letters -p 'hello hello hello hello hello hello hello' -c 24
run chat -q -m letters -f document -c 8
say '$ lariat chat <hello and a line that is too long'
printf 'hello\nhello hello hello hello hello hello hello\nnever said\n' |
    "$lariat" chat -q -m letters -n 1 -c 48 >"$work.seen/out" 2>"$work.seen/err"
show $?

# What is refused.
run chat -m mha-bf16 -p x
run chat -m letters -p x --template alpaca
printf '{{ messages[0].content|nosuch }}' >broken.jinja
run chat -m letters -p x --template broken.jinja
: >empty.jinja
run chat -q -m letters -p x --template empty.jinja
run chat -q -m letters -p hello -n 1 --template chatml --var add_generation_prompt=no
run template -m letters --messages messages.json --var 'a b=1'
run template -m letters --messages messages.json --var 'messages=[]'
# A conversation as its template writes it.
printf '[{"role": "user", "content": "hello"}]' >messages.json
run template -m letters --messages messages.json
run template -m letters --messages messages.json --var add_generation_prompt=false
run template -f empty.jinja --messages messages.json
printf '{{ strftime_now("%%d %%b %%Y") }} {{ bos_token }} {{ tools }} {{ x }}\n\n' >own.jinja
run template -f own.jinja --messages messages.json --now 2026-11-27T12:34:56 --var 'bos_token="<s>"' --var 'x=[1, "a"]'
run template -f llama3 --messages messages.json --now soon
run template -f llama3 --messages messages.json --now 2026-02-31T00:00:00
run template -f own.jinja --messages messages.json --now 2028-02-29 --var 'bos_token=""'
printf '{{ bos_token }}\n{{ raise_exception("never") }}' >refusing.jinja
run template -f refusing.jinja --messages messages.json
cp -r letters speechless && jq 'del(.chat_template)' letters/tokenizer_config.json >speechless/tokenizer_config.json
run template -m speechless --messages messages.json
run chat -m speechless -p x
cp refusing.jinja speechless/chat_template.jinja
run template -m speechless --messages messages.json
rm speechless/chat_template.jinja
jq '.chat_template = "\n\n{% nosuch %}"' letters/tokenizer_config.json >speechless/tokenizer_config.json
run chat -m speechless -p x
# A NUL: the template of the next file is used, with a warning, and JSON with one is refused.
cp letters/tokenizer_config.json speechless && printf 'a\0b' >speechless/chat_template.jinja
run template -m speechless --messages messages.json
rm speechless/chat_template.jinja
# No template: what there is in its place is said.
mkdir speechless/chat_template.jinja
run template -m speechless --messages messages.json
rmdir speechless/chat_template.jinja
for change in '.chat_template = 5' '.chat_template = [{"name": "default", "template": 5}]' \
    '.chat_template = [{"name": "tool_use", "template": "a"}, {"name": "rag", "template": "b"}]' \
    '.chat_template = [{"template": "a"}]' '.chat_template = null' \
    '.chat_template = [{"name": "rag", "template": "b"}, {"name": "default", "template": "a\n\n"}]'; do
    jq "$change" letters/tokenizer_config.json >speechless/tokenizer_config.json
    run template -m speechless --messages messages.json
done
for change in '.chat_template = "a\u0000b"' '.chat_template = [{"name": "default", "template": "\u0000"}]' '.extra = {"a\u0000b": 1}' \
    '.added_tokens_decoder = {"508": {"content": "a\u0000b"}}'; do
    jq "$change" letters/tokenizer_config.json >speechless/tokenizer_config.json
    run template -m speechless --messages messages.json
done
cp letters/tokenizer_config.json speechless && jq '.added_tokens[0].content = "a\u0000b"' letters/tokenizer.json >speechless/tokenizer.json
run template -m speechless --messages messages.json
mkdir adapter && printf '{"base_model_name_or_path": "org/base"}' >adapter/adapter_config.json
run chat -m adapter -p x
run template -m adapter --messages messages.json
run template -m mha-bf16 --messages messages.json
printf '[{]' >wrong.json
run template -f llama3 --messages wrong.json
printf '[]' >wrong.json
run template -f llama3 --messages wrong.json
for object in '{"messages": [{"role": "user", "content": "hello"}]}' '{"messages": 5}'; do
    printf '%s' "$object" >wrong.json
    run template -f llama3 --messages wrong.json
done
run template -m letters
printf 'a\0b' >document && cp "$here/letters/tokenizer_config.json" letters && run chat -m letters -f document -p x
say '$ lariat chat <a zero'
printf 'hi\0there\n' | "$lariat" chat -q -m letters -c 128 >"$work.seen/out" 2>"$work.seen/err"
show $?
run chat -m letters -p ''
printf ' \n' >document && run chat -m letters -f document -p x
finish
