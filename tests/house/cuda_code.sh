#!/usr/bin/env bash
# The module for GPUs has code of every kernel file for every target that it was built for: cubins of sm_NN for NN-real, PTX for
# NN-virtual.
#   cuda_code.sh CHECKOUT MODULE FOLDER_OF_NVCC TARGET...
set -euo pipefail
cd "$1"
module=$2
PATH=$PATH:$3
shift 3
command -v cuobjdump >/dev/null || { echo "skipped: no cuobjdump here"; exit 77; }

want=$(find src -name '*.cu' | while read -r file; do
    for target in "$@"; do
        case $target in
        *-real) echo "$(basename "$file" .cu).sm_${target%-real}.cubin" ;;
        *-virtual) echo "$(basename "$file" .cu).sm_${target%-virtual}.ptx" ;;
        *) printf '%s.sm_%s.%s\n' "$(basename "$file" .cu)" "$target" cubin "$(basename "$file" .cu)" "$target" ptx ;;
        esac
    done
done | sort)
# For a source whose path has a blank, nvcc names the code by the last components of the path's words, joined by "-".
got=$({ cuobjdump --list-elf "$module"; cuobjdump --list-ptx "$module"; } | sed -nE 's/^(ELF|PTX) file +[0-9]+: (.*-)?//p' | sort)
diff <(echo "$want") <(echo "$got") || {
    echo "< wanted, but not in the module; > in the module, but not wanted" >&2
    exit 1
}
