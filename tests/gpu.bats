#!/usr/bin/env bats
# What the GPU computes is what the CPU computes (make check-gpu); and what is said where there is none.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

# observed DEVICE PRECISION MODEL: statistics of the calibration text, and a plan that removes a quarter.
observed() {
    moe-observe -q --device "$1" --precision "$2" --max-len 512 -o "$1-$2.stats" "$3" "$SHARED/data/calib.jsonl"
    moe-score -q -r 0.25 -o "$1-$2.tsv" "$1-$2.stats"
}

# At least 99 of 100 decisions are the same in two plans.
nearly_the_same() {
    paste <(grep -v '^#' "$1" | cut -f 1-3) <(grep -v '^#' "$2" | cut -f 1-3) |
        awk -v what="$1 $2" '$1 != $4 || $2 != $5 { bad = 1 } { n++; same += $3 == $6 } END {
            print what ": " same " of " n " decisions"; exit bad || n == 0 || same < .99 * n }'
}

@test "plans that remove a quarter of the trained models' experts: GPU and CPU agree" {
    need_gpu
    trained tiny-qwen3 pico-qwen3 pico-gptoss
    for m in "${TRAINED[@]}"; do
        rm -f ./*.stats ./*.tsv
        observed cpu f32 "$SHARED/models/$m"
        observed cuda f32 "$SHARED/models/$m"
        observed cuda bf16 "$SHARED/models/$m"
        nearly_the_same cpu-f32.tsv cuda-f32.tsv
        nearly_the_same cpu-f32.tsv cuda-bf16.tsv
    done
}

@test "the same bytes in a second run, on the trained models" {
    need_gpu
    trained tiny-qwen3 pico-qwen3 pico-gptoss
    for m in "${TRAINED[@]}"; do
        for p in bf16 f32; do
            moe-observe -q -f --precision $p --max-len 512 -o one.stats "$SHARED/models/$m" "$SHARED/data/calib.jsonl"
            moe-observe -q -f --precision $p --max-len 512 -o two.stats "$SHARED/models/$m" "$SHARED/data/calib.jsonl"
            cmp one.stats two.stats
        done
    done
}

@test "a random checkpoint of every fixture's configuration: GPU and CPU agree" {
    need_gpu
    echo '{"ids": [5, 9, 3, 60, 3, 1, 17, 17, 40, 2, 63, 8, 8, 30]}' >ids.jsonl
    for f in "$ROOT"/tests/fixtures/*/; do
        rm -rf model
        "$BUILD/tests/mkrandom" "$f/config.json" model
        for d in cpu cuda; do
            moe-bench perplexity -q --device $d --precision f32 --json model ids.jsonl >$d.json
        done
        jq -en --slurpfile a cpu.json --slurpfile b cuda.json '($a[0].total.nll / $b[0].total.nll - 1 | fabs) < 1e-4' ||
            { echo "$f"; cat cpu.json cuda.json; return 1; }
    done
}

@test "a backend is there but no driver or GPU: --device cuda says so, auto computes on the CPU" {
    [ -f "$BUILD/libmoe-cuda.so" ] || skip "the CUDA backend was not built: make cuda"
    echo '{"ids": [1, 2, 3]}' >ids.jsonl
    # Of a machine with a GPU, CUDA itself hides it.
    export CUDA_VISIBLE_DEVICES=
    fails_with '^moe-observe: --device cuda: (no CUDA driver, or one too old|the CUDA driver sees no GPU)' \
        moe-observe -q --device cuda -o x.stats "$TINY_QWEN3" ids.jsonl
    run --separate-stderr moe-observe --device auto -o auto.stats "$TINY_QWEN3" ids.jsonl
    [ "$status" -eq 0 ]
    [ "$(grep -c 'computing on the CPU: .*\(driver\|GPU\)' <<<"$stderr")" -eq 1 ]
    moe-observe -q --device cpu -o cpu.stats "$TINY_QWEN3" ids.jsonl
    cmp auto.stats cpu.stats
}
