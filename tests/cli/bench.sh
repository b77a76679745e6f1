#!/usr/bin/env bash
# lariat bench: the rows and keys of its four formats, and the ceilings kept by machine. No figure is judged.
. "$(dirname "$0")/common.sh"

keys='["model","ranks","threads","chunk","kv","n_prompt","n_gen","prefill_s","prefill_tps","decode_s","decode_tps","ceiling_share"]'
bench=(bench -q -m mha-bf16 -p '9,4' -n 3 -r 3 --ranks '1,2' -t 2 --chunk 64 --kv bf16)
"$lariat" "${bench[@]}" --plan >plans &&
    must "a plan for each row" test "$(grep -c '^ring  *ranks [12], threads 2, passes of up to 64 tokens$' plans)" = 4
"$lariat" "${bench[@]}" -o jsonl >rows && jq -c '[.model,.ranks,.threads,.chunk,.kv,.n_prompt,.n_gen]' rows >>"$transcript"
must "the keys that come first, in their order" test "$(jq -c 'keys_unsorted[:12]' rows | sort -u)" = "$keys"
must "and the same behind them, with what a row is repeated by" jq -es 'map(keys_unsorted) | unique | length == 1 and
    (.[0] | contains(["version", "fingerprint", "cpu", "device", "dtype", "layout", "side", "depth", "batch", "cache", "reps"]))' rows
must "times and rates belong together" jq -es 'all(.prefill_s > 0 and .decode_s > 0 and
    (.prefill_tps * .prefill_s / .n_prompt - 1 | fabs) < 1e-3 and (.decode_tps * .decode_s / .n_gen - 1 | fabs) < 1e-3)' rows
must "medians lie between the least and the most" jq -es 'all(.reps == 3 and .prefill_min_s <= .prefill_s and
    .prefill_s <= .prefill_max_s and .decode_min_s <= .decode_s and .decode_s <= .decode_max_s)' rows
"$lariat" "${bench[@]}" -o json >table && must "one list" jq -e 'length == 4 and .[3].n_prompt == 4' table
"$lariat" "${bench[@]}" -o csv >table &&
    must "a line for the names, one for each row, as many fields in each" test \
    "$(wc -l <table) $(awk -F, '{ print NF }' table | sort -u | wc -l) $(head -n 1 table | cut -d, -f 1-12)" = \
    "5 1 $(tr -d '[]"' <<<"$keys")"
"$lariat" "${bench[@]}" >table && must "a table" test "$(grep -c '^| mha-bf16 | [12] | 2 | 64 | bf16 |' table)" = 4

# The axes.
tiny=(bench -q -m mha-bf16 -r 1 -o jsonl)
"$lariat" "${tiny[@]}" -t 2 -p '1..4*2,5..7+1' -n 0,2 --kv 'f32,f16' --block '2,3' --ranks 2 >rows
must "every combination once" jq -es '(map([.kv, .chunk, .n_prompt, .n_gen]) | unique | length) == 48 and length == 48 and
    ([.[].n_prompt] | unique) == [1, 2, 4, 5, 6, 7] and ([.[].chunk] | unique) == [4, 6]' rows
"$lariat" "${tiny[@]}" -p 3 -n 2 --depth 0,8 --batch 1,3 --rank-threads 1 --ranks 1,2 >rows
must "depth, batches, threads of a rank" jq -es 'map([.ranks, .threads, .batch, .depth]) ==
    [[1, 1, 1, 0], [1, 1, 1, 8], [1, 1, 3, 0], [1, 1, 3, 8], [2, 2, 1, 0], [2, 2, 1, 8], [2, 2, 3, 0], [2, 2, 3, 8]]' rows
must "rates of a batch are those of all its sequences" jq -es 'all((.prefill_tps * .prefill_s / .n_prompt / .batch - 1 | fabs)
    < 1e-3)' rows
"$lariat" bench -q -m random:3-70b -p 4 --depth 16776192 -n 0 -r 1 >table
must "what does not fit is a row that says so" test "$(grep -c '^| random:3-70b .*too little' table)" = 1

# Rings beside rings of one.
compare=(bench -q -m mha-bf16 --compare -p '2,9,30' -n 3 -r 2 --ranks '2,3' --block 4 --rank-threads 1 --kv f32)
"$lariat" "${compare[@]}" -o jsonl >rows
must "three rings of one and six others" jq -es 'map(.ranks) == [1, 1, 1, 2, 2, 2, 3, 3, 3]' rows
must "the same tokens, logits that differ by rounding" jq -es '.[3:] | all(.same_tokens and .first_difference == null and
    .logit_difference < 2e-5 and .prefill_speedup > 0 and .decode_speedup > 0 and .regular_prefill_s > 0)' rows
must "speed-up is regular over ring" jq -es '.[3:] | all((.prefill_speedup * .prefill_s / .regular_prefill_s - 1 | fabs) < 1e-3)' rows
must "a rank of a ring holds less" jq -es '(.[5].rank_bytes < .[2].rank_bytes) and (.[8].rank_bytes < .[2].rank_bytes)' rows
"$lariat" "${compare[@]}" --no-cache -o jsonl >rows
must "without a cache too" jq -es '.[3:] | all(.same_tokens and (.cache | not))' rows
"$lariat" "${compare[@]}" >table
must "a table and a line for each ring" test "$(grep -c '^| [23] | .* | all |' table) $(grep -c '^Ring of' table)" = "6 2"

