#!/usr/bin/env bash
# The command line itself: what is understood, what is refused with exit 2, and that help, manual and completions are made.
. "$(dirname "$0")/common.sh"

for subcommand in '' generate; do # and, where it was built in a checkout, the commit
    must "the version" grep -qxE 'lariat [0-9]+\.[0-9]+\.[0-9]+(\+[0-9a-f]{7,}(\.changed)?)?' \
        <<<"$("$lariat" ${subcommand:+"$subcommand"} --version)"
done
run --help
run tokenize --help
run help logits
run help nothing
run help generat
run
run generat -m x
run generate -m x --tmep 1
run generate -m x --tmep=1
run generate -m x --temperature 1
run generate -m x -z
run generate -m x --bogus
run generate -m x -phello
run generate -m x -qv
run generate -m x -p a -p b
run generate -m x -n 1 --predict=2
run --version foo
run --help generate
run help help
run help generate --man
run perplexity -m x -p foo
run tokenize -m x --ranks 2
run sing
run -m x
run chat -m x --jsonl
run tokenize -m x --temp 1
run logits -m x --tokens y
run generate -m x -p
run generate -m x -p y -n
run generate -m x -p y -n many
run generate -m x -p y -n 1.5
run generate -m x -p y -n -1
run generate -m x -p y -c 99999m
run generate -m x -p y -c 9999999999999999999k
run generate -m x -p y --temp -1
run generate -m x -p y --temp nan
run generate -m x -p y --top-p 1.01
run generate -m x -p y --seed -1
run generate -m x -p y --kv f8
run generate -m x -p y --kv=
run generate -m x -p y --quiet=yes
run generate -m x text
run generate -m x -p y --ranks 0
run generate -m x -p y --ranks 99999999999999999999
run generate -m "" -p y
run generate -m x -f ""
run generate -m x -p y --stats=
run inspect ""
run inspect x --model ""
run generate -m x -p y --layout rows
run bench -m x -p 1,,2
run bench -m x --ranks 1,0
run bench -m x -p 0 -n 0
run bench -m x -p 8,16m
run bench -m x -o xml
run bench -m x -p 1k..8k
run bench -m x -p 8k..1k*2
run bench -m x -p 0..8*2
run bench -m x -p 1..8*1
run bench -m x -p 1..8+0
run bench -m x -p 1..100+1
run bench -m x -p 1..2..3*2
run bench -m x -p '1..8*2,'
run bench -m x -p 9223372036854775807..9223372036854775807*2
run bench -m x --kv f16,f8
run bench -m x --kv f16,
run bench -m x --block 1k --chunk 2k
run bench -m x --rank-threads 1 -t 2
run bench -m x --no-cache --depth 4
run bench -m x --no-cache -p 0,4
run bench -m x --compare --ranks 1
run bench -m x --block 1m --ranks 4096
run bench -m x -p 00000000000000000000000000000000000000000000000000000000000000512
run bench -m x --timeline x.svg --layout slices
run bench -m x --batch 0
run bench -m x -p 8m --depth 4m --batch 2
run bench -m x --plot ''
run bench --ceilings -p 512
run bench --ceilings --plan
run bench --ceilings --device cpu --dtype f32
run bench --ceilings --device cuda -t 2
LARIAT_DEVICE=auto CUDA_VISIBLE_DEVICES='' run bench --ceilings --dtype f16
run bench --ceilings --device cpu,cuda -t 2 --ranks 2
run tokenize -m x --jsonl --decode
run inspect
run inspect one two
run help --completion tcsh

# The environment sets what the command line does not, and is checked as that is.
export LARIAT_RANKS=3 LARIAT_KV=f32
plan() {
    "$lariat" generate -m mha-bf16 --plan -c 4k -t 3 --chunk 1k "$@" >plan
    grep -oE '^ring .*|^context .* positions|^KV cache|f(16|32)$' plan >>"$transcript"
}
plan -q
plan --ranks 2 --kv f16
LARIAT_RANKS=many run generate -m mha-bf16 --plan -c 4k
LARIAT_KV=f8 run tokenize -m letters -p hello
unset LARIAT_RANKS LARIAT_KV

"$lariat" generate -m mha-bf16 --plan -c 8 -t 4096 >plan 2>warned
must "many more threads than CPUs are remarked on" grep -q '^lariat: warning: -t: 4096 threads share [0-9]* CPU' warned
"$lariat" generate -m mha-bf16 --plan -c 8 -t 4 >plan 2>warned
must "a few are not" test ! -s warned

# Everything that describes the program comes from its table.
"$lariat" help --man >lariat.1 && must "the manual names every subcommand" test "$(grep -c '^.SS lariat ' lariat.1)" = 9
must "the manual names every variable once" test -z "$(grep -A 1 '^.TP' lariat.1 | grep '^.B LARIAT_' | sort | uniq -d)"
if command -v man >/dev/null; then
    must "the manual page has no faults" test "$(man --warnings -l lariat.1 2>&1 >/dev/null | wc -l)" = 0
else
    say "the manual page has no faults"
fi
"$lariat" help --completion bash >completion && must "bash reads its completions" bash -n completion
complete_words() {
    bash -c '. ./completion; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lariat; echo "${COMPREPLY[@]}"' _ "$@" >>"$transcript"
}
complete_words lariat per
complete_words lariat generate --kv ''
complete_words lariat chat --te
mkdir -p a_folder && : >a_folder/a.jinja
complete_words lariat chat --template a_folder/
for shell in zsh fish; do
    "$lariat" help --completion $shell >completion
    must "$shell has completions" test -s completion
    if command -v $shell >/dev/null; then
        must "$shell reads them" $shell -n completion
    else
        say "$shell reads them"
    fi
done
finish
