#!/usr/bin/env bats
# Random checkpoints of any shape (tests/mkrandom.c): they have the released models' sizes, every family and
# layout loads and runs, and the bytes do not depend on the threads.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    MKRANDOM=$BUILD/tests/mkrandom
    echo '{"ids": [5, 9, 3, 60, 3, 1, 17, 17, 40, 2, 63, 8]}' >ids.jsonl
}

@test "the shapes of tests/shapes are those of the released models" {
    for want in "qwen3-30b-a3b 30532122624" "gpt-oss-20b 20914757184" "gpt-oss-120b 116829156672" \
        "mixtral-8x7b 46702792704" "deepseek-v2-lite 15706484224" "glm-4.5-air 106852251264" \
        "olmoe-1b-7b 6919161856"; do
        "$MKRANDOM" sparse=1 "$ROOT/tests/shapes/${want% *}.json" model
        [ "$(moe-inspect --json model | jq .parameters)" = "${want#* }" ] || { echo "$want"; return 1; }
        rm -r model
    done
    [ "$(find "$ROOT/tests/shapes" -type f | wc -l)" -eq 7 ]
}

@test "a random checkpoint of every fixture's configuration loads and runs" {
    for f in "$ROOT"/tests/fixtures/*/; do
        rm -rf model
        "$MKRANDOM" "$f/config.json" model
        moe-observe -q -f -o run.stats model ids.jsonl || { echo "$f"; return 1; }
    done
}

@test "a random checkpoint of every layout loads and runs" {
    for want in "qwen3-yarn split" "qwen3-yarn fused" "qwen3-yarn mxfp4" "gptoss-bf16 fused" "gptoss-bf16 mxfp4" \
        "mixtral-window split" "mixtral-window fused" "llama4-wrapper fused" "minimax-m2-fp8 fused" "minimax-m2-fp8 fp8" "qwen3-yarn fp8"; do
        size=(hidden_size=64 moe_intermediate_size=32)
        [[ $want == qwen3* ]] || size=(hidden_size=64 intermediate_size=32)
        rm -rf model
        "$MKRANDOM" layout="${want#* }" "${size[@]}" "$ROOT/tests/fixtures/${want% *}/config.json" model
        moe-observe -q -f -o run.stats model ids.jsonl || { echo "$want"; return 1; }
        # whether it is what was asked for
        fp8=false
        [[ $want != *" fp8" ]] || fp8=true
        moe-inspect --json model | jq -e ".fp8 == $fp8"
    done
}

@test "the same bytes with one thread and with four, in one file and in many" {
    shape=(layers=2 hidden_size=256 vocab_size=9000 "$ROOT/tests/shapes/gpt-oss-20b.json")
    "$MKRANDOM" threads=1 "${shape[@]}" one
    "$MKRANDOM" threads=4 "${shape[@]}" four
    diff -r one four
    "$MKRANDOM" threads=4 shard=3MB "${shape[@]}" many
    [ "$(find many -name 'model-*.safetensors' | wc -l)" -gt 3 ]
    for m in one many; do
        moe-observe -q --precision f32 -o $m.stats $m ids.jsonl
    done
    cmp one.stats many.stats
}

@test "the values are what they should be: every expert is used, no layer runs away" {
    "$MKRANDOM" layers=3 hidden_size=128 moe_intermediate_size=32 vocab_size=500 num_experts=16 \
        num_attention_heads=4 head_dim=32 num_key_value_heads=2 "$ROOT/tests/shapes/qwen3-30b-a3b.json" model
    awk 'BEGIN { srand(1); for (d = 0; d < 8; d++) { printf "{\"ids\":[1"
        for (t = 1; t < 100; t++) printf ",%d", int(rand() * 500)
        print "]}" } }' >many.jsonl
    moe-observe -q --precision f32 -o run.stats model many.jsonl
    # of 800 tokens with 8 of 16 experts each, in every layer
    awk -F '\t' '/^[^#]/ { n[$1 " " $4] += $5 } END { for (e in n) if (n[e] > 200 && n[e] < 600) good++
        exit !(good == 48) }' run.stats
}
