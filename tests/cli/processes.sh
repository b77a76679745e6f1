#!/usr/bin/env bash
# Several processes of a launcher, for each MPI of which there is a module: what every subcommand that opens a ring prints and
# writes is what one process with the same ring does, and processes that do not fit together are refused.
. "$(dirname "$0")/common.sh"

unset "${!OMPI_COMM_@}" "${!PMI@}" "${!SLURM@}"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
seq 1 60 >ids
printf '%s\n' '{"tokens": [1, 2, 3]}' '{"tokens": [9, 8]}' '{"tokens": [5]}' >prompts

# --- what needs no MPI ---

# A launcher's other processes say nothing where process 0 does all; of the command line's errors each speaks for itself.
export OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1
for command in "tokenize -m letters -p hello" "inspect mha-bf16" "help" "--version" "generate --help"; do
    # shellcheck disable=SC2086 # several words
    run $command
done
"$lariat" generate --no-such 2>"$work.seen/err" >"$work.seen/out"
status=$?
sed -i "s/($(hostname -s))/(HOST)/" "$work.seen/err"
say '$ lariat generate --no-such, as process 1'
show $status
# What several processes cannot do, before MPI starts.
OMPI_COMM_WORLD_RANK=0 run bench -m mha-bf16 --ranks 1,2
unset OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK
# Tasks of an srun that do not know of one another; a batch script, which is none of them, runs alone.
SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=4 run generate -q -m mha-bf16 --tokens ids -n 4
SLURM_STEP_NUM_TASKS=2 run logits -m mha-bf16 --tokens ids --out l
SLURM_PROCID=0 SLURM_NTASKS=4 run generate -q -m mha-bf16 --tokens ids -n 4
# The model of this host.
mkdir models && ln -s ../letters models/here
run generate -q -m elsewhere/here --model-dir models -p hello -n 4
LARIAT_MODEL_DIR=models run generate -q -m /no/such/here/ -p hello -n 4
run generate -q -m here --model-dir nowhere -p hello -n 4
run generate -q -m mha-bf16 --tokens ids -n 4 --mpi no/such/module
run generate -m mha-bf16 --tokens ids --timeout 0.5
run generate -q -m mha-bf16 --tokens ids -n 4 --verify

# --- with each MPI ---

mpi=
# of N ARGS...: the program as N processes of this MPI
of() {
    local n=$1
    shift
    timeout 120 "mpiexec.$mpi" -n "$n" "$lariat" "$@"
}

# into FILE COMMAND...: what it prints
into() {
    local file=$1
    shift
    "$@" >"$file"
}

# like_one N RANKS ARGS...: N processes print what one with a ring of RANKS does
like_one() {
    local n=$1 ranks=$2
    shift 2
    "$lariat" "$@" --ranks "$ranks" >one 2>one.err <"${input:-/dev/null}" || return 1
    of "$n" "$@" >several 2>several.err <"${input:-/dev/null}" || { cat several.err; return 1; }
    diff one several
}

# says PATTERN COMMAND...: it fails with this
says() {
    local pattern=$1
    shift
    if "$@" 2>err || ! grep -q "^lariat: $pattern" err; then
        cat err
        return 1
    fi
}

# refused PATTERN N ARGS...: so does the program as N processes
refused() {
    local pattern=$1
    shift
    if of "$@" >out 2>err || [ -s out ] || ! grep -qE "^lariat: $pattern" err; then
        cat out err
        return 1
    fi
}

# traced FILE RANKS PASSES: each rank has a track in the trace and each pass; all have begun a pass before one ends it
traced() {
    jq -e --argjson ranks "$2" --argjson passes "$3" '
        [.traceEvents[] | select(.ph == "X" and .name == "pass")] | group_by(.args.pass) | (length == $passes) and
        all(.[]; (map(.tid) | unique | length) == $ranks and (map(.ts) | max) < (map(.ts + .dur) | min))' "$1"
}

# hops_are FILE: every size of both kinds, with figures of the MPI alone
hops_are() {
    jq -e '(map(.kind) | sort | group_by(.) | map([.[0], length])) == [["gather", 9], ["keys", 8]] and
        all(.via == "mpi" and .processes == 2 and .ranks == 2 and .mpi_us > 0 and .ping_us > 0 and .share == null) and
        all(.kind == "gather" or (.of_mpi * .time_us / .mpi_us - 1 | fabs) < 0.01)' "$1"
}

# mine: the processes of the program that generate without end, by number
mine() {
    local one
    for one in /proc/[0-9]*/cmdline; do
        tr '\0' ' ' 2>/dev/null <"$one" | grep -q "^$lariat generate .* -n 90000 " && echo "$one" | tr -dc '0-9\n'
    done | sort -n
}

# killed NUMBER: one of two processes is killed while they generate; both end
killed() {
    local launcher victim status=0
    rm -f out
    timeout 60 "mpiexec.$mpi" -n 2 "$lariat" generate -q -m mha-bf16 --tokens ids -c 100k -n 90000 --timeout 5 >out 2>err &
    launcher=$!
    until_it test -s out
    victim=$(mine | sed -n "$((1 + $1))p")
    [ -n "$victim" ] && kill -9 "$victim" || return 1
    wait $launcher || status=$?
    cat err
    [ $status != 0 ] && [ $status != 124 ] && [ -z "$(mine)" ] && grep -qaE 'rank . \(|signal 9|SIGNAL: 9|KILLED' out err
}

