#!/usr/bin/env bats
# moe-quant: layouts, round trips, what is refused. The codecs are tested in tests/test_quant.c.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    MKMODEL=$BUILD/tests/mkmodel
}

header() {
    local n
    n=$(od -An -N8 -tu8 "$1")
    head -c $((n + 8)) "$1" | tail -c +9
}
# dtype and shape of a tensor of a single-file model.
shape() {
    header "$1/model.safetensors" | jq -c --arg t "$2" '.[$t] | [.dtype, .shape]'
}
# The bytes of a tensor.
tensor() {
    local n from to
    n=$(od -An -N8 -tu8 "$1/model.safetensors")
    read -r from to < <(header "$1/model.safetensors" | jq -r --arg t "$2" '.[$t].data_offsets | "\(.[0]) \(.[1])"')
    tail -c +$((n + 9 + from)) "$1/model.safetensors" | head -c $((to - from))
}
only() {
    diff <(printf "%s\n" "$@" | sed "/^$/d" | sort) <(ls -A)
}

@test "GPT-OSS: MXFP4 to BF16 and back gives the same values and the same config.json" {
    moe-quant -q -t bf16 "$TINY_GPTOSS" wide
    [ "$(shape wide model.layers.1.mlp.experts.gate_up_proj)" = '["BF16",[16,128,128]]' ]
    [ "$(shape wide model.layers.1.mlp.experts.down_proj)" = '["BF16",[16,64,128]]' ]
    [ "$(jq .quantization_config wide/config.json)" = null ]
    # nothing else in config.json has changed
    diff <(jq 'del(.quantization_config)' "$TINY_GPTOSS/config.json") <(jq . wide/config.json)
    run -0 moe-quant --json -t mxfp4 wide narrow
    [ "$(jq -c '.total | [.tensors, .error]' <<<"$output")" = '[8,0]' ]
    cmp "$TINY_GPTOSS/config.json" narrow/config.json
    diff <(header "$TINY_GPTOSS/model.safetensors" | jq .) <(header narrow/model.safetensors | jq .)
    # scale bytes of blocks with small codes may differ; the values do not
    moe-quant -q -t bf16 narrow again
    cmp wide/model.safetensors again/model.safetensors
    for t in model.layers.0.self_attn.q_proj.weight model.layers.3.mlp.experts.down_proj_bias model.norm.weight; do
        cmp <(tensor "$TINY_GPTOSS" $t) <(tensor narrow $t)
    done
}

@test "GPT-OSS: one value by hand through both layouts" {
    moe-quant -q -t bf16 "$TINY_GPTOSS" wide
    # layer 0, expert 3, output row 5, input 37 of gate_up: block 1, byte 2, high nibble
    local block scale code got
    block=$(tensor "$TINY_GPTOSS" model.layers.0.mlp.experts.gate_up_proj_blocks |
        od -An -v -tu1 -j $((((3 * 128 + 5) * 4 + 1) * 16 + 2)) -N1)
    scale=$(tensor "$TINY_GPTOSS" model.layers.0.mlp.experts.gate_up_proj_scales |
        od -An -v -tu1 -j $(((3 * 128 + 5) * 4 + 1)) -N1)
    code=$((block >> 4))
    got=$(tensor wide model.layers.0.mlp.experts.gate_up_proj | od -An -v -tu2 -j $((((3 * 128 + 37) * 128 + 5) * 2)) -N2)
    # bf16: sign, eight bits of exponent, seven of fraction
    awk -v code=$code -v s=$((scale)) -v got=$((got)) 'BEGIN {
        split("0 .5 1 1.5 2 3 4 6", v, " ")
        want = v[code % 8 + 1] * 2 ^ (s - 127) * (code > 7 ? -1 : 1)
        exp_ = int(got / 128) % 256
        have = exp_ ? (1 + got % 128 / 128) * 2 ^ (exp_ - 127) * (got > 32767 ? -1 : 1) : 0
        if (want != have) { print "code " code " scale " s ": want " want ", have " have; exit 1 }
    }'
}

