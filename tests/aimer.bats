#!/usr/bin/env bats
# moe-inspect --aimer: the criterion of the weights, from every way in which experts are stored.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

# score FILE LAYER EXPERT
score() {
    awk -F'\t' -vl="$2" -ve="$3" '!/^#/ && $1 == l && $2 == e { print $3 }' "$1"
}

@test "rms / mean|w| of the last expert of each fixture, as PyTorch computes it in f64" {
    while read -r model layer expert want; do
        moe-inspect --aimer -f -o aimer.tsv "$ROOT/$model"
        awk -vgot="$(score aimer.tsv "$layer" "$expert")" -vwant="$want" -vmodel="$model" 'BEGIN {
            d = got / want - 1
            if (!(d < 1e-7 && d > -1e-7)) { print model ": " got " is not " want; exit 1 } }'
    done <<'END'
tests/fixtures/deepseek-v2-greedy 1 7 1.18685799
tests/fixtures/deepseek-v3-fp8 1 5 1.19540604
tests/fixtures/ernie4_5-interval 3 5 1.19435628
tests/fixtures/glm4-awq 1 7 1.17551654
tests/fixtures/glm4-fp8-rows 1 7 1.19159007
tests/fixtures/glm4-mtp 1 7 1.20074366
tests/fixtures/gptoss-bf16 2 3 1.39009129
tests/fixtures/gptoss-mxfp4 1 3 1.433119
tests/fixtures/gptoss-nvfp4 1 3 1.42555943
tests/fixtures/llama4-mx 1 3 1.15905899
tests/fixtures/llama4-wrapper 3 3 1.1795764
tests/fixtures/minimax-m2-fp8 1 3 1.16797406
tests/fixtures/mixtral-fused 2 3 1.18358485
tests/fixtures/mixtral-window 2 4 1.19093916
tests/fixtures/olmoe-autoround 1 5 1.18231375
tests/fixtures/olmoe-clip 2 5 1.1907345
tests/fixtures/qwen2-window 3 5 1.20329189
tests/fixtures/qwen3-fp8 1 3 1.20482524
tests/fixtures/qwen3-gptq 1 3 1.15807983
tests/fixtures/qwen3-modelopt 1 5 1.18375044
examples/tiny-gptoss 3 15 1.26971096
examples/tiny-qwen3 3 15 1.25904141
END
}

@test "MXFP4 experts have the scores of their BF16 form, whatever the layout" {
    moe-quant -q -t bf16 "$TINY_GPTOSS" bf16
    moe-quant -q -t mxfp4 "$TINY_QWEN3" mxfp4
    moe-quant -q -t bf16 mxfp4 back
    moe-inspect --aimer "$TINY_GPTOSS" >a.tsv
    moe-inspect --aimer bf16 >b.tsv
    moe-inspect --aimer mxfp4 >c.tsv
    moe-inspect --aimer back >d.tsv
    for pair in 'a b' 'c d'; do
        paste "${pair% *}.tsv" "${pair#* }.tsv" | awk '!/^#/ { n++; d = $3 / $6 - 1; if (d > 1e-12 || d < -1e-12) exit 1 } END { if (n != 64) exit 1 }'
    done
}

@test "ModelOpt's MXFP4 of all experts together, packed along its last dimension, has those of its BF16 form" {
    local from=$SHARED/formats/modelopt-fused-mxfp4
    [ -d "$from" ] || skip "no formats beside the checkout"
    moe-quant -q -t bf16 "$from" bf16
    moe-inspect --aimer "$from" >a.tsv
    moe-inspect --aimer bf16 >b.tsv
    paste a.tsv b.tsv | awk '!/^#/ { n++; d = $3 / $6 - 1; if (d > 1e-12 || d < -1e-12) exit 1 } END { if (n != 16) exit 1 }'
}

@test "a plan of the weights, cut" {
    moe-inspect --aimer -o aimer.tsv "$TINY_QWEN3"
    fails_with "'aimer.tsv' exists already" moe-inspect --aimer -o aimer.tsv "$TINY_QWEN3"
    run moe-score -q -c file:aimer.tsv -r 50% -o plan.tsv
    [ "$status" -eq 0 ]
    grep -q '^#criterion	file	keep=8	of=aimer	ratio=50%$' plan.tsv
    moe-prune -q --verify "$TINY_QWEN3" plan.tsv small
    moe-inspect --check small
    moe-inspect --aimer small | grep -c '^[0-3]' | grep -qx 32
    # the order is that of the scores
    [ "$(awk '!/^#/ && $1 == 2 { print $4, $2 }' plan.tsv | sort -k1,1nr | cut -d' ' -f2)" = \
        "$(awk '!/^#/ && $1 == 2 { print $5, $2 }' plan.tsv | sort -n | cut -d' ' -f2)" ]
}

@test "a NaN in an expert is found" {
    cp -r "$ROOT/tests/fixtures/minimax-m2-fp8" model
    chmod -R u+w model
    shard=model.safetensors
    n=$(od -An -tu8 -N8 "model/$shard" | tr -d ' ')
    at=$(tail -c +9 "model/$shard" | head -c "$n" | jq '.["model.layers.1.block_sparse_moe.experts.2.w1.weight"].data_offsets[0]')
    printf '\177' | dd of="model/$shard" bs=1 seek=$((8 + n + at + 3)) conv=notrunc status=none
    fails_with "experts.2.w1.weight' holds a value that is not a finite number" moe-inspect --aimer model
}

@test "wrong usage" {
    run -2 moe-inspect -o x "$TINY_QWEN3"
    [[ $output == *"--output goes with --aimer"* ]]
    run -2 moe-inspect --aimer --json "$TINY_QWEN3"
    run -2 moe-inspect --aimer --check "$TINY_QWEN3"
    [[ $output == *"one question at a time"* ]]
}
