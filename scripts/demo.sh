#!/usr/bin/env bash
# One command from a bare Debian 12 or Ubuntu 24.04 to a published model that reads a long text on a ring of two ranks.
# Rests on common.sh and fetch-model.sh; idempotent. Read on in README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

text=/usr/share/common-licenses/GPL-3
[ -r "$text" ] || die "$text is not here: it comes with the package base-files of Debian and Ubuntu"

need_packages gcc=gcc libc6-dev cmake=cmake ninja=ninja-build pkg-config=pkg-config libjansson-dev libpcre2-dev \
    libutf8proc-dev libedit-dev
need_room . 200 "another folder for the checkout"

say "Building ..."
configure build # without options of our own: README's Install goes on with this folder, its module for GPUs included
quietly "building" cmake --build build --parallel "$(jobs)" --target lariat
model=$(scripts/fetch-model.sh)

# Without a terminal the program shows no progress.
if [ ! -t 2 ]; then
    sign_every=30 # seldom among the words of the answer
    signs_of_life
    trap calm EXIT
fi

say "" "A ring of two ranks reads $text and continues it:"
build/lariat generate -m "$model" --ranks 2 -f "$text" -n 64 </dev/null
say "" "One question:"
build/lariat chat -m "$model" -p "In one sentence: what is a ring buffer good for?" </dev/null
