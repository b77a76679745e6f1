#!/usr/bin/env bash
# What is no text is named by every subcommand that reads one: UTF-16, UTF-32, zero bytes. What some editors put before a text, a
# byte-order mark, changes nothing.
. "$(dirname "$0")/common.sh"
export LARIAT_KV=f32 # so that no processor rounds its way to another text

printf 'hello, the world' >plain
printf '\xEF\xBB\xBFhello, the world' >marked
printf '\xFF\xFEh\0i\0' >little
printf '\xFE\xFF\0h\0i' >big
printf '\xFF\xFE\0\0h\0\0\0' >wide
printf 'h\0i\0' >unmarked # UTF-16 without a mark
head -c 200 letters/model.safetensors >binary

utf='convert it to UTF-8 first (iconv -f'
zeros='holds zero bytes, so it is not a text, convert it to text first'
declare -A why=([little]="is UTF-16, $utf UTF-16 -t UTF-8)" [big]="is UTF-16, $utf UTF-16 -t UTF-8)" [wide]="is UTF-32, $utf UTF-32 -t UTF-8)"
    [unmarked]=$zeros [binary]=$zeros)
for command in "generate -f" "generate --tokens" "generate --prompts" "chat -p x -f" "perplexity -f" "perplexity --tokens" \
    "logits --out out --tokens" "tokenize -f" "tokenize --jsonl -f" "tokenize --decode -f"; do
    for file in little big wide unmarked binary; do
        # shellcheck disable=SC2086 # several words
        "$lariat" $command $file -q -m letters >"$work.seen/out" 2>"$work.seen/err"
        must "$command $file: refused" test $? = 1 -a ! -s "$work.seen/out"
        must "and named" cmp "$work.seen/err" - <<<"lariat: $file: ${why[$file]}"
    done
done
for command in "generate -f -" "generate" "generate --prompts -" "generate --tokens -" "chat" "chat -p x -f -" "tokenize" "perplexity -f -"; do
    say "\$ lariat $command <little"
    # shellcheck disable=SC2086
    "$lariat" $command -q -m letters <little >"$work.seen/out" 2>"$work.seen/err"
    show $?
done

# same WHAT: the program says the same of both files, behind the options given
same() {
    "$lariat" "$@" plain -q -m letters >one 2>&1
    "$lariat" "$@" marked -q -m letters >two 2>&1
    must "$* without the mark" cmp one two
}
same generate -n 5 -f
same chat -p x -n 5 -f
same perplexity -f
same tokenize -f
printf '{"prompt": "hello"}\n' >plain && printf '\xEF\xBB\xBF{"prompt": "hello"}\n' >marked
same generate -n 5 --prompts
printf '104 266\n' >plain && printf '\xEF\xBB\xBF104 266\n' >marked
same generate -n 5 --tokens
must "chat, a line without the mark" cmp <(echo hello | "$lariat" chat -q -m letters -n 5) \
    <(printf '\xEF\xBB\xBFhello\n' | "$lariat" chat -q -m letters -n 5)
finish
