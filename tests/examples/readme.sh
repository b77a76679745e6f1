#!/usr/bin/env bash
# Runs the commands of README.md as they are written, with an installed Lariat and the demo's model where README has them: in a
# home folder of its own. The build is configured only, and what it would install is STAGE. Commands that read the long text or
# measure are only planned (--plan), hops are measured once.
#   readme.sh CHECKOUT STAGE
set -euo pipefail
checkout=$1 stage=$2
model=${XDG_CACHE_HOME:-${HOME:-}/.cache}/lariat/SmolLM2-135M-Instruct.Q4_1.gguf
[ -f "$model" ] || { echo "skipped: no $model, scripts/fetch-model.sh fetches it"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/.cache/lariat" "$work/clone"
ln -s "$model" "$work/.cache/lariat/"
ln -s "$stage" "$work/.local"
ln -s "$checkout/examples" "$work/clone/"
unset "${!LARIAT_@}" XDG_CACHE_HOME XDG_STATE_HOME PKG_CONFIG_PATH LD_LIBRARY_PATH
export HOME=$work LARIAT_DEVICE=cpu
cd "$work/clone"

# block SECTION: its indented lines, without remarks
block() {
    sed -n "/^## $1\$/,/^## /s/^    //p" "$checkout/README.md" | sed 's/  *# .*//'
}

n=0
while IFS= read -r command; do
    case $command in
    "cmake -S . -B build"*)
        command=${command%%&&*}
        command="cmake -S \"\$checkout\" -B \"\$work/build\" ${command#* -B build}"
        ;;
    cmake*) continue ;; # STAGE is what it gives
    *--hops*) command="$command -r 1" ;;
    *'$text'* | *" bench "*) command="$command --plan" ;;
    esac
    echo "\$ $command"
    # In this shell, so that a variable holds for the lines after it.
    eval "$command" </dev/null >out 2>&1 || { echo "README.md: failed ($?): $command"; cat out; exit 1; }
    n=$((n + 1))
done < <(block Install; block "The program"; block "The library")
[ "$n" -ge 19 ] || { echo "README.md: only $n commands were found"; exit 1; }

# What they left behind is what README says.
[ "$(wc -l <answers.jsonl)" = 1 ] && grep -q Paris answers.jsonl
[ "$(lariat tokenize --decode -f ids.txt)" = "Hello, ring" ]
[ -s logits.safetensors ]
