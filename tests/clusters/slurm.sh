#!/usr/bin/env bash
# slurm/*.sbatch on a real Slurm: two nodes of one CPU each, all on this machine, started here and ended here.
# Rests on slurmctld, slurmd, munge (as root) and Open MPI; 77 where they are not. slurm.sh LARIAT MODEL SLOW_MODEL
set -uo pipefail
lariat=$(realpath "$1") model=$2 slow=$3
here=$(cd "$(dirname "$0")/../.." && pwd)

skip() {
    echo "skipped: $*"
    exit 77
}

[ "$(id -u)" = 0 ] || skip "a cluster of this machine needs root"
for program in slurmctld slurmd sbatch munged munge; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || skip "no $program here"
done
[ -e "$slow" ] || skip "the demo's model is not here: scripts/fetch-model.sh"
export PATH=$PATH:/usr/sbin OMPI_MCA_mpi_yield_when_idle=1 LARIAT=$lariat LARIAT_DEVICE=cpu LARIAT_TIMEOUT=300
dir=$(mktemp -d)
export SLURM_CONF=$dir/slurm.conf
daemons=()

# shellcheck disable=SC2317 # called at the end
end() {
    scancel --quiet --user root 2>/dev/null
    kill "${daemons[@]}" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$dir"
}
trap end EXIT

# background NAME COMMAND...: a daemon of this cluster
background() {
    local name=$1
    shift
    "$@" </dev/null >"$dir/$name.log" 2>&1 &
    daemons+=($!)
}

# until_true WHAT COMMAND...: within three minutes, which a machine with much other work may take
until_true() {
    local what=$1 end=$((SECONDS + 180))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within 180 s: $what"; tail -n 5 "$dir"/*.log; exit 1; }
        sleep 0.2
    done
}

failed=0
# must WHAT COMMAND...
must() {
    local what=$1
    shift
    if "$@"; then echo "$what"; else echo "NOT: $what"; failed=1; fi
}

start_cluster() {
    local host port=$((20000 + RANDOM % 9000))
    host=$(hostname -s)
    chmod 755 "$dir"
    mkdir -p "$dir/state"
    head -c 128 /dev/urandom >"$dir/key" && chmod 400 "$dir/key"
    {
        printf '%s\n' ClusterName=test "SlurmctldHost=$host(127.0.0.1)" "SlurmctldPort=$port" SlurmUser=root SlurmdUser=root \
            AuthType=auth/munge "AuthInfo=socket=$dir/munge,cred_expire=15" "StateSaveLocation=$dir/state" "SlurmdSpoolDir=$dir/%n" "TmpFS=$dir/%n.tmp" \
            "SlurmctldPidFile=$dir/slurmctld.pid" "SlurmdPidFile=$dir/%n.pid" SlurmdParameters=config_overrides \
            ProctrackType=proctrack/linuxproc TaskPlugin=task/affinity SelectType=select/cons_tres \
            SelectTypeParameters=CR_Core MpiDefault=none MailProg=/bin/true KillWait=60 MessageTimeout=100 TCPTimeout=30 \
            ReturnToService=2
        for i in 1 2; do
            echo "NodeName=a$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=1 RealMemory=900"
            mkdir -p "$dir/a$i" "$dir/a$i.tmp"
        done
        echo "PartitionName=all Nodes=a1,a2 Default=YES State=UP MaxTime=INFINITE"
    } >"$SLURM_CONF"
    background munged munged --foreground --force --key-file="$dir/key" --socket="$dir/munge" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.txt" --seed-file="$dir/seed"
    until_true "munge answers" munge -S "$dir/munge" -n
    background slurmctld slurmctld -D -c
    until_true "slurmctld answers" scontrol ping
    background a1 slurmd -D -N a1
    background a2 slurmd -D -N a2
    # shellcheck disable=SC2016 # in that shell
    until_true "two nodes are idle" bash -c '[ "$(sinfo -h -N -t idle | wc -l)" = 2 ]'
}

start_cluster
cd "$dir" || exit 1
seq 1 60 >ids
"$lariat" generate -q -m "$model" --tokens ids -n 8 --ranks 2 >expected

