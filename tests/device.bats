#!/usr/bin/env bats
# Backends: which are found and opened, the contract between them and the programs, and that no test of a GPU passes
# with one that is broken.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    echo '{"ids": [1, 2, 3]}' >ids.jsonl
}

# backend DIR CONTRACT DEVICES: an object like make cuda's, with no more in it than what is asked before opening.
backend() {
    command -v cc >/dev/null || skip "needs a compiler"
    mkdir -p "$1"
    cat >backend.c <<END
#include "contract.h"
#include "device/device.h"
#include <stdio.h>
static int count(struct err *e)
{
    e->kind = ERR_DEVICE;
    snprintf(e->msg, sizeof e->msg, "the test's reason");
    return $3;
}
const struct backend moe_backend = {.contract = $2, .kind = "cuda", .count = count};
END
    cc -shared -fPIC -I"$ROOT/lib" -I"$BUILD" -o "$1/libmoe-cuda.so" backend.c
}

# A copy of what the contract is made of.
copy() {
    mkdir tree
    cp -r "$ROOT/lib" "$ROOT/Makefile" "$ROOT/VERSION" tree/
}

contract() {
    make -s -C tree BUILD=build build/contract.h >&2
    cat tree/build/contract.h
}

# changes FILE SED-SCRIPT: the contract is another one when FILE is edited so.
changes() {
    local was
    was=$(contract)
    sed -i.was -E "$2" "tree/lib/$1"
    if cmp -s "tree/lib/$1" "tree/lib/$1.was"; then echo "$1 has nothing for $2"; return 1; fi
    if [ "$(contract)" = "$was" ]; then echo "$1: $2 does not change the contract"; return 1; fi
    mv "tree/lib/$1.was" "tree/lib/$1"
    [ "$(contract)" = "$was" ]
}

@test "the contract changes with every enum, struct and size of its headers, and with nothing else" {
    command -v cc >/dev/null || skip "needs a compiler"
    copy
    contract >before
    changes device/kinds.h 's/MASK_FULL, MASK_SLIDING/MASK_SLIDING, MASK_FULL/'
    changes device/kinds.h 's/ACT_SILU_GLU, ACT_OSS_GLU/ACT_OSS_GLU, ACT_SILU_GLU/'
    changes device/kinds.h 's/PREC_BF16, PREC_F32/PREC_F32, PREC_BF16/'
    changes device/kinds.h 's/^    SUM_OUTPUT, .*//'
    changes device/device.h 's/TILE_ROWS = 64/TILE_ROWS = 32/'
    changes device/device.h 's/int32_t nearest/int64_t nearest/'
    changes base/err.h 's/msg\[1000\]/msg[1200]/'
    # Every header that device.h includes, whatever its name.
    local f n=0
    while read -r f; do
        changes "$f" '$s/$/\nenum { ONE_MORE };/'
        n=$((n + 1))
    done < <(cd tree && cc -MM -Ilib lib/device/device.h | tr -s ' \\\n' '\n' | sed -n 's|^lib/||p')
    [ "$n" -ge 4 ]
    echo 'enum { ONE_MORE };' >>tree/lib/stats/matrices.h
    contract | cmp before -
}

@test "make says so when a backend is of another contract than the programs" {
    command -v cc >/dev/null || skip "needs a compiler"
    copy
    contract >/dev/null
    mkdir tree/build/kernels
    cp tree/build/contract.h tree/build/kernels/
    touch tree/build/libmoe-cuda.so
    make -C tree BUILD=build build/contract.h stale >said 2>&1
    run ! grep 'make cuda' said
    sed -i 's/TILE_ROWS = 64/TILE_ROWS = 32/' tree/lib/device/device.h
    make -C tree BUILD=build stale 2>&1 | grep -q 'of another build.*make cuda'
}

@test "a backend of another version, another build or another kind is refused" {
    backend other 0 1
    MOE_BACKENDS=other fails_with 'another build of moe-tools: run make cuda' \
        moe-observe -q --device cuda -o x.stats "$TINY_QWEN3" ids.jsonl
    mv other/libmoe-cuda.so other/libmoe-hip.so
    backend good MOE_CONTRACT 1
    mv good/libmoe-cuda.so good/libmoe-hip.so
    MOE_BACKENDS=good fails_with 'is a backend for cuda' moe-observe -q --device hip -o x.stats "$TINY_QWEN3" ids.jsonl
    echo 'int moe_cuda_open_v3(void) { return 0; }' >old.c
    mkdir old
    cc -shared -fPIC -o old/libmoe-cuda.so old.c
    MOE_BACKENDS=old fails_with 'no backend of this version' \
        moe-observe -q --device cuda -o x.stats "$TINY_QWEN3" ids.jsonl
}

