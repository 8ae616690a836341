#!/usr/bin/env bats
# Sets of instructions: MOE_CPU narrows what the CPU is asked for, and results hang on it as rounding does.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    awk 'BEGIN { for (d = 0; d < 2; d++) { printf "{\"ids\":[1"
        for (t = 1; t < 90 + 60 * d; t++) printf ",%d", (t * 37 + t * t) % 61
        print "]}" } }' >ids.jsonl
}

SETS="plain avx2 avx512 avx512_bf16 amx"

@test "a name that is none is refused, with those that there are" {
    MOE_CPU=sse run --separate-stderr moe-observe -q --device cpu -o x.stats "$TINY_QWEN3" ids.jsonl
    [ "$status" -eq 2 ]
    [[ $stderr == *"MOE_CPU is 'sse': plain, avx2, avx512, avx512_bf16 and amx are possible"* ]]
    [ ! -e x.stats ]
}

@test "observing with each set: counts are the same, sums to rounding" {
    local set precision tolerance
    for precision in f32 bf16; do
        tolerance=1e-4
        [ $precision = f32 ] || tolerance=2e-2
        for set in $SETS; do
            MOE_CPU=$set moe-observe -q -f --device cpu --precision $precision -o "$set.stats" "$TINY_QWEN3" ids.jsonl
            # of each layer, so that a token of bf16 that chooses another expert does not matter
            awk -F '\t' '/^[^#]/ { for (i = 5; i < NF; i++) s[$1 "\t" i] += $i }
                END { for (k in s) print k "\t" s[k] }' "$set.stats" | sort >"$set.sums"
            [ "$(wc -l <"$set.sums")" -gt 8 ]
            paste plain.sums "$set.sums" | awk -F '\t' -v tolerance=$tolerance -v what="$precision $set" '
                { d = $6 / $3 - 1; if (d < 0) d = -d; if (!(d <= tolerance)) bad = 1; if (d > worst) worst = d }
                END { print what ": " worst; exit bad }'
        done
    done
    # Where there are such instructions they are used, and not if MOE_CPU says so.
    ! grep -q avx512_bf16 /proc/cpuinfo || run ! cmp -s plain.stats avx512_bf16.stats
}

@test "moe-quant and the criterion of the weights: the same bytes with each set" {
    local set
    for set in $SETS; do
        MOE_CPU=$set moe-quant -q --to mxfp4 "$TINY_QWEN3" "$set"
        MOE_CPU=$set moe-inspect --aimer -o "$set.aimer" "$TINY_QWEN3"
        diff -r -x README.md plain "$set" # whose page says how it was made
        cmp plain.aimer "$set.aimer"
    done
}
