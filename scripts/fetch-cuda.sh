#!/usr/bin/env bash
# Downloads CUDA's compiler into a folder, once, and prints the value of CUDA_HOME: nvcc 13.0, its headers, the static runtime,
# cuobjdump. Enough to compile and link the module for GPUs, not to run it; the system stays unchanged.
# Rests on common.sh and pip, whose settings name the package index. Read on in test.sh.
#   scripts/fetch-cuda.sh FOLDER
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ $# = 1 ] || die "say where: fetch-cuda.sh FOLDER"
wanted=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85 nvidia-nvtx==13.0.85 nvidia-cuda-cuobjdump==13.2.51)
headers=nvidia-cublas==13.1.0.3 # of which the library, 540 MB, is not kept

mkdir -p "$1" 2>/dev/null || die "cannot write to $1: choose another folder"
home=$(cd "$1" && pwd)/cuda
stamp="${wanted[*]} $headers"
if [ "$(cat "$home/fetched" 2>/dev/null || :)" = "$stamp" ]; then
    echo "$home"
    exit
fi
need_packages python3=python3 ca-certificates
python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip
need_room "$1" 1500 "another folder"

# In the same folder, so that the last step is a rename.
stage=$(mktemp -d "$1/fetch.XXXXXX") || die "cannot write to $1: make room there"
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT TERM
say "Fetching CUDA's compiler (530 MB, of which 275 are kept) ..."
pip=(python3 -m pip --disable-pip-version-check)
as_they_are=(--no-cache-dir --no-deps --only-binary :all:)
export TMPDIR=$stage
quietly "fetching the CUDA compiler" "${pip[@]}" install "${as_they_are[@]}" --root-user-action ignore \
    --target "$stage/python" "${wanted[@]}"
quietly "fetching the headers of cuBLAS" "${pip[@]}" download "${as_they_are[@]}" --dest "$stage" "$headers"
quietly "unpacking the headers of cuBLAS" python3 -c '
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/nvidia_cublas-*.whl")[0])
wheel.extractall(sys.argv[1] + "/python", [name for name in wheel.namelist() if "/include/" in name])' "$stage"
# The layout of an installed toolkit: nvcc's folder of libraries, and the library by which CMake recognises the toolkit.
ln -s lib "$stage/python/nvidia/cu13/lib64"
ln -s libcudart.so.13 "$stage/python/nvidia/cu13/lib/libcudart.so"
echo "$stamp" >"$stage/python/nvidia/cu13/fetched"
rm -rf "$home"
mv "$stage/python/nvidia/cu13" "$home"
echo "$home"