# The model with another bit in the middle of a tensor, so many bytes before the end of the file.
altered=model.layers.1.mlp.up_proj.weight
mkdir altered && cp mha-bf16/config.json mha-bf16/generation_config.json mha-bf16/model.safetensors altered && chmod -R u+w altered
at=$(($(stat -c %s altered/model.safetensors) - 44288))
byte=$(od -An -tu1 -j $at -N 1 altered/model.safetensors)
# shellcheck disable=SC2059 # a byte by its octal number
printf "\\$(printf %03o $((byte ^ 1)))" | dd of=altered/model.safetensors bs=1 seek=$at conv=notrunc status=none

# All MPIs do the same, which is written down once.
before=$(wc -l <"$transcript")
for mpi in openmpi mpich; do
    module=$(dirname "$lariat")/liblariat_$mpi.so
    if [ ! -e "$module" ] || ! command -v "mpiexec.$mpi" >/dev/null; then
        continue
    fi
        must "generate, one rank each" like_one 2 2 generate -q -m mha-bf16 --tokens ids -n 20 --temp 0.9 -s 3
        must "generate by tokens, three processes" like_one 3 3 generate -q -m mha-bf16 --tokens ids -n 20 --layout tokens \
            --kv f32
        must "generate by slices" like_one 2 2 generate -q -m gqa-llama3-fp16-sharded --tokens ids -n 20 --layout slices
        must "a batch" like_one 2 2 generate -q -m mha-bf16 --prompts prompts -n 9
        "$lariat" logits -q -m mha-bf16 --tokens ids --out one.safetensors --ranks 4 --layout tokens
        must "logits" of 2 logits -q -m mha-bf16 --tokens ids --out several.safetensors --ranks 2 --layout tokens
        must "their bits" cmp one.safetensors several.safetensors
        must "uneven ranks" timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --ranks 2 : \
            -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --ranks 1
        must "perplexity" like_one 2 2 perplexity -q -m mha-bf16 --tokens ids -c 32 --layout tokens
        printf 'hello\n/help\nbye\n' >lines
        input=lines must "chat, lines from a pipe" like_one 2 2 chat -q -m letters -n 8 -c 256
        must "bench" into rows of 2 bench -q -m mha-bf16 -p 40 -n 4 -r 1 -o json
        must "a rank a process" jq -e 'length == 1 and .[0].ranks == 2' rows
        must "bench, two ranks a process" into rows of 2 bench -q -m mha-bf16 -p 40 -n 4 -r 1 --ranks 2 -o json
        must "a ring of four" jq -e 'length == 1 and .[0].ranks == 4' rows
        must "generate, traced" of 3 generate -q -m mha-bf16 --tokens ids -n 5 --trace t.json
        must "a trace of all ranks on one clock" traced t.json 3 5
        must "bench, traced" of 2 bench -q -m mha-bf16 -p 40 -n 4 -r 1 --trace b.json --timeline b.svg
        must "its trace" jq -e '[.traceEvents[] | select(.name == "layer") | .tid] | unique | length == 2' b.json
        must "its picture" grep -q 'rank 1' b.svg
        must "hops" into hops of 2 bench --hops -r 1 -o json
        must "their sizes, against plain messages" hops_are hops
        must "bench beside a ring of one" into beside of 2 bench -q -m mha-bf16 -p 40 -n 4 -r 1 --compare -o json
        must "the same tokens" jq -e 'map([.ranks, .threads > 0]) == [[1, true], [2, true]] and .[1].same_tokens' beside
        must "the plan" of 2 generate -m mha-bf16 --plan -c 64
        must "another MPI is named" refused '(process 1 \([^)]*\): )?MPI: the launcher started 2 processes' 2 \
            generate -q -m mha-bf16 --tokens ids -n 4 --mpi "$([ $mpi = mpich ] && echo openmpi || echo mpich)"
        must "processes of a host that cannot find one another" says 'MPI: the launcher started 3 processes (MPI_LOCALNRANKS)' \
            env MPI_LOCALNRANKS=3 "$lariat" generate -q -m mha-bf16 --tokens ids -n 4 --mpi $mpi
        must "an option that differs is named" says "--kv: rank 0 (.*) has f16, rank 1 (.*) has f32" \
            timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --kv f16 : \
            -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --kv f32
        must "a model that differs is named" says "model: rank 0 (.*) has one of fingerprint" \
            timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 : \
            -n 1 "$lariat" generate -q -m gqa-llama3-fp16-sharded --tokens ids -n 9
        must "a byte that samples leave out is not seen" timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 \
            --tokens ids -n 9 : -n 1 "$lariat" generate -q -m altered --tokens ids -n 9
        must "and with --verify it is, by its tensor" says "model: tensor $altered has other values: rank 0 (.*) has some with" \
            timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --verify : \
            -n 1 "$lariat" generate -q -m altered --tokens ids -n 9 --verify
        must "--verify finds the same model everywhere" like_one 2 2 generate -q -m letters -p hello -n 9 --verify
        must "--verify is to be given to all" says "--verify: rank 0 (.*) has yes, rank 1 (.*) was not given it" \
            timeout 120 "mpiexec.$mpi" -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9 --verify : \
            -n 1 "$lariat" generate -q -m mha-bf16 --tokens ids -n 9
        must "a file that is not there ends all" refused 'none: ' 2 generate -q -m mha-bf16 --tokens none
        must "one killed ends both" killed 1
        must "process 0 killed ends both" killed 0
    tail -n +$((before + 1)) "$transcript" >"block.$mpi"
    sed -i "$((before + 1)),\$d" "$transcript"
done
blocks=(block.*)
[ -e "${blocks[0]}" ] || skip "no module for an MPI, or no mpiexec"
cat "${blocks[0]}" >>"$transcript"
for block in "${blocks[@]:1}"; do
    diff "${blocks[0]}" "$block" >>"$transcript"
done
finish