@test "a backend is loaded from beside the program or from where it was installed, from nowhere else" {
    command -v cc >/dev/null || skip "needs a compiler"
    cat >loud.c <<'END'
#include <unistd.h>
__attribute__((constructor)) static void f(void) { if (write(2, "LOADED\n", 7)) {} }
END
    mkdir -p a/bin/deep a/lib/moe-tools b/programs b/lib/moe-tools
    cc -shared -fPIC -o loud.so loud.c
    cp "$BUILD/moe-observe" a/bin/
    cp "$BUILD/moe-observe" b/programs/
    # The parent of the programs; a lib/moe-tools that no installation made; the working directory.
    cp loud.so a/libmoe-cuda.so
    cp loud.so b/libmoe-cuda.so
    cp loud.so b/lib/moe-tools/libmoe-cuda.so
    cp loud.so libmoe-cuda.so
    for p in a/bin b/programs; do
        run $p/moe-observe -q --device auto -f -o x.stats "$TINY_QWEN3" ids.jsonl
        [ "$status" -eq 0 ]
        [[ $output != *LOADED* ]]
    done
    cp loud.so b/programs/libmoe-cuda.so
    cp loud.so a/lib/moe-tools/libmoe-cuda.so
    for p in a/bin b/programs; do
        run $p/moe-observe -q --device auto -f -o x.stats "$TINY_QWEN3" ids.jsonl
        [[ $output == *LOADED* ]]
    done
    [ "$(id -u)" -eq 0 ] || return 0
    chown 12345 a/lib/moe-tools/libmoe-cuda.so
    run a/bin/moe-observe --device auto -f -o x.stats "$TINY_QWEN3" ids.jsonl
    [[ $output != *LOADED* ]]
    [[ $output == *"belongs to another user"* ]]
}

@test "--list-devices: kinds, how many, and why none" {
    backend none MOE_CONTRACT 0
    MOE_BACKENDS=none run -0 moe-observe --list-devices
    [ "$output" = "cuda	0	the test's reason
cpu	1" ]
    backend some MOE_CONTRACT 3
    MOE_BACKENDS=some run -0 moe-bench speed --list-devices
    [ "${lines[0]}" = 'cuda	3' ]
    moe-observe --help | grep -q -e '--list-devices '
    run -2 --separate-stderr moe-observe --device cpu:9999999999 -o x.stats "$TINY_QWEN3" ids.jsonl
    [[ $stderr == *"'9999999999'"* || $stderr == *'9999999999 is outside'* ]]
    run -2 --separate-stderr moe-observe --device "cpu:0,$(printf '%040d' 7),1" -o x.stats "$TINY_QWEN3" ids.jsonl
    [[ $stderr == *"'$(printf '%040d' 7)' is no number of a device"* ]]
    MOE_BACKENDS=no/such run -0 moe-observe --list-devices
    [ "$output" = 'cpu	1' ]
    # shellcheck source=/dev/null
    source "$ROOT/tools/completion.bash"
    export MOE_BACKENDS=some
    COMP_WORDS=(moe-bench speed --device '') COMP_CWORD=3
    _moe_tools
    [ "${COMPREPLY[*]}" = 'auto cuda cpu' ]
    MOE_BACKENDS=none
    COMP_WORDS=(moe-observe --device '') COMP_CWORD=2
    _moe_tools
    [ "${COMPREPLY[*]}" = 'auto cpu' ]
}

@test "tests of the GPU skip where there is no GPU, and fail where the backend is broken" {
    [ "$BUILD/tests/test_cuda" -nt "$BUILD/contract.h" ] || skip "the C tests were not built"
    backend none MOE_CONTRACT 0
    MOE_BACKENDS=$PWD/none run -0 "$ROOT/tests/gpu" "$BUILD" check house
    [ "$output" = "skipped: the test's reason" ]
    MOE_BACKENDS=$PWD/none run -77 "$BUILD/tests/test_cuda"
    [[ $output == skip:*"the test's reason"* ]]
    backend broken MOE_CONTRACT -1
    backend other 0 1
    for b in broken other; do
        MOE_BACKENDS=$PWD/$b run -1 "$ROOT/tests/gpu" "$BUILD" check house
        MOE_BACKENDS=$PWD/$b run -1 "$BUILD/tests/test_cuda"
    done
    MOE_BACKENDS=$PWD/no/such run -1 "$ROOT/tests/gpu" "$BUILD" sanitize
    [[ $output == *"make cuda"* ]]
}
