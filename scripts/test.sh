#!/usr/bin/env bash
# Installs the tests' packages, builds Lariat in several configurations, and runs all tests of all builds in one run of CTest.
# The output ends with the time of each group of tests, and skipped tests with reasons.
# Rests on common.sh and tests/report.py; the tests are in tests/. Read on in CONTRIBUTING.md.
#   scripts/test.sh [--all] [ARGUMENTS FOR CTEST]      such as -R '^ring/' or -L lint
# --all, as in CI: also the groups whose packages need daemons or more than 100 MB; a skip that is not in tests/allowed-skips is a
# failure.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
sign_every=30 # of the half hour or so that all of it takes on two cores

all=false arguments=()
for argument in "$@"; do
    if [ "$argument" = --all ]; then
        all=true
    else
        arguments+=("$argument")
    fi
done

need_packages gcc=gcc g++=g++ libc6-dev cmake=cmake ninja=ninja-build pkg-config=pkg-config libjansson-dev libpcre2-dev \
    libutf8proc-dev libedit-dev libcmocka-dev clang=clang clang-tidy=clang-tidy llvm-symbolizer=llvm cppcheck=cppcheck shellcheck=shellcheck \
    mandoc=mandoc gnuplot=gnuplot-nox aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu libc6-dev-arm64-cross python3=python3 jq=jq \
    mpirun.openmpi=openmpi-bin libopenmpi-dev mpirun.mpich=mpich libmpich-dev
if [ $all = true ]; then # hosts and a Slurm of this machine: tests/clusters
    need_packages ip=iproute2 slurmctld=slurmctld slurmd=slurmd sbatch=slurm-client munged=munge slurm-wlm-basic-plugins
fi
clang_major=$(clang -dumpversion)
need_packages "libclang-rt-${clang_major%%.*}-dev"
need_room . 4000 "another folder for the checkout"
python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip
scripts/fetch-model.sh >/dev/null

folder=build-tests

# The reference packages of tokenizers and chat templates, without dependencies, in a folder of their own.
export PYTHONPATH=$PWD/$folder/python
if ! python3 -c "import sentencepiece, tokenizers, jinja2" 2>/dev/null; then
    say "Installing sentencepiece, tokenizers and jinja2 for Python ..."
    rm -rf "$PYTHONPATH"
    quietly "installing Python packages" python3 -m pip --disable-pip-version-check install --no-cache-dir --no-deps \
        --only-binary :all: --root-user-action ignore --target "$PYTHONPATH" sentencepiece==0.2.1 tokenizers==0.23.1 \
        jinja2==3.1.6 markupsafe==3.0.3
fi

builds=()
# build NAME OPTIONS...: one build in a folder of its own, its tests under NAME/ (those of `release` under their plain names)
build() {
    local name=$1 started=$SECONDS
    shift
    say "Building $name ..."
    configure "$folder/$name" -DLARIAT_TESTS=ON "$@"
    quietly "building $name" cmake --build "$folder/$name" --parallel "$(jobs)"
    builds+=("$name")
    say "  $((SECONDS - started)) s"
}

left_out=()
# The module for GPUs is compiled for all supported cards with the nvcc that CMake finds. Without one, --all downloads it (530 MB).
cuda=(-DLARIAT_CUDA=ON "-DLARIAT_CUDA_ARCHS=80-real;90a-real;90-virtual")
if ! command -v "${CUDACXX:-nvcc}" "${CUDA_HOME:-}/bin/nvcc" "${CUDA_PATH:-}/bin/nvcc" /usr/local/cuda/bin/nvcc >/dev/null; then
    if [[ $(uname -m) != @(x86_64|aarch64) ]]; then
        left_out+=("the module for GPUs: there is no CUDA compiler for this kind of machine")
        cuda=(-DLARIAT_CUDA=OFF)
    elif [ $all = true ] || [ -e "$folder/cuda/fetched" ]; then
        CUDA_HOME=$(scripts/fetch-cuda.sh "$folder")
        export CUDA_HOME
    else
        left_out+=("the module for GPUs: no nvcc here, and packages with one are 530 MB; --all fetches them into $folder")
        cuda=(-DLARIAT_CUDA=OFF)
    fi
fi

build release -DCMAKE_C_COMPILER=gcc -DLARIAT_MPI=ON "${cuda[@]}"
# clang, the compatible sanitizers, and the fuzz targets. No module for GPUs or MPI: no test here could call it.
build sanitize -DCMAKE_C_COMPILER=clang -DLARIAT_SANITIZE=address,undefined -DLARIAT_FUZZ=ON -DLARIAT_CUDA=OFF \
    -DLARIAT_MPI=OFF -DLARIAT_TEST_PREFIX=sanitize/
# Rooms with several threads.
build thread -DCMAKE_C_COMPILER=clang -DLARIAT_SANITIZE=thread -DLARIAT_CUDA=OFF -DLARIAT_MPI=OFF -DLARIAT_TEST_PREFIX=thread/ \
    -DLARIAT_TEST_ROOMS="base;comm;ring;engine"
build scalar -DCMAKE_C_COMPILER=gcc -DLARIAT_SIMD=OFF -DLARIAT_CUDA=OFF -DLARIAT_MPI=OFF -DLARIAT_TEST_PREFIX=scalar/
# Cross-compiling: nothing is linked or run.
say "Compiling for aarch64 ..."
configure "$folder/aarch64" --toolchain cmake/aarch64.cmake
quietly "compiling for aarch64" cmake --build "$folder/aarch64" --parallel "$(jobs)" --target lariat_objects

printf 'subdirs(%s)\n' "${builds[*]}" >"$folder/CTestTestfile.cmake"
# Sanitizers may fail with newer kernels' address randomisation: disable it where permitted.
plain=()
! setarch --addr-no-randomize true 2>/dev/null || plain=(setarch --addr-no-randomize)
say "Testing ..."
results=$PWD/$folder/results.xml status=0
rm -f "$results"
"${plain[@]}" ctest --test-dir "$folder" --parallel "$(jobs)" --output-on-failure --output-junit "$results" \
    --test-output-size-passed 1000000 "${arguments[@]}" </dev/null || status=$?
if [ -f "$results" ]; then
    strict=()
    [ $all = false ] || strict=(tests/allowed-skips)
    python3 tests/report.py "$results" "${strict[@]}" || status=1
fi
[ ${#left_out[@]} = 0 ] || printf 'skipped: %s\n' "${left_out[@]}"
say "$((SECONDS / 60)) minutes and $((SECONDS % 60)) seconds in all"
exit $status
