#!/usr/bin/env bash
# lariat chat at a terminal, which `script` plays: prompt, editing, history kept for the next time, Ctrl-C and Ctrl-D.
. "$(dirname "$0")/common.sh"

# prompts N: the program has asked N times; a line that is edited may repeat its prompt behind a carriage return only
prompts() {
    [ "$(grep -ac '^> ' "$work.seen/out")" -ge "$1" ]
}

# talk KEYS...: each once the program asks for the next line
talk() {
    : >"$work.seen/out"
    for ((turn = 1; turn <= $#; turn++)); do
        until_it prompts "$turn"
        printf '%b' "${!turn}"
    done | script -qefc "exec '$lariat' chat -q -m letters -n 4 -c 48" /dev/null >>"$work.seen/out" 2>&1
    echo "status $?" >>"$work.seen/out" # of the program: exec leaves no shell between, which Ctrl-C might end before it
}

talk 'helo\x02l\n' '/exit\n' # Ctrl-B goes one letter back
must "it ends well" grep -q 'status 0' "$work.seen/out"
must "the edited line is kept" grep -q '^hello' state/lariat/history
must "only its owner may read the history" test "$(stat -c %a state/lariat/history)" = 600
talk '\x1b[A\x1b[A\n' '\x04' # up, up: the line of the last time
must "Ctrl-D ends it" grep -q 'status 0' "$work.seen/out"
must "the history is there again" grep -q 'hello' "$work.seen/out"
talk 'hello hello hello hello hello hello hello hello hello hello\n' '/exit\n'
must "what has no room is not said" grep -q 'warning: context: with this the talk has .* so it was not said' "$work.seen/out"
must "and the talk goes on" grep -q 'status 0' "$work.seen/out"
talk '\x03' '/exit\n'
must "Ctrl-C at the prompt does not end it" grep -q 'Ctrl-D or /exit ends the talk' "$work.seen/out"
must "and what follows is understood" grep -q 'status 0' "$work.seen/out"
"$lariat" tokenize -m letters --special -p $'<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n' | wc -w >count
script -qec "exec '$lariat' chat -m letters -n 4 -c 48 -p hello" /dev/null </dev/null >"$work.seen/out" 2>&1
must "a reading shows how much there is" grep -q "reading 0 of $(cat count) tokens" "$work.seen/out"
: >"$work.seen/out"
{ until_it prompts 1; kill -TERM "$(cat pid)"; } | script -qefc "echo \$\$ >pid; exec '$lariat' chat -q -m letters" /dev/null \
    >>"$work.seen/out" 2>&1
must "SIGTERM at the prompt ends it" test $? = 143
finish
