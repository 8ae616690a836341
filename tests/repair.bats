#!/usr/bin/env bats
# moe-bench repair and moe-prune --repair: what is fitted, where it goes, and that it helps.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    for i in 0 1 2 3 4 5 6 7 8 9; do
        jq -cn --rawfile t "$ROOT/man/moe.7" --argjson i $i '{category: "text", text: $t[($i * 900):($i * 900 + 900)]}'
        jq -cn --rawfile t "$ROOT/lib/base/file.c" --argjson i $i '{category: "code", text: $t[($i * 900):($i * 900 + 900)]}'
    done >docs.jsonl
    for m in qwen3 gptoss; do
        moe-observe -q -o $m.stats "$ROOT/examples/tiny-$m" docs.jsonl
        moe-score -q -c reap2_sum -k 8 -o $m.tsv $m.stats
        moe-bench repair --precision f32 --plan $m.tsv -o $m.repair "$ROOT/examples/tiny-$m" docs.jsonl 2>$m.said
        moe-prune -q --verify "$ROOT/examples/tiny-$m" $m.tsv $m-cut
        moe-prune -q --verify --repair $m.repair "$ROOT/examples/tiny-$m" $m.tsv $m-repaired
    done
}

setup() {
    cd "$BATS_FILE_TMPDIR" || return
}

# kl MODEL: how far it is from the whole one on the text that was fitted.
kl() {
    moe-bench compare -q --precision f32 --json "$1" "$ROOT/examples/tiny-${1%-*}" docs.jsonl | jq '.. | .kl_mean? // empty' | head -n 1
}

# changed A B: names of the tensors that differ, numbers replaced by N.
changed() {
    local name size begin n
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    head -c $((8 + n)) "$1" | cmp -s - <(head -c $((8 + n)) "$2") || true
    head -c $((8 + n)) "$1" | tail -c +9 | jq -r 'to_entries[] | select(.key != "__metadata__") | "\(.key) \(.value.data_offsets[0]) \(.value.data_offsets[1])"' |
        while read -r name begin size; do
            cmp -s <(tail -c +$((9 + n + begin)) "$1" | head -c $((size - begin))) \
                <(tail -c +$((9 + n + begin)) "$2" | head -c $((size - begin))) || echo "$name"
        done | sed 's/[0-9][0-9]*/N/g' | sort -u
}

@test "repair lowers the divergence on what it was fitted to" {
    for m in qwen3 gptoss; do
        grep -Eq '(factors|biases) of [1-4] of 4 layers: squared error 0\.[0-9]* -> 0\.' $m.said
        awk -va="$(kl $m-repaired)" -vb="$(kl $m-cut)" 'BEGIN { print a, b; exit !(a < b) }'
    done
}

@test "only down projections, or their biases, change" {
    run changed qwen3-cut/model.safetensors qwen3-repaired/model.safetensors
    [ "$output" = model.layers.N.mlp.experts.N.down_proj.weight ]
    for f in gptoss-cut/*.safetensors; do
        changed "$f" "gptoss-repaired/${f##*/}"
    done | sort -u | cmp - <(echo model.layers.N.mlp.experts.down_proj_bias)
    moe-inspect --check gptoss-repaired
    moe-inspect --check qwen3-repaired
    grep -q 'but for the repair' qwen3-repaired/README.md
    grep -q '^- Repair: gptoss.repair, added to the biases' gptoss-repaired/README.md
}

@test "what is FP8 is multiplied in its scales, whose names and number are the format's" {
    jq -cn 'range(24) as $i | {ids: [range(30) | (. * 7 + $i * 11) % 60 + 3]}' >ids.jsonl
    for m in qwen3-fp8=weight_scale_inv glm4-fp8-rows=weight_scale; do
        local model=$ROOT/tests/fixtures/${m%=*}
        moe-observe -q -f -o fp8.stats "$model" ids.jsonl
        moe-score -q -f -r 0.25 -o fp8.tsv fp8.stats
        moe-bench repair -q -f --precision f32 --plan fp8.tsv -o fp8.repair "$model" ids.jsonl
        moe-prune -q -f --verify "$model" fp8.tsv fp8-cut
        moe-prune -q -f --verify --repair fp8.repair "$model" fp8.tsv fp8-repaired
        run changed fp8-cut/model.safetensors fp8-repaired/model.safetensors
        [ "$output" = "model.layers.N.mlp.experts.N.down_proj.${m#*=}" ]
    done
}