# What was measured is not measured again.
"$lariat" "${bench[@]}" -o jsonl --resume kept >rows
must "a line for each sample" test "$(wc -l <kept)" = 12
"$lariat" "${bench[@]}" -o jsonl --resume kept >again
must "taken from the file" test "$(wc -l <kept) $(jq -c '[.prefill_s, .decode_s, .reps]' again)" = "12 $(jq -c '[.prefill_s, .decode_s, .reps]' rows)"
head -n 7 kept >begun && printf '{"row":{"ver' >>begun
"$lariat" "${bench[@]}" -o jsonl --resume begun >again
must "a torn line is dropped, what is missing is measured" jq -es 'length == 12' begun
"$lariat" "${compare[@]}" -o jsonl --resume compared >rows
must "a line for each sample and each check" test "$(grep -c '"sample"' compared) $(grep -c '"check"' compared)" = "18 6"
"$lariat" "${compare[@]}" -o jsonl --resume compared >again
must "nothing is measured or checked again" test "$(wc -l <compared)" = 24
must "and all is the same" test "$(jq -c '[.same_tokens, .logit_difference]' rows)" = "$(jq -c '[.same_tokens, .logit_difference]' again)"
"$lariat" bench -q -m mha-bf16 --compare -p 4 -n 1 -r 1 --ranks '2,2' --resume twins >table && "$lariat" bench -q -m mha-bf16 --compare \
    -p 4 -n 1 -r 1 --ranks '2,2' --resume twins >table
must "rows that are alike have a check each" test "$(wc -l <twins)" = 5
printf '{"my": "settings"}' >settings
run bench -q -m mha-bf16 --resume settings
must "a file of something else stays" test "$(cat settings)" = '{"my": "settings"}'
run bench -q -m mha-bf16 --resume rows --trace rows
run bench -q -m mha-bf16 --plot settings
echo '{"row": {}}' >>kept
run "${bench[@]}" --resume kept

run bench -q -m mha-bf16 --resume /dev/null

# Ctrl-C, also between two samples: what was measured is written.
set -m
"$lariat" bench -q -m mha-bf16 -p '4,5' -n 1 -r 1000 -o json --resume stopped >rows &
until_it grep -q sample stopped
kill -INT $!
wait $!
must "Ctrl-C ends with 130" test $? = 130
must "and a whole list of what there is" jq -e 'length >= 1 and .[0].reps >= 1' rows
must "no sample more than were kept" test "$(jq 'map(.reps) | add' rows)" = "$(wc -l <stopped)"
(ulimit -f 1 && "$lariat" bench -q -m mha-bf16 -p '4,5' -n 1 -r 3 -o json --resume full 2>why) | cat >rows
must "a file that is full loses nothing of the table" jq -e 'length >= 1 and .[0].reps >= 1' rows
must "and is named" grep -q '^lariat: full: cannot write' why

# Pictures, a trace, a layer.
"$lariat" bench -q -m mha-bf16 --ranks '1,2' --rank-threads 1 -p '16,32' -n 2 -r 2 --layout tokens --chunk 16 --trace trace.json --timeline layer.svg \
    --plot pictures >table 2>why
must "a trace of the last row's ranks" jq -e '[.traceEvents[] | select(.ph == "X") | .tid] | unique | length >= 3' trace.json
must "a picture of a layer" grep -q 'keys of\|>1<\|from 1' layer.svg
if command -v gnuplot >gnuplot.path; then
    must "pictures with their data" test -s pictures/first-token.svg -a -s pictures/token.png -a -s pictures/speedup.tsv
else
    say "pictures with their data"
fi

"$lariat" bench -q -m mha-bf16 -p 0 -n 2 -r 1 -o jsonl >rows &&
    must "decode alone" jq -e '.prefill_s == null and .decode_tps > 0' rows
"$lariat" bench -q -m mha-bf16 -p 5 -n 0 -r 2 -o jsonl >rows &&
    must "prefill alone" jq -e '.decode_s == null and .prefill_tps > 0' rows

"$lariat" bench -q --ceilings -t 1 && must "ceilings are kept" jq -e '.threads."1".fma_flops > 0' cache/lariat/ceilings-*.json
"$lariat" bench -q --ceilings -m mha-bf16 -t 1 -p 4 -n 2 -r 1 -o jsonl >rows
must "a share of those of the same run" jq -e '.ceiling_share > 0 and .ceiling_share < 1 and .fma_flops > 0 and .read_rate > 0' rows
must "with the read rate of the weights" jq -e '[.threads."1".reads[]] | length == 1' cache/lariat/ceilings-*.json
"$lariat" bench -q --ceilings -t 2 &&
    must "other numbers of threads stay" jq -e '.threads | keys == ["1", "2"]' cache/lariat/ceilings-*.json
finish