# Tasks of an srun that cannot find one another.
srun -N 2 -n 2 --mpi=none "$lariat" generate -q -m "$model" --tokens ids -n 8 >out 2>err
must "singletons are refused" grep -q -- "--mpi=pmix for Open MPI" err
must "nothing is written by them" test ! -s out
srun -N 2 -n 2 --mpi=pmix "$lariat" generate -q -m "$model" --tokens ids -n 8 >out
must "srun --mpi=pmix gives the text of two ranks" cmp out expected
if [ -e "${lariat%/*}/liblariat_mpich.so" ] && srun --mpi=list 2>&1 | grep -q pmi2; then
    srun -N 2 -n 2 --mpi=pmi2 "$lariat" generate -q -m "$model" --tokens ids -n 8 >out
    must "srun --mpi=pmi2 does so under MPICH" cmp out expected
    srun -N 2 -n 2 --mpi=pmix "$lariat" generate -q -m "$model" --tokens ids -n 8 --mpi mpich 2>err
    must "an MPI that sees one of two tasks is refused" grep -q "started 2 processes (SLURM_STEP_NUM_TASKS), but MPICH" err
fi
srun -n 1 --mpi=none "$lariat" generate -q -m "$model" --tokens ids -n 8 >out
"$lariat" generate -q -m "$model" --tokens ids -n 8 >alone
must "a step of one task needs no MPI" cmp out alone

# The batch script: one prompt, an array of prompts.
sbatch -Q --wait --nodes 2 --output one.txt "$here/slurm/generate.sbatch" -q -m "$model" --tokens ids -n 8
must "the batch script's output is that text" cmp one.txt expected
seq 2 61 >ids2 && cp ids ids1
sbatch -Q --wait --array=1-2 --output 'array%a.txt' "$here/slurm/generate.sbatch" -q -m "$model" --tokens ids%a -n 8
"$lariat" generate -q -m "$model" --tokens ids2 -n 8 >expected2
must "an array reads a prompt each" cmp array2.txt expected2

# A batch that is warned goes back to the queue and on from there. Slurm starts it again when its first credential has expired.
for i in 1 2 3 4 5 6; do
    echo "{\"prompt\": \"Chapter $i. The ring of devices\"}"
done >prompts.jsonl
"$lariat" generate -q -m "$slow" --kv f32 --prompts prompts.jsonl -n 120 --ranks 2 >whole.jsonl
job=$(sbatch --parsable --nodes 2 --output long.txt "$here/slurm/generate.sbatch" -q -m "$slow" --kv f32 --prompts prompts.jsonl \
    --resume results.jsonl -n 120)
until_true "the job runs" bash -c "[ \"\$(squeue -h -j $job -t running | wc -l)\" = 1 ]"
until_true "the first result is there" test -s results.jsonl
scancel --signal=USR1 "$job"
until_true "the job is in the queue again" bash -c "scontrol show job $job | grep -q Restarts=1"
until_true "the job has ended" bash -c "scontrol show job $job | grep -q JobState=COMPLETED"
must "what was resumed is the whole" test "$(jq -c '[.id, .tokens]' results.jsonl)" = "$(jq -c '[.id, .tokens]' whole.jsonl)"

# scancel: the text so far has been written. This text does not end by itself, as replies to most prompts do.
"$lariat" generate -q -m "$slow" -p "Chapter 1" -c 2000 -n 30 --ranks 2 >beginning
job=$(sbatch --parsable --nodes 2 --output cancelled.txt "$here/slurm/generate.sbatch" -m "$slow" -p "Chapter 1" -c 2000 -n 1500)
until_true "there is text" test -s cancelled.txt
sleep 0.5
scancel "$job"
until_true "the cancelled job has ended" bash -c "scontrol show job $job | grep -q JobState=CANCELLED"
until_true "no process is left" bash -c "! pgrep -f '^$lariat generate -m $slow'"
until_true "the figures are there" grep -q "decode .* tokens/s" cancelled.txt
must "the text so far is there" grep -qF "$(cat beginning)" cancelled.txt

# The benchmark.
sbatch -Q --wait --nodes 2 --output bench.txt "$here/slurm/bench.sbatch" -m "$model" -p 64 -n 8 -r 1
must "the benchmark writes its table" grep -q "| 2 |.*| 64 | 8 |" bench.txt
[ $failed = 0 ] || tail -n 5 ./*.txt err
exit $failed
