#!/usr/bin/env bash
# Builds one of the examples as its first lines say, against an installed library that pkg-config finds, and runs it.
#   run.sh SOURCE STAGE COMPILER
set -euo pipefail
source=$1 stage=$2 compiler=$3
name=$(basename "$source" .c)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

found=$(find "$stage" -name lariat.pc)
export PKG_CONFIG_PATH=${found%/*}
mapfile -t library < <(pkg-config --cflags --libs lariat | xargs -n 1) # which takes away what quotes a blank in a path
export LD_LIBRARY_PATH=${found%/pkgconfig/*}
"$compiler" -Wall -Wextra -Wpedantic -Werror "$source" -o "$work/$name" "${library[@]}" -pthread -lm

model=${XDG_CACHE_HOME:-${HOME:-}/.cache}/lariat/SmolLM2-135M-Instruct.Q4_1.gguf
needs_model() {
    [ -f "$model" ] || { echo "skipped: no $model, scripts/fetch-model.sh fetches it"; exit 77; }
}

# What a program writes with the library is what ours writes with it.
case $name in
continue_text)
    needs_model
    prompt="The capital of France is"
    text=$("$work/$name" "$model" "$prompt")
    [ -n "$text" ]
    [ "$text" = "$("$stage/bin/lariat" generate -q -m "$model" -p "$prompt" -n 64 --ranks 2)" ]
    status=0
    said=$("$work/$name" "$work/missing" "$prompt" 2>&1) || status=$?
    [ "$status" = 1 ] && [[ $said = "generate: $work/missing: "* ]]
    ;;
conversation)
    [ "$(wc -l <"$source")" -lt 60 ] # as README says
    needs_model
    questions=$'Name a city.\nAnd another one.\n'
    text=$("$work/$name" "$model" <<<"${questions%$'\n'}")
    [ -n "$text" ]
    [ "$text" = "$("$stage/bin/lariat" chat -q -m "$model" -c 4096 <<<"${questions%$'\n'}")" ]
    status=0 # an answer that cannot be written
    said=$("$work/$name" "$model" <<<"Name a city." 2>&1 >/dev/full) || status=$?
    [ "$status" = 1 ] && [ "$said" = "chat: cannot write the answer" ]
    # An answer that fills the context, on a ring whose shards hold more than that.
    sed 's/{\.context = 4096}/{.context = 64, .ranks = 3, .device = LARIAT_DEVICE_CPU}/' "$source" >"$work/small.c"
    [ "$(diff "$source" "$work/small.c" | grep -c '^>')" = 1 ]
    "$compiler" -g -fsanitize=address "$work/small.c" -o "$work/small" "${library[@]}" -pthread -lm
    text=$(ASAN_OPTIONS=detect_leaks=0 "$work/small" "$model" <<<"Tell me a long story.") # leaks: not what this is about
    [ -n "$text" ]
    ;;
*)
    "$work/$name"
    ;;
esac
