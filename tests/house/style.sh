#!/usr/bin/env bash
# Style of every file: at most 900 lines, a first comment that describes it, functions that fit a screen, nothing unfinished,
# nothing specific to one machine.
# Rests on awk and grep; checks the files that git does not ignore, or the same files by name without git.
#   style.sh CHECKOUT
set -euo pipefail
cd "$1"

bad=0
# complain WHAT LINES: each line of output is a finding
complain() {
    [ -n "$2" ] || return 0
    printf '%s:\n%s\n' "$1" "$2" >&2
    bad=1
}

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files --cached --others --exclude-standard | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
else
    # Without .gitignore's entries and git's own: a folder, or in a second worktree a file.
    mapfile -t files < <(find . \( -name .git -o -name __pycache__ -o -path ./.cache -o -type d -path './build*' \) -prune -o -type f -print |
        sed 's|^\./||')
fi
mapfile -t code < <(printf '%s\n' "${files[@]}" | grep -E '\.(c|h|cu|cuh|inc)$')

complain 'left behind by an editor, a merge or a patch' "$(printf '%s\n' "${files[@]}" | grep -E '(\.(orig|rej|bak|swp)|~)$' || true)"
complain 'over 900 lines' "$(wc -l "${code[@]}" | awk '$2 != "total" && $1 > 900 { print $2 ": " $1 }')"
complain 'does not begin with a comment that says what it is' \
    "$(for f in "${code[@]}"; do head -n 1 "$f" | grep -qE '^/[*/] ' || echo "$f"; done)"
complain 'functions over 64 lines' "$(awk '
    FNR == 1 { open = 0 }
    /^[a-z].*\)[^;]*$/ { name = $0 }
    /^\{/ { start = FNR; open = 1 }
    /^\}/ { if (open && FNR - start > 64) print FILENAME ":" start ": " FNR - start " lines: " name; open = 0 }
    ' "${code[@]}")"
mapfile -t texts < <(printf '%s\n' "${files[@]}" | grep -E '\.md$')
complain 'over 128 columns' "$(grep -nE '^.{129}' "${code[@]}" | cut -c 1-160)"
complain 'over 128 columns in a text (tables may be)' "$(grep -nE '^[^|].{128}' "${texts[@]}" | cut -c 1-160)"
complain 'the brace of a function on its line: it has one of its own' "$(grep -nE '^[a-zA-Z_][^=]*\) \{$' "${code[@]}" | cut -c 1-160)"
# The words are split here, so that this file is not a finding.
complain 'unfinished' "$(grep -nE '\b(TO''DO|FIX''ME|XX''X|HA''CK)\b|[Nn]ot (yet )?imple''mented' "${files[@]}" | cut -c 1-160)"
complain 'a path of one machine, or a registry by name' \
    "$(grep -nIE '(^|[^a-zA-Z0-9_.}])/(wo''rk|ro''ot|fa''rm)(/|\b)|py''pi\.org|python''hosted|deb\.deb''ian\.org' "${files[@]}" | cut -c 1-160)"
complain 'white space at the end of a line, or a tab, in C' "$(grep -nE '[[:space:]]$|	' "${code[@]}" | cut -c 1-160)"
exit $bad
