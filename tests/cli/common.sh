# What the end-to-end scripts share. Each runs the program in an empty folder of its own and writes down every command, what it
# printed (standard error behind "! ") and its exit status where that is not 0; finish compares this with NAME.expected beside
# it. Rests on bash and jq; CMakeLists.txt names the program, the tool tensors, the unpacked data, and whether the build is slow.
# shellcheck shell=bash disable=SC2034
set -u
lariat=$1
tensors=$2
unpacked=$3
quick=$4
name=$(basename "$0" .sh)
here=$(cd "$(dirname "$0")" && pwd)
reference=${LARIAT_REFERENCE:-$here/../../../shared}/reference
[ -d "$reference/models" ] || reference=$unpacked/reference
demo_model=${LARIAT_DEMO_MODEL:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/lariat/SmolLM2-135M-Instruct.Q4_1.gguf}

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export LARIAT_DEVICE=cpu LC_ALL=C.UTF-8 HOME=$work XDG_CACHE_HOME=$work/cache XDG_STATE_HOME=$work/state
unset LARIAT_MODEL LARIAT_DEVICES LARIAT_DTYPE LARIAT_VIA LARIAT_RANKS LARIAT_THREADS LARIAT_CHUNK LARIAT_KV \
    LARIAT_LAYOUT LARIAT_SIDE NO_COLOR LARIAT_MODEL_DIR LARIAT_MPI LARIAT_TIMEOUT
for model in mha-bf16 gqa-llama3-fp16-sharded mqa-bias-headdim-fp32 gqa-yarn-bf16; do
    ln -s "$reference/models/$model" "$model" || exit 1
done
# The same weights with a tokenizer of single letters and pairs of them, ChatML as its template.
mkdir letters && cp "$here"/letters/* letters && for file in config.json generation_config.json model.safetensors; do
    ln -s "$reference/models/mha-bf16/$file" letters/$file
done
mkdir "$work.seen" && trap 'rm -rf "$work" "$work.seen"' EXIT
transcript=$work.seen/transcript

say() {
    printf '%s\n' "$*" >>"$transcript"
}

# run ARGS...: one call of the program
run() {
    local status
    say "\$ lariat $*"
    "$lariat" "$@" >"$work.seen/out" 2>"$work.seen/err" </dev/null
    status=$?
    show $status
}

# show STATUS: what the last call left in out and err
show() {
    cat "$work.seen/out" >>"$transcript"
    sed 's/^/! /' "$work.seen/err" >>"$transcript"
    [ "$1" = 0 ] || say "= $1"
}

# must WHAT COMMAND...: a check that is not about the words that were printed
must() {
    local what=$1
    shift
    if "$@" >"$work.seen/why" 2>&1; then
        say "$what"
    else
        say "NOT: $what"
        cat "$work.seen/why" >>"$transcript"
    fi
}

# until_it COMMAND...: waits until the command succeeds, a minute at most
until_it() {
    for ((i = 0; i < 6000; i++)); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.01
    done
    say "NOT within a minute: $*"
}

# skip WHY: the data that the rest needs is not here
skip() {
    echo "skipped: $*"
    exit 77
}

finish() {
    diff -u "$here/$name.expected" "$transcript" || exit 1
    exit 0
}
