#!/usr/bin/env bash
# Runs mpi_ring (ring.c) under the mpirun of one MPI: processes with 1 to 3 ranks each, and processes that fail.
#   ring.sh openmpi|mpich MODULE PROGRAM right RANKS...        RANKS: of each process, a digit; one run for each
#   ring.sh openmpi MODULE PROGRAM yields                      where there are more ranks than CPUs, and nowhere else
#   ring.sh openmpi|mpich MODULE PROGRAM CASE RANKS WHO...     process WHO fails; all others must name it. One run for each
set -euo pipefail

# One process. A launcher that sees one fail ends all: it sees so only when all have had time to say what they know.
if [ "$1" = --one ]; then
    own=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-}}
    shift
    [[ $3 != stopped* || $own != "${4-}" ]] || exec "$@"
    status=0
    "$@" || status=$?
    [ $status = 0 ] || sleep 1.5
    exit $status
fi

mpi=$1 module=$2 program=$3 what=$4
shift 4
mpirun=$(command -v "mpirun.$mpi" || command -v mpirun) || { echo "skipped: no mpirun of $mpi here"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 TEST_RANKS
options=()
[ "$mpi" = mpich ] || options=(--oversubscribe --bind-to none)
output=$(mktemp)
trap 'rm -f "$output"' EXIT

if [ "$what" = right ]; then
    for TEST_RANKS; do
        "$mpirun" "${options[@]}" -n ${#TEST_RANKS} "$program" "$module" right </dev/null
    done
    exit
fi

# yields EXPECTED RANKS COMMAND...: processes that are started with this command in front
yields() {
    local expected=$1
    TEST_RANKS=$2
    shift 2
    "$mpirun" "${options[@]}" -n ${#TEST_RANKS} "$@" "$program" "$module" yields "$expected" </dev/null
}

if [ "$what" = yields ]; then
    first=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
    slurm=(env -u OMPI_COMM_WORLD_LOCAL_SIZE 'SLURM_STEP_TASKS_PER_NODE=1(x2),9999')
    unset OMPI_MCA_mpi_yield_when_idle
    yields 1 22 taskset -c "$first"
    yields 0 22 env OMPI_MCA_mpi_yield_when_idle=0 taskset -c "$first"
    yields 0 1 env
    yields 1 1 env OMPI_MCA_mpi_yield_when_idle=true
    yields 0 22 env OMPI_MCA_mpi_yield_when_idle=false taskset -c "$first"
    yields 1 1 "${slurm[@]}" SLURM_NODEID=2
    yields 0 1 "${slurm[@]}" SLURM_NODEID=1
    exit
fi
TEST_RANKS=$1
shift
for who; do
    status=0
    "$mpirun" "${options[@]}" -n ${#TEST_RANKS} "$0" --one "$program" "$module" "$what" "$who" </dev/null >"$output" 2>&1 ||
        status=$?
    said=$(grep -c '^process [0-9]* has said: ' "$output" || true)
    if [ $status = 0 ] || [ "$said" != $((${#TEST_RANKS} - 1)) ]; then
        echo "process $who of $TEST_RANKS, $what: status $status, $said of the others named it" >&2
        cat "$output" >&2
        exit 1
    fi
done