@test "Qwen3: BF16 to the compressed-tensors layout and back" {
    run -0 moe-quant --json -t mxfp4 "$TINY_QWEN3" narrow
    [ "$(jq '.total.tensors' <<<"$output")" -eq $((4 * 16 * 3)) ]
    [ "$(jq '.total.error > 0.01 and .total.error < 0.014 and .total.sqnr_db > 18.5' <<<"$output")" = true ]
    [ "$(jq '[.tensors[] | select(.error < 0.008 or .error > 0.02)] | length' <<<"$output")" -eq 0 ]
    [ "$(shape narrow model.layers.0.mlp.experts.15.gate_proj.weight_packed)" = '["U8",[64,64]]' ]
    [ "$(shape narrow model.layers.0.mlp.experts.15.gate_proj.weight_scale)" = '["U8",[64,4]]' ]
    [ "$(shape narrow model.layers.0.mlp.experts.15.gate_proj.weight)" = '[null,null]' ]
    local q=.quantization_config
    [ "$(jq -r "$q.quant_method, $q.format" narrow/config.json)" = $'compressed-tensors\nmxfp4-pack-quantized' ]
    [ "$(jq -c "$q.config_groups.group_0.weights | [.num_bits, .type, .group_size, .strategy, .scale_dtype]" narrow/config.json)" = \
        '[4,"float",32,"group","torch.uint8"]' ]
    # every linear layer that stays is named, no expert is
    [ "$(jq "$q.ignore | length" narrow/config.json)" -eq $((4 * 5 + 1)) ]
    jq -e "$q.ignore | index(\"lm_head\") and index(\"model.layers.2.mlp.gate\") and index(\"model.layers.3.self_attn.k_proj\")" narrow/config.json
    [ "$(jq -c "$q.ignore[]" narrow/config.json | grep -c experts)" -eq 0 ]
    diff <(jq . "$TINY_QWEN3/config.json") <(jq 'del(.quantization_config)' narrow/config.json)
    cmp <(tensor "$TINY_QWEN3" model.layers.2.mlp.gate.weight) <(tensor narrow model.layers.2.mlp.gate.weight)
    moe-inspect narrow
    # decoding and encoding again changes nothing
    moe-quant -q -t bf16 narrow wide
    cmp "$TINY_QWEN3/config.json" wide/config.json
    diff <(header "$TINY_QWEN3/model.safetensors" | jq -S 'del(.__metadata__)') \
        <(header wide/model.safetensors | jq -S 'del(.__metadata__)')
    run -0 moe-quant -t mxfp4 wide again
    [[ $output == *' 192  BF16   -> MXFP4 '*exact*'all of these'* ]]
    cmp narrow/model.safetensors again/model.safetensors
    cmp narrow/config.json again/config.json
}

