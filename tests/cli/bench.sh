#!/usr/bin/env bash
# lariat bench: the rows and keys of its four formats, and the ceilings kept by machine. No figure is judged.
. "$(dirname "$0")/common.sh"

keys='["model","ranks","threads","chunk","kv","n_prompt","n_gen","prefill_s","prefill_tps","decode_s","decode_tps","ceiling_share"]'
bench=(bench -q -m mha-bf16 -p '9,4' -n 3 -r 3 --ranks '1,2' -t 2 --chunk 64 --kv bf16)
"$lariat" "${bench[@]}" --plan >plans &&
    must "a plan for each ring" test "$(grep -c '^ring  *ranks [12], threads 2, passes of up to 64 tokens$' plans)" = 2
"$lariat" "${bench[@]}" -o jsonl >rows &&
    jq -c '[.model,.ranks,.threads,.chunk,.kv,.n_prompt,.n_gen,.ceiling_share]' rows >>"$transcript"
must "the keys, in their order" test "$(jq -c keys_unsorted rows | sort -u)" = "$keys"
must "times and rates belong together" jq -es 'all(.prefill_s > 0 and .decode_s > 0 and
    (.prefill_tps * .prefill_s / .n_prompt - 1 | fabs) < 1e-3 and (.decode_tps * .decode_s / .n_gen - 1 | fabs) < 1e-3)' rows
"$lariat" "${bench[@]}" -o json >table && must "one list" jq -e 'length == 4 and .[3].n_prompt == 4' table
"$lariat" "${bench[@]}" -o csv >table &&
    must "a line for the names, one for each row" test "$(wc -l <table) $(head -n 1 table)" = \
    "5 $(tr -d '[]"' <<<"$keys")"
"$lariat" "${bench[@]}" >table && must "a table" test "$(grep -c '^| mha-bf16 | [12] | 2 | 64 | bf16 |' table)" = 4
"$lariat" bench -q -m mha-bf16 -p 0 -n 2 -r 1 -o jsonl >rows &&
    must "decode alone" jq -e '.prefill_s == 0 and .decode_tps > 0' rows
"$lariat" bench -q -m mha-bf16 -p 5 -n 0 -r 2 -o jsonl >rows &&
    must "prefill alone" jq -e '.decode_s == 0 and .prefill_tps > 0' rows

"$lariat" bench -q --ceilings -t 1 && must "ceilings are kept" jq -e '.threads."1".fma_flops > 0' cache/lariat/ceilings-*.json
"$lariat" bench -q --ceilings -m mha-bf16 -t 1 -p 4 -n 2 -r 1 -o jsonl >rows
must "a share of them" jq -e '.ceiling_share > 0 and .ceiling_share < 1' rows
must "with the read rate of the weights" jq -e '[.threads."1".reads[]] | length == 1' cache/lariat/ceilings-*.json
"$lariat" bench -q --ceilings -t 2 &&
    must "other numbers of threads stay" jq -e '.threads | keys == ["1", "2"]' cache/lariat/ceilings-*.json
finish
