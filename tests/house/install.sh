#!/usr/bin/env bash
# The result of `cmake --install` is complete and relocatable, and lariat.pc has its location.
#   install.sh CHECKOUT BUILD
set -euo pipefail
cd "$1"
build=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cmake --install "$build" --prefix "$stage/first" >/dev/null
mv "$stage/first" "$stage/moved"
cd "$stage/moved"
have() {
    local found
    found=$(find . -path "./$1")
    echo "${found:?not installed: $1}"
}
program=$(have bin/lariat)
pc=$(have 'lib*/lariat.pc')
for file in 'lib*/liblariat.a' 'lib*/liblariat.so' 'lib*/liblariat.so.0' 'lib*/liblariat.so.0.*.*' include/lariat/lariat.h \
    include/lariat/text.h include/lariat/sample.h include/lariat/status.h include/lariat/measure.h include/lariat/ring_attention.h include/lariat/trace.h \
    share/man/man1/lariat.1 share/bash-completion/completions/lariat share/zsh/site-functions/_lariat \
    share/fish/vendor_completions.d/lariat.fish share/doc/lariat/LICENSE share/doc/lariat/licences.md; do
    have "$file" >/dev/null
done

for mpi in openmpi mpich; do
    [ ! -e "$build/liblariat_$mpi.so" ] || have "lib/lariat/liblariat_$mpi.so" >/dev/null
done
[ ! -e "$build/liblariat_cuda.so" ] || have lib/lariat/liblariat_cuda.so >/dev/null # where the program looks for it

# The versions of pkg-config, the library and the program agree.
export PKG_CONFIG_PATH=$PWD/${pc%/*}
version=$(pkg-config --modversion lariat)
told=$("$program" --version | head -n 1)
[ "${told%%+*}" = "lariat $version" ]
cat >"$stage/version.c" <<'END'
#include <lariat/status.h>
#include <stdio.h>
int main(void)
{
    return puts(lariat_version()) < 0;
}
END
read -ra shared < <(pkg-config --cflags --libs lariat)
cc "$stage/version.c" -o "$stage/version" "${shared[@]}"
[ "lariat $(LD_LIBRARY_PATH=$(pkg-config --variable=libdir lariat) "$stage/version")" = "$told" ]

# The module for GPUs is found in lib/lariat relative to the program and to the library (perhaps lib/MACHINE on Debian): a fake
# one is found and refused.
mkdir -p lib/lariat lib/some-machine
echo 'int unused_in_a_module_that_is_none;' | cc -shared -fPIC -x c - -o lib/lariat/liblariat_cuda.so
cat >"$stage/gpus.c" <<'END'
#include <lariat/lariat.h>
#include <stdio.h>
int main(void)
{
    lariat_options options;
    lariat_plan plan;
    lariat_options_default(&options);
    options.device = LARIAT_DEVICE_CUDA;
    return lariat_plan_make("random:smollm2-135m", &options, &plan) != LARIAT_UNSUPPORTED || puts(lariat_error()) < 0;
}
END
cc "$stage/gpus.c" -o "$stage/gpus" "${shared[@]}"
unset LARIAT_CUDA_MODULE
libraries=$(pkg-config --variable=libdir lariat)
mv "$libraries"/liblariat.so.* lib/some-machine
LD_LIBRARY_PATH=$PWD/lib/some-machine "$stage/gpus" | grep -q 'of another build'
mv lib/some-machine/* "$libraries"
LD_LIBRARY_PATH=$libraries "$stage/gpus" | grep -q 'of another build'
("$program" inspect random:smollm2-135m --device cuda 2>&1 || true) | grep -q 'of another build'

# lariat.pc lists all dependencies of the static library.
cat >"$stage/static.c" <<'END'
#include <lariat/lariat.h>
#include <lariat/text.h>
int main(void)
{
    lariat_plan plan;
    lariat_tokenizer *tokenizer;
    lariat_options options;
    lariat_options_default(&options);
    return lariat_plan_make("random:smollm2-135m", &options, &plan) != LARIAT_OK ||
           lariat_tokenizer_open("random:smollm2-135m", &tokenizer) != LARIAT_UNSUPPORTED;
}
END
rm lib*/liblariat.so*
read -ra static < <(pkg-config --static --cflags --libs lariat)
cc "$stage/static.c" -o "$stage/static" "${static[@]}"
"$stage/static"

# The manual page is valid roff, and the completions are valid.
if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning share/man/man1/lariat.1
fi
bash -n share/bash-completion/completions/lariat
