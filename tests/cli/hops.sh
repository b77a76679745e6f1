#!/usr/bin/env bash
# lariat bench --hops: the rows and keys of its four formats, and what has no hops. No figure is judged.
. "$(dirname "$0")/common.sh"

run bench --hops --ranks 2,1
run bench --hops --ranks 2 --plan
run bench --hops --ranks 2 --dtype bf16
run generate -m mha-bf16 -p a --hops
export LARIAT_RANKS=1
run bench --hops
LARIAT_RANKS=2

keys='["version","machine","via","threads","reps","kind","ranks","bytes","time_us","min_us","max_us","algbw_gbs","busbw_gbs","share"]'
"$lariat" bench --hops -t 2 -r 1 -m nowhere -o jsonl --ranks '2,3' >rows &&
    jq -c 'select(.bytes < 5000 or .bytes > 6e7) | [.via,.threads,.reps,.kind,.ranks,.bytes]' rows >>"$transcript"
must "the keys, in their order" test "$(jq -c keys_unsorted rows | sort -u)" = "$keys"
must "every size of both kinds on both rings" test "$(jq -c '[.ranks,.kind]' rows | sort | uniq -c | awk '{ print $1 }' | xargs)" = "9 8 9 8"
must "times in order, rates that belong to them" jq -es 'all(.min_us > 0 and .min_us <= .time_us and .time_us <= .max_us and
    (.algbw_gbs * .time_us * 1000 / .bytes - 1 | fabs) < 1e-3 and
    (.busbw_gbs / .algbw_gbs / (if .kind == "keys" then 1 else (.ranks - 1) / .ranks end) - 1 | fabs) < 1e-3)' rows
must "shares of the rate of reading" jq -es 'all(.share == null or .share > 0)' rows

# The other formats, as far as their first rows: who reads no more ends the run.
first_lines() {
    { "$lariat" bench --hops -t 2 -r 1 -o "$2" 2>/dev/null || true; } | head -n "$1" >table
}
first_lines 3 json
must "a list" jq -e 'length == 2 and .[1].bytes == 16384' <<<"$(sed '$ s/,$/]/' table)"
first_lines 2 csv
must "a line for the names" test "$(head -n 1 table)" = "$(tr -d '[]"' <<<"$keys")"
must "a row" test "$(tail -n 1 table | cut -d , -f 3-8)" = "memory,2,1,keys,2,4096"
first_lines 3 md
must "a table" grep -q '^| [0-9.]* | .* | memory | 2 | 1 | keys | 2 | 4096 |' table
finish