@test "shards keep their names, the index agrees, parameters are counted as before" {
    local model=many
    "$MKMODEL" shards=4 qwen3 many
    count_parameters many
    moe-quant -q -t mxfp4 "$model" narrow
    diff <(cd "$model" && ls -- *.safetensors) <(cd narrow && ls -- *.safetensors)
    diff <(jq -r '.weight_map | keys[]' narrow/model.safetensors.index.json | sort) \
        <(for f in narrow/*.safetensors; do header "$f" | jq -r 'del(.__metadata__) | keys[]'; done | sort)
    [ "$(jq .metadata.total_parameters narrow/model.safetensors.index.json)" -eq \
        "$(jq .metadata.total_parameters "$model/model.safetensors.index.json")" ]
    moe-quant -q -t bf16 narrow wide
    cmp "$model/model.safetensors.index.json" wide/model.safetensors.index.json
}

@test "the result does not depend on the number of threads" {
    moe-quant --json --threads 1 -t mxfp4 "$TINY_QWEN3" one >one.json
    moe-quant --json --threads 3 -t mxfp4 "$TINY_QWEN3" three >three.json
    cmp one/model.safetensors three/model.safetensors
    diff <(jq .tensors one.json) <(jq .tensors three.json)
}

@test "the model card says what was done" {
    moe-quant -q -t mxfp4 "$TINY_QWEN3" narrow
    for want in 'base_model: tiny-qwen3' 'base_model_relation: quantized' '- mxfp4' '# narrow' \
        '192 tensors were converted to MXFP4' 'Relative squared error' 'moe-quant -q -t mxfp4'; do
        grep -qF -e "$want" narrow/README.md || { echo "no '$want'"; return 1; }
    done
}

@test "a dry run foretells the size and writes nothing" {
    run -0 moe-quant -n --json -t mxfp4 "$TINY_QWEN3" narrow
    only
    local told
    told=$(jq .bytes.after <<<"$output")
    [ "$(jq -c '[.written, .total.tensors]' <<<"$output")" = '[false,192]' ]
    moe-quant -q -t mxfp4 "$TINY_QWEN3" narrow
    [ "$told" -eq "$(wc -c <narrow/model.safetensors)" ]
}

@test "pruning and quantizing commute: the same bytes of weights in either order" {
    printf '#moe-plan 1\n#model\tfamily=qwen3_moe\tlayers=4\texperts=16\ttopk=2\thidden=128\tdigest=%s\n' \
        "$(moe-inspect --json "$TINY_QWEN3" | jq -r .digest)" >plan.tsv
    awk 'BEGIN { OFS = "\t"; for (l = 0; l < 4; l++) for (e = 0; e < 16; e++) print l, e, (e + l) % 4 ? 1 : 0, 1, e + 1
        print "#end", "rows=64" }' >>plan.tsv
    moe-prune -q "$TINY_QWEN3" plan.tsv a
    moe-quant -q -t mxfp4 a a4
    moe-quant -q -t mxfp4 "$TINY_QWEN3" b
    moe-prune -q --verify b plan.tsv b4
    for t in model.layers.{0,3}.mlp.experts.{0,11}.{up,down}_proj.weight_{packed,scale} model.layers.1.mlp.gate.weight; do
        cmp <(tensor a4 "$t") <(tensor b4 "$t")
    done
    diff <(jq -S . a4/config.json) <(jq -S . b4/config.json)
}

@test "other linear layers with --include, less with --exclude" {
    moe-quant -q -t mxfp4 --include '*.experts.*' --include '*.self_attn.?_proj.weight' \
        --exclude '*.layers.0.self_attn.*' "$TINY_QWEN3" narrow
    [ "$(shape narrow model.layers.1.self_attn.q_proj.weight_packed)" = '["U8",[128,64]]' ]
    [ "$(shape narrow model.layers.0.self_attn.q_proj.weight)" = '["BF16",[128,128]]' ]
    jq -e '.quantization_config.ignore | index("model.layers.0.self_attn.q_proj") and (index("model.layers.1.self_attn.q_proj") | not)' narrow/config.json
    moe-inspect narrow
}

@test "refused: what the layout cannot hold" {
    fails_with "norm.weight' is not the weight of a linear layer" moe-quant -t mxfp4 --include '*norm.weight' "$TINY_QWEN3" out
    fails_with "mlp.gate.weight' is a router" moe-quant -t mxfp4 --include '*.mlp.gate.weight' "$TINY_QWEN3" out
    fails_with "embed_tokens.weight' is an embedding" moe-quant -t mxfp4 --include '*embed*' "$TINY_QWEN3" out
    fails_with 'convert all routed experts or none' moe-quant -t mxfp4 --exclude '*.layers.0.*' "$TINY_QWEN3" out
    fails_with 'no tensor of .* is left to convert' moe-quant -t mxfp4 --exclude '*' "$TINY_QWEN3" out
    moe-quant -q -t bf16 "$TINY_GPTOSS" wide
    fails_with "q_proj.weight' is no expert's weight" moe-quant -t mxfp4 --include '*.q_proj.weight' wide out
    only wide
}

@test "refused: rows that are no multiple of 32" {
    "$MKMODEL" inter=48 qwen3 odd
    fails_with "down_proj.weight' has rows of 48 elements" moe-quant -t mxfp4 odd out
    only odd
}

@test "refused: NaN, with tensor and index; nothing is left" {
    "$MKMODEL" break=nan-weight qwen3 bad
    fails_with "down_proj.weight': element [0-9]+ is not a finite number" moe-quant -t mxfp4 bad out
    only bad
}

@test "refused: a scale of 255" {
    cp -r "$TINY_GPTOSS" bad
    local n from
    n=$(od -An -N8 -tu8 bad/model.safetensors)
    from=$(header bad/model.safetensors | jq '.["model.layers.1.mlp.experts.down_proj_scales"].data_offsets[0]')
    printf '\377' | dd of=bad/model.safetensors bs=1 seek=$((n + 8 + from + 77)) conv=notrunc status=none
    fails_with "layers.1.mlp.experts.down_proj_scales': scale 77 is 255" moe-quant -t bf16 bad out
    only bad
    run -3 moe-inspect --check bad
    [[ $output == *down_proj_scales* ]]
    moe-quant -q -t mxfp4 "$TINY_QWEN3" ct
    n=$(od -An -N8 -tu8 ct/model.safetensors)
    from=$(header ct/model.safetensors | jq '.["model.layers.1.mlp.experts.3.up_proj.weight_scale"].data_offsets[0]')
    printf '\377' | dd of=ct/model.safetensors bs=1 seek=$((n + 8 + from + 5)) conv=notrunc status=none
    fails_with "experts.3.up_proj.weight_scale': scale 5 is 255" moe-quant -t bf16 ct out
    run -3 moe-inspect --check ct
    [[ $output == *experts.3.up_proj.weight_scale* ]]
}

@test "refused: the wrong direction" {
    fails_with 'quantized already' moe-quant -t mxfp4 "$TINY_GPTOSS" out
    fails_with 'holds no quantized tensor' moe-quant -t bf16 "$TINY_QWEN3" out
    mkdir out
    fails_with "'out' exists already" moe-quant -t mxfp4 "$TINY_QWEN3" out
    fails_with "model's own directory" moe-quant -f -t mxfp4 "$TINY_QWEN3" "$TINY_QWEN3"
}

@test "a full disk leaves nothing" {
    fails_with 'cannot write .*File too large' bash -c "ulimit -f 512; moe-quant -t mxfp4 '$TINY_QWEN3' out"
    only
}

@test "usage" {
    run -2 --separate-stderr moe-quant "$TINY_QWEN3" out
    [[ $stderr == *'int4-32 or bf16'* ]]
    run -2 --separate-stderr moe-quant -t int3 "$TINY_QWEN3" out
    [[ $stderr == *"not 'int3'"* ]]
    run -2 --separate-stderr moe-quant -t bf16 --include 'x*' "$TINY_GPTOSS" out
    [[ $stderr == *'do not go with -t bf16'* ]]
    run -0 moe-quant --help
    [[ $output == *'--include GLOB'* ]]
    only
}

@test "a line for each kind of tensor, with -v one for each tensor, and the same in JSON" {
    local kinds='^ +[0-9]+  [A-Z0-9]+ +-> [A-Z0-9]+ +[0-9.]+ [kM]B -> [0-9.]+ [kM]B +[0-9.-]+ +[0-9.a-z-]+  model'
    moe-quant -t mxfp4 "$TINY_QWEN3" out >table
    [ "$(grep -cE "$kinds" table)" = 3 ]
    grep -qE '^ +64  BF16 +-> MXFP4 +1.05 MB -> 278.5 kB +0\.01[0-9]* +1[89]\.[0-9]+  model.layers.\*.mlp.experts.\*.up_proj.weight$' table
    grep -qE '^ +192  BF16 .* all of these$' table
    grep -qE '^ +38  copied +936.7 kB$' table
    run ! grep -q 'layers.1.mlp' table
    moe-quant -v -t mxfp4 "$TINY_QWEN3" again >each
    [ "$(grep -cE ' model.layers.[0-3].mlp.experts.[0-9]+.(up|down|gate)_proj.weight_packed$' each)" = 192 ]
    diff table <(tail -n "$(wc -l <table)" each)
    moe-quant --json -t mxfp4 "$TINY_QWEN3" third >said
    jq -e '(.kinds | length) == 3 and (.kinds | map(.tensors) | add) == .total.tensors and .copied.tensors == 38
        and (.kinds | map(.bytes.before) | add) - (.kinds | map(.bytes.after) | add) > 2000000
        and all(.kinds[]; .from == "BF16" and .to == "MXFP4" and .error > 0.01 and .elements == 524288)' said
    [ "$(jq '.copied.bytes + (.kinds | map(.bytes.after) | add)' said)" -eq "$(($(wc -c <third/model.safetensors) - 8 - $(od -An -N8 -tu8 third/model.safetensors)))" ]
    # and beforehand; back again there is one tensor for blocks and scales
    moe-quant -n -t bf16 out not >table
    [ "$(grep -cE "$kinds" table)" = 3 ]
    grep -qE '^ +64  MXFP4 +-> BF16 +278.5 kB -> 1.05 MB +- +-  model.layers.\*.mlp.experts.\*.up_proj.weight_packed$' table
    [ ! -e not ]
    jq -e '.kinds | map(.to) | unique == ["BF16"]' <(moe-quant -n --json -t bf16 "$TINY_GPTOSS" not)
}

@test "every format: layout, configuration, the error that its tables foretell, and back to BF16" {
    local t least most kind
    "$MKMODEL" hidden=128 inter=128 qwen3 model
    for t in 'nvfp4 0.0055 0.0075 nvfp4-pack-quantized' 'fp8-channel 0.0003 0.0009 float-quantized' \
        'int4 0.003 0.005 pack-quantized' 'int4-32 0.003 0.004 pack-quantized' 'fp8 0.0003 0.0009 null'; do
        read -r t least most kind <<<"$t"
        moe-quant --json -t "$t" model "$t" >said
        jq -e ".total.error > $least and .total.error < $most" said || { jq .total said; echo "$t"; return 1; }
        [ "$(jq -r .quantization_config.format "$t/config.json")" = "$kind" ]
        moe-inspect "$t" >/dev/null
        # exact in BF16, or as near as that is
        moe-quant -q -t bf16 "$t" "$t-wide"
        moe-quant --json -t "$t" "$t-wide" "$t-again" >said
        jq -e '.total.error < 1e-4' said || { jq .total said; echo "$t again"; return 1; }
        cmp "model/config.json" "$t-wide/config.json"
    done
    local q=.quantization_config
    [ "$(jq -c "$q | [.quant_method, .weight_block_size]" fp8/config.json)" = '["fp8",[128,128]]' ]
    [ "$(shape fp8 model.layers.0.mlp.experts.1.up_proj.weight_scale_inv)" = '["F32",[1,1]]' ]
    [ "$(shape fp8-channel model.layers.0.mlp.experts.1.up_proj.weight_scale)" = '["BF16",[128,1]]' ]
    [ "$(jq -r "$q.config_groups.group_0.input_activations.strategy" fp8-channel/config.json)" = token ]
    [ "$(shape nvfp4 model.layers.0.mlp.experts.1.up_proj.weight_scale)" = '["F8_E4M3",[128,8]]' ]
    [ "$(shape nvfp4 model.layers.0.mlp.experts.1.up_proj.weight_global_scale)" = '["F32",[1]]' ]
    [ "$(shape int4-32 model.layers.0.mlp.experts.1.up_proj.weight_packed)" = '["I32",[128,16]]' ]
    [ "$(shape int4-32 model.layers.0.mlp.experts.1.up_proj.weight_scale)" = '["BF16",[128,4]]' ]
    [ "$(tensor int4 model.layers.0.mlp.experts.1.up_proj.weight_shape | od -An -td8 | xargs)" = '128 128' ]
    [ "$(jq -c "$q.config_groups.group_0.weights | [.group_size, .num_bits, .type]" int4/config.json)" = '[128,4,"int"]' ]
    # what was to be is exact the second time: every value of NVFP4 is a BF16 number that NVFP4 has
    [ "$(jq .total.blocks.all said)" = null ]
    [ "$(moe-quant -f --json -t nvfp4 nvfp4-wide again | jq '.total.error')" = 0 ]
}

@test "NVFP4: gate and up of an expert have one global scale, a power of two; MXFP4 becomes it exactly" {
    "$MKMODEL" hidden=128 inter=64 qwen3 model
    moe-quant -q -t nvfp4 model four
    local e bits
    for e in 0 3; do
        cmp <(tensor four model.layers.1.mlp.experts.$e.gate_proj.weight_global_scale) \
            <(tensor four model.layers.1.mlp.experts.$e.up_proj.weight_global_scale)
        bits=$(tensor four model.layers.1.mlp.experts.$e.down_proj.weight_global_scale | od -An -tu4)
        [ $((bits % (1 << 23))) -eq 0 ]
    done
    moe-quant -q -t mxfp4 model mx
    moe-quant --json -t nvfp4 mx nv >said
    jq -e '.total.error == 0 and .total.blocks.all > 0 and .total.blocks.all == .total.blocks.lossless' said
    moe-quant -t nvfp4 mx nv2 | grep -qE '^blocks  +([0-9]+), of which \1 have the values'
    moe-quant -q -t bf16 mx a
    moe-quant -q -t bf16 nv b
    cmp a/model.safetensors b/model.safetensors
}

@test "refused: NVFP4 of GPT-OSS, with the reason; blocks that runtimes would misread" {
    moe-quant -q -t bf16 "$TINY_GPTOSS" wide
    fails_with 'not written for the family gpt_oss: vLLM gives broken output' moe-quant -t nvfp4 wide out
    fails_with 'not written for the family gpt_oss' moe-quant -t nvfp4 "$TINY_GPTOSS" out
    fails_with "no layout of fp8 is known" moe-quant -t fp8 wide out
    "$MKMODEL" hidden=128 inter=192 qwen3 odd
    fails_with 'has 192 rows, and runtimes read fp8 right in multiples of 128' \
        moe-quant -t fp8 --exclude '*down_proj*' odd out
    fails_with 'rows of 192 elements, int4 needs a multiple of 128' moe-quant -t int4 odd out
    only wide odd
}

@test "all pieces of a map are beside each other, and aligned" {
    moe-quant -q -t nvfp4 "$TINY_QWEN3" four
    header four/model.safetensors | jq -e 'del(.__metadata__) | to_entries
        | all(.[]; .value.data_offsets[0] % {U8: 1, F8_E4M3: 1, BF16: 2, F32: 4, I64: 8}[.value.dtype] == 0)'
    local at
    at=$(header four/model.safetensors | jq -c 'del(.__metadata__) | to_entries | sort_by(.value.data_offsets[0])
        | map(.key) | index("model.layers.1.mlp.experts.2.up_proj.weight_global_scale") as $i | .[$i:$i + 3]
        | map(ltrimstr("model.layers.1.mlp.experts.2.up_proj."))')
    [ "$at" = '["weight_global_scale","weight_scale","weight_packed"]' ]
}

@test "whatever is quantized becomes BF16: the same predictions, and other files about it stay behind" {
    local f
    printf '{"ids":[%s]}\n' "$(seq -s , 1 60)" >ids.jsonl
    for f in qwen3-fp8 qwen3-gptq glm4-awq qwen3-modelopt olmoe-autoround minimax-m2-fp8 gptoss-nvfp4 llama4-mx; do
        cp -r "$ROOT/tests/fixtures/$f" source
        jq .quantization_config source/config.json >source/quant_config.json
        moe-quant -q -t bf16 source "$f"
        rm -r source
        [ "$(jq .quantization_config "$f/config.json")" = null ]
        [ ! -e "$f/hf_quant_config.json" ]
        [ ! -e "$f/quantize_config.json" ]
        [ ! -e "$f/quant_config.json" ]
        moe-bench compare -q --json --precision f32 "$f" "$ROOT/tests/fixtures/$f" ids.jsonl >said
        jq -e '.candidates[0].total.kl_mean < 1e-4' said || { echo "$f: $(jq -c .candidates said)"; return 1; }
    done
}

@test "--matrices: scales by what experts see: higher errors, nearer predictions; of this model only" {
    local t plain weighed
    jq -nc 'range(30) as $i | {ids: [range(64) | . * (7 + 2 * $i) % 250 + 1]}' >docs.jsonl
    moe-observe -q -o run.stats --matrices run.matrices "$TINY_QWEN3" docs.jsonl
    for t in mxfp4 nvfp4 int4-32; do
        plain=$(moe-quant --json -t $t "$TINY_QWEN3" $t | jq .total.error)
        weighed=$(moe-quant --json -t $t --matrices run.matrices "$TINY_QWEN3" $t-seen | jq .total.error)
        awk -v a="$plain" -v b="$weighed" 'BEGIN { exit !(b > a && b < 1.2 * a) }'
        grep -q 'weighed with the squared size' $t-seen/README.md
    done
    moe-bench compare -q --json --precision f32 --model nvfp4 --model nvfp4-seen --model int4-32 \
        --model int4-32-seen "$TINY_QWEN3" docs.jsonl >said
    jq -e '[.candidates[].total.kl_mean] | .[1] < .[0] and .[3] < .[2]' said || { jq -c '[.candidates[].total.kl_mean]' said; return 1; }
    "$MKMODEL" qwen3 other
    fails_with 'another model' moe-quant -t mxfp4 --matrices run.matrices other out
    run -2 --separate-stderr moe-quant -t fp8-channel --matrices run.matrices "$TINY_QWEN3" out
    [[ $stderr == *'has no part in fp8-channel'* ]]
    run -2 --separate-stderr moe-quant -t bf16 --matrices run.matrices "$TINY_GPTOSS" out
    [[ $stderr == *'do not go with -t bf16'* ]]
}

@test "--matrices: GPT-OSS, whose experts are one tensor" {
    jq -nc 'range(10) as $i | {ids: [range(64) | . * (7 + 2 * $i) % 250 + 1]}' >docs.jsonl
    moe-quant -q -t bf16 "$TINY_GPTOSS" wide
    moe-observe -q -o run.stats --matrices run.matrices wide docs.jsonl
    # values of MXFP4 are exact with any weights
    [ "$(moe-quant --json -t mxfp4 --matrices run.matrices wide out | jq .total.error)" = 0 ]
}
