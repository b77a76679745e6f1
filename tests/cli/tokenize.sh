#!/usr/bin/env bash
# lariat tokenize: text to ids and back, by options, files and lines. That ids are right for real tokenizers is tested in tests/text.
. "$(dirname "$0")/common.sh"

mkdir only && cp letters/tokenizer.json only # a directory that holds only a tokenizer
run tokenize -m only -p 'hello'
run tokenize -m letters -p 'hello <s>'
run tokenize -m letters -p 'hello <s>' --special --bos
printf 'two lines\nof text' >text
run tokenize -m only -f text
"$lariat" tokenize -m only <text >ids && run tokenize -m only --decode -f ids
must "the bytes come back" cmp "$work.seen/out" text
run tokenize -m letters --decode -p '508,104 266'
run tokenize -m letters --decode --special -p '508,104 266'
run tokenize -m only -p ''

# One JSON string a line in, one array a line out.
printf '"hello"\n""\n"a\\u0000b\\n"\n\n"\\u00e9"\n' >lines
run tokenize -m only --jsonl -f lines
run tokenize -m only --jsonl -p '"hello"'

# Bytes alone come back through standard input or become U+FFFD. A zero is no text, but JSON can say it.
for byte in 0a 41 7f; do
    printf "\\x$byte" | "$lariat" tokenize -m only | "$lariat" tokenize -m only --decode >back
    must "byte $byte comes back" test "$(od -An -tx1 back)" = " $byte"
done
printf 'a\xffb' | "$lariat" tokenize -m only | "$lariat" tokenize -m only --decode >back
must "an invalid byte is U+FFFD" test "$(od -An -tx1 back | tr -d ' \n')" = 61efbfbd62

echo '"\u0000"' | "$lariat" tokenize -m only --jsonl | tr -d '[]' | "$lariat" tokenize -m only --decode >back
must "byte 00 comes back" test "$(od -An -tx1 back)" = " 00"

# A byte-order mark is read over, before texts, lines and ids; inside a text it is one of its characters.
mark=$'\xEF\xBB\xBF'
"$lariat" tokenize -m only -p hello >ids
must "a text" cmp ids <(printf '%shello' "$mark" | "$lariat" tokenize -m only)
printf '%shello' "$mark" >marked
must "a file" cmp ids <("$lariat" tokenize -m only -f marked)
must "lines" cmp <(printf '[104,266,469]\n[104,266,469]\n') <(printf '%s"hello"\n"hello"\n' "$mark" | "$lariat" tokenize -m only --jsonl)
must "ids" cmp <(printf hello) <(printf '%s' "$mark" | cat - ids | "$lariat" tokenize -m only --decode)
printf '%s%sx' "$mark" "$mark" | "$lariat" tokenize -m only | "$lariat" tokenize -m only --decode >back
must "the second is text" cmp back <(printf '%sx' "$mark")

# What is refused.
run tokenize -m mha-bf16 -p x
run tokenize -m nothing -p x
run tokenize -m random:smollm2-135m -p x
run tokenize -m only --bos -p x
run tokenize -m only --decode -p '1 2 x'
run tokenize -m only --decode -p '511 512'
printf '"fine"\n{"no":1}\n' >lines && run tokenize -m only --jsonl -f lines
printf '"fine"\n"not closed\n' >lines && run tokenize -m only --jsonl -f lines
printf '"\\ud800"\n' >lines && run tokenize -m only --jsonl -f lines
finish
