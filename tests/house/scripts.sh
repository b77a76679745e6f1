#!/usr/bin/env bash
# Every shell script of the project through shellcheck.
#   scripts.sh CHECKOUT
set -euo pipefail
cd "$1"
command -v shellcheck >/dev/null || { echo "skipped: no shellcheck here"; exit 77; }
mapfile -t scripts < <(grep -rlE -m 1 '^#!.*\b(ba)?sh\b' .ci scripts tests bench examples 2>/dev/null)
# Severities info and style are not checked.
shellcheck -x -S warning -P SCRIPTDIR "${scripts[@]}" scripts/common.sh