@test "a repair that changes nothing gives the same bytes" {
    moe-bench repair -q --precision f32 --ridge 1e6 --plan qwen3.tsv "$TINY_QWEN3" docs.jsonl >none.repair
    moe-bench repair -q --precision f32 --plan qwen3.tsv --threads 1 "$TINY_QWEN3" docs.jsonl | cmp - qwen3.repair
    moe-prune -q --verify --repair none.repair "$TINY_QWEN3" qwen3.tsv none
    run changed qwen3-cut/model.safetensors none/model.safetensors
    [ -z "$output" ]
}

@test "refused" {
    fails_with 'the repair was made from another model' moe-prune -q --repair gptoss.repair "$TINY_QWEN3" qwen3.tsv out
    fails_with "'qwen3.tsv'|qwen3.tsv" moe-prune -q --repair qwen3.tsv "$TINY_QWEN3" qwen3.tsv out
    moe-quant -q -t mxfp4 "$TINY_QWEN3" mxfp4
    fails_with 'is MXFP4, which cannot be multiplied by a factor; moe-quant -t bf16' \
        moe-prune -q --repair qwen3.repair mxfp4 qwen3.tsv out
    [ ! -e out ]
    # a repair for another plan
    moe-score -q -c freq -k 8 -o other.tsv qwen3.stats
    run -0 --separate-stderr moe-prune -n --repair qwen3.repair "$TINY_QWEN3" other.tsv out
    [[ $stderr == *"'qwen3.repair' was made for other kept experts (by 'weighted_ean_sum_l2"*") than those of 'other.tsv'"* ]]
    run -0 --separate-stderr moe-prune -n --repair qwen3.repair "$TINY_QWEN3" qwen3.tsv out
    [ -z "$stderr" ]
    # the kept experts count, not how the plan is written: aligned columns are the same, one expert more is not
    sed 's/\t/  /g; 1,2s/  /\t/g' qwen3.tsv >aligned.tsv
    run -0 --separate-stderr moe-prune -n --repair qwen3.repair "$TINY_QWEN3" aligned.tsv out
    [ -z "$stderr" ]
    awk -F '\t' -v OFS='\t' '/^[0-9]/ && !done[$1, $3]++ { $3 = 1 - $3 } 1' qwen3.tsv >edited.tsv
    run -0 --separate-stderr moe-prune -n --repair qwen3.repair "$TINY_QWEN3" edited.tsv out
    [[ $stderr == *'was made for other kept experts'* ]]
    # what is fitted on an MXFP4 model is for a copy of it
    run -0 --separate-stderr moe-bench repair --precision f32 --plan qwen3.tsv -o mxfp4.repair mxfp4 docs.jsonl
    [[ ${stderr_lines[0]} == *'will need the model in BF16 (moe-quant -t bf16)' ]]
    moe-quant -q -t bf16 mxfp4 bf16
    moe-prune -q --verify --repair mxfp4.repair bf16 qwen3.tsv bf16-out
    # a few bytes that ask for all memory
    local header='{"__metadata__":{"format":"moe-repair 1","layers":"0","model":"family=qwen3_moe\tlayers=4\texperts=65536\ttopk=2\thidden=2147483647\tdigest=00112233445566778899aabbccddeeff","plan":"x"},"layers.0.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    {
        printf "\\x$(printf %02x $((${#header} % 256)))\\x$(printf %02x $((${#header} / 256)))\0\0\0\0\0\0%s\0\0\0\0" "$header"
    } >large.repair
    fails_with 'its tensors are not those of its model line' moe-prune -q --repair large.repair "$TINY_QWEN3" qwen3.tsv out
    cp qwen3.tsv mine.tsv
    run -2 moe-bench repair -f -o mine.tsv --plan mine.tsv "$TINY_QWEN3" docs.jsonl
    cmp mine.tsv qwen3.tsv
    run -2 moe-bench repair "$TINY_QWEN3" docs.jsonl
    [[ $output == *"--plan is missing"* ]]
    run -2 moe-bench repair --plan qwen3.tsv --ridge -1 "$TINY_QWEN3" docs.jsonl
    head -n 1 docs.jsonl >one.jsonl
    fails_with 'one for each half' moe-bench repair -q --plan qwen3.tsv "$TINY_QWEN3" one.jsonl
    fails_with "'qwen3.repair' exists already" moe-bench repair -q --plan qwen3.tsv -o qwen3.repair "$TINY_QWEN3" docs.jsonl
}
