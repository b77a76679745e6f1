#!/usr/bin/env bash
# lariat bench --hops: the rows and keys of its four formats, and what has no hops. No figure is judged.
. "$(dirname "$0")/common.sh"

run bench --hops --ranks 2,1
run bench --hops --ranks 2 --plan
run bench --hops --ranks 2 --dtype bf16
run generate -m mha-bf16 -p a --hops
run bench --hops --ranks 2 --dtype bf16 -o json
for useless in --compare --no-cache '--plot pictures' '--resume rows.jsonl' '--timeline layer.svg' '--trace trace.json'; do
    # shellcheck disable=SC2086
    run bench --hops $useless
done
run bench --hops --device cpu,cuda
must "nothing was written" test -z "$(ls ./*.jsonl ./*.svg ./*.json pictures 2>/dev/null)"
export LARIAT_RANKS=1
run bench --hops
LARIAT_RANKS=2

keys='["version","machine","via","cards","threads","reps","kind","ranks","bytes","time_us","min_us","max_us","algbw_gbs","busbw_gbs","share","processes","mpi_us","ping_us","of_mpi"]'
"$lariat" bench --hops -t 2 -r 1 -m nowhere -o jsonl --ranks '2,3' >rows &&
    jq -c 'select(.bytes < 5000 or .bytes > 6e7) | [.via,.threads,.reps,.kind,.ranks,.bytes]' rows >>"$transcript"
must "the keys, in their order" test "$(jq -c keys_unsorted rows | sort -u)" = "$keys"
must "every size of both kinds on both rings" test "$(jq -c '[.ranks,.kind]' rows | sort | uniq -c | awk '{ print $1 }' | xargs)" = "9 8 9 8"
must "times in order, rates that belong to them" jq -es 'all(.min_us > 0 and .min_us <= .time_us and .time_us <= .max_us and
    (.algbw_gbs * .time_us * 1000 / .bytes - 1 | fabs) < 1e-3 and
    (.busbw_gbs / .algbw_gbs / (if .kind == "keys" then 1 else (.ranks - 1) / .ranks end) - 1 | fabs) < 1e-3)' rows
must "shares of the rate of reading" jq -es 'all(.share == null or .share > 0)' rows
must "the device that was named" test "$("$lariat" bench --hops -r 1 --device cuda -o jsonl 2>/dev/null | head -n 1 | jq -r .via)" != memory

# The other formats, as far as their first rows: who reads no more ends the run.
first_lines() {
    { "$lariat" bench --hops -t 2 -r 1 -o "$2" 2>/dev/null || true; } | head -n "$1" >table
}
first_lines 3 json
must "a list" jq -e 'length == 2 and .[1].bytes == 16384' <<<"$(sed '$ s/,$/]/' table)"
first_lines 2 csv
must "a line for the names" test "$(head -n 1 table)" = "$(tr -d '[]"' <<<"$keys")"
must "a row" test "$(tail -n 1 table | cut -d , -f 3-9)" = "memory,0,2,1,keys,2,4096"
first_lines 3 md
must "a table" grep -q '^| [0-9.]*[^|]* | .* | memory | 0 | 2 | 1 | keys | 2 | 4096 |' table

# Ctrl-C ends the list behind the size that is being measured. (With job control, a background job does not ignore it.)
set -m
say '$ lariat bench --hops, interrupted'
"$lariat" bench --hops -t 2 -r 20 -o json >list 2>"$work.seen/err" </dev/null &
until_it test -s list
kill -INT $!
wait $!
status=$?
: >"$work.seen/out"
show $status
must "a whole list of some sizes" jq -e 'length > 0 and length < 17' list
finish
