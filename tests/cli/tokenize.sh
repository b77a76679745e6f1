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

# All bytes there are, alone, come back through standard input or become U+FFFD.
for byte in 00 0a 41 7f; do
    printf "\\x$byte" | "$lariat" tokenize -m only | "$lariat" tokenize -m only --decode >back
    must "byte $byte comes back" test "$(od -An -tx1 back)" = " $byte"
done
printf 'a\xffb' | "$lariat" tokenize -m only | "$lariat" tokenize -m only --decode >back
must "an invalid byte is U+FFFD" test "$(od -An -tx1 back | tr -d ' \n')" = 61efbfbd62

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
