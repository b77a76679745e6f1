#!/usr/bin/env bash
# scripts/demo.sh up to its build, in a folder whose path has a src/ and a blank: it shows progress during the build, and build/ is
# configured as by `cmake -S . -B build` of README's Install.
#   demo.sh CHECKOUT
set -euo pipefail
cd "$1"
command -v ninja >/dev/null || { echo "skipped: no ninja here"; exit 77; }
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
here="$stage/src/a checkout"
mkdir -p "$here" "$stage/bin"
cp -r CMakeLists.txt cmake src include scripts "$here"

# CMake configures, but instead of building it waits for progress output, at most a minute, and fails, which ends the demo.
cat >"$stage/bin/cmake" <<END
#!/usr/bin/env bash
[ "\$1" = --build ] || exec "$(command -v cmake)" "\$@"
for ((i = 0; i < 600; i++)); do
    ! grep -q 'still at work' "$stage/said" || exit 1
    sleep 0.1
done
exit 1
END
# A broken nvcc must not prevent a build for CPUs.
printf '#!/bin/sh\necho no compiler for this card >&2\nexit 1\n' >"$stage/bin/nvcc"
chmod +x "$stage/bin/cmake" "$stage/bin/nvcc"
export PATH=$stage/bin:$PATH XDG_CACHE_HOME=$stage/cache CUDACXX=$stage/bin/nvcc
status=0
"$here/scripts/demo.sh" >/dev/null 2>"$stage/said" || status=$?
if [ $status != 1 ] || ! grep -q 'still at work' "$stage/said" || ! grep -q 'building failed' "$stage/said"; then
    echo "no sign of life while the demo builds:" >&2
    cat "$stage/said" >&2
    exit 1
fi

plain="$stage/src/a plain checkout"
cp -r "$here" "$plain"
rm -rf "$plain/build"
cmake -G Ninja -S "$plain" -B "$plain/build" >"$stage/configured" 2>&1
grep -q 'no compiler for this card' "$stage/configured"
choices() {
    grep -E '^(LARIAT_|CMAKE_BUILD_TYPE|CMAKE_C_COMPILER:|CMAKE_C_FLAGS)' "$1/build/CMakeCache.txt" | sort
}
diff <(choices "$here") <(choices "$plain") || {
    echo "< what the demo leaves in build/; > what README's Install makes" >&2
    exit 1
}

# With the module required, such a build fails.
if cmake -S "$plain" -B "$plain/build" -DLARIAT_CUDA=ON >"$stage/configured" 2>&1; then
    echo "LARIAT_CUDA=ON goes on without a CUDA compiler that works" >&2
    exit 1
fi
