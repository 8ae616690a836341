#!/usr/bin/env bats
# Models as others write them: keys that change nothing, byte order marks, numbers of Python, metadata of any kind.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    MKMODEL=$BUILD/tests/mkmodel
    echo '{"ids":[1,2,3,4,5,6,7,8]}' >ids.jsonl
}

# edit FILE JQ-PROGRAM [ARGUMENT...]
edit() {
    jq "${@:3}" "$2" "$1" >edited.json
    cat edited.json >"$1"
    rm edited.json
}

# header FILE JQ-PROGRAM: changes the header of a safetensors file; tensors keep their places.
header() {
    local n new
    n=$(od -An -N8 -tu8 "$1")
    tail -c +9 "$1" | head -c "$((n))" | jq -c "$2" | tr -d '\n' >header.json
    new=$(wc -c <header.json)
    { printf '%b' "$(printf '\\x%02x' $((new & 255)) $((new >> 8 & 255)) $((new >> 16)))\0\0\0\0\0"; cat header.json; tail -c +$((9 + n)) "$1"; } >file.new
    mv file.new "$1"
    rm header.json
}

figure() { moe-bench perplexity --precision f32 --json "$@" ids.jsonl | jq .perplexity; }

# plan MODEL: plan.tsv that drops a quarter of the experts.
plan() {
    moe-observe -q -f -o run.stats "$1" ids.jsonl
    moe-score -q -f -r 25% -o plan.tsv run.stats
}

@test "keys of generation, training and loading are no reason to refuse" {
    "$MKMODEL" qwen3 m
    edit m/config.json '. + {use_qk_norm: true, repetition_penalty: 1.1, num_beams: 4, typical_p: 0.9, mtp_loss_weight: 0.1,
        embd_pdrop: 0.1, torchscript: true, image_processor_config: {a: 1}, is_decoder: true, shared_expert_intermediate_size: 0}'
    moe-inspect m
}

@test "a key with the one value that a family ever has is understood, another value is refused" {
    "$MKMODEL" qwen3 m
    edit m/config.json '.use_qk_norm = false'
    fails_with 'use_qk_norm is not true, which is all that is understood for the family qwen3_moe' moe-inspect m
    moe-inspect --ignore-key use_qk_norm m
    edit m/config.json '. + {use_qk_norm: true, scoring_func: "softmax", n_group: 1, topk_group: 1, routed_scaling_factor: 1.0}'
    moe-inspect m
    edit m/config.json '.routed_scaling_factor = 2.5'
    fails_with 'routed_scaling_factor is not 1' moe-inspect m
    "$MKMODEL" gptoss g
    edit g/config.json '.swiglu_alpha = 1.702'
    moe-inspect g
    edit g/config.json '.swiglu_alpha = 1.5'
    fails_with 'swiglu_alpha is not 1.702' moe-inspect g
}

@test "all keys that are not understood are named at once, those of the rope too" {
    "$MKMODEL" qwen3 m
    edit m/config.json '. + {aaa: 1, bbb: "x", off: false} | .rope_scaling = {rope_type: "default", ccc: 3}'
    fails_with "the 3 keys 'aaa', 'bbb', 'ccc' are not understood.*--ignore-key KEY of each" moe-inspect m
    fails_with "the key 'ccc' is not understood.*--ignore-key ccc" moe-inspect --ignore-key aaa --ignore-key bbb m
    moe-inspect --ignore-key aaa --ignore-key bbb --ignore-key ccc m
    edit m/config.json 'del(.aaa, .bbb) | .rope_scaling = {type: "default", finetuned: true, mrope_section: [1, 2], attn_factor: 1.0}'
    moe-inspect m
    edit m/config.json '.rope_scaling.attn_factor = 2'
    fails_with 'attn_factor is not 1' moe-inspect m
}

@test "layer_types of a family whose layers are all alike" {
    "$MKMODEL" qwen3 m
    edit m/config.json '.layer_types = [range(.num_hidden_layers) | "full_attention"]'
    moe-inspect m # its window is off
    edit m/config.json '.use_sliding_window = true | .sliding_window = 4'
    fails_with layer_types moe-inspect m
    cp -r "$BATS_TEST_DIRNAME/fixtures/mixtral-fused" x
    chmod -R u+w x
    edit x/config.json '.sliding_window = null | .layer_types = [range(.num_hidden_layers) | "full_attention"]'
    moe-inspect x
    cp -r "$BATS_TEST_DIRNAME/fixtures/glm4-plain" g
    chmod -R u+w g
    edit g/config.json '.layer_types = [range(.num_hidden_layers) | "full_attention"]'
    moe-inspect g
    edit g/config.json '.layer_types[0] = "sliding_attention"'
    fails_with "the key 'layer_types' is not understood" moe-inspect g
}

@test "factors of 1, and what names a model, change nothing" {
    "$MKMODEL" qwen3 m
    edit m/config.json '.embedding_multiplier = 1.0 | .logit_scale = 1 | .is_causal = true | .model_name = "x"'
    moe-inspect m
    edit m/config.json '.logit_scale = 2'
    fails_with 'logit_scale is not 1' moe-inspect m
}

@test "a draft model is named as one" {
    "$MKMODEL" qwen3 m
    edit m/config.json '.architectures = ["Qwen3MoeForCausalLMEagle3"]'
    fails_with "'Qwen3MoeForCausalLMEagle3' drafts for speculative decoding" moe-inspect m
}

@test "a rope theta that rope_scaling hides is not lost without a word" {
    "$MKMODEL" qwen3 m
    edit m/config.json 'del(.rope_theta) | .rope_parameters = {rope_type: "default", rope_theta: 1000000} | .rope_scaling = null'
    moe-inspect m
    edit m/config.json '.rope_scaling = {type: "yarn", factor: 4, original_max_position_embeddings: 1024}'
    fails_with 'rope_theta 1000000 of that would be 10000: write it into rope_scaling' moe-inspect m
    moe-inspect --ignore-key rope_parameters m
    edit m/config.json '.rope_scaling.rope_theta = 1000000'
    moe-inspect m
    edit m/config.json 'del(.rope_scaling.rope_theta) | .rope_theta = 1000000'
    moe-inspect m
}

@test "beside text_config: what stands there too, with the same value" {
    cp -r "$BATS_TEST_DIRNAME/fixtures/llama4-wrapper" m
    chmod -R u+w m
    edit m/config.json '. + (.text_config | del(.model_type)) + {image_processor_config: {x: 1}}'
    moe-inspect m
    edit m/config.json '.num_attention_heads += 1'
    fails_with "the key 'num_attention_heads' is not understood" moe-inspect m
}

@test "numbers that only Python writes" {
    "$MKMODEL" gptoss g
    edit g/config.json '.swiglu_limit = 1000000'
    want=$(figure g)
    edit g/config.json '.swiglu_limit = {__float__: "Infinity"}'
    [ "$(figure g)" = "$want" ]
    edit g/config.json '.swiglu_limit = 0'
    sed -i 's/"swiglu_limit": 0/"swiglu_limit": Infinity, "router_aux_loss_coef": NaN/' g/config.json
    [ "$(figure g)" = "$want" ]
    plan g
    moe-prune g plan.tsv out
    grep 'Infinity.*NaN' out/config.json
    sed -i 's/Infinity/NaN/' g/config.json
    fails_with 'swiglu_limit is not a number' moe-inspect g
}

@test "a byte order mark before config.json, the index, a tokenizer and documents" {
    local f
    "$MKMODEL" shards=2 qwen3 m
    plan m
    for f in m/config.json m/model.safetensors.index.json; do
        printf '\357\273\277' | cat - "$f" >marked
        mv marked "$f"
    done
    moe-inspect m
    moe-prune m plan.tsv out
    moe-quant -t mxfp4 m out4
    jq -e . out/config.json # others refuse a mark: it is not written again
    [ "$(head -c 1 out/config.json)" = '{' ]
    cp -r "$TINY_QWEN3" t
    printf '\357\273\277{"messages":[{"role":"user","content":"Hi"}]}\r\n' >chat.jsonl
    for f in t/tokenizer.json t/tokenizer_config.json; do
        printf '\357\273\277' | cat - "$f" >marked
        cat marked >"$f"
    done
    [[ $(moe-inspect --tokenize chat.jsonl --render t) == *user* ]]
    printf '\377\376{\0' >g.json
    cat g.json >t/config.json
    fails_with 'is UTF-16' moe-inspect t
}

@test "metadata of an index and of a header is informative, of whatever kind" {
    local v
    "$MKMODEL" shards=2 qwen3 m
    plan m
    for v in '2037248.0' null '"2037248"' '[]' '{"a":{}}'; do
        edit m/model.safetensors.index.json ".metadata.total_parameters = $v"
        moe-prune -f m plan.tsv out
        jq -e '.metadata | has("total_parameters") | not' out/model.safetensors.index.json
    done
    for v in null '[]' '"x"'; do
        edit m/model.safetensors.index.json ".metadata = $v"
        moe-prune -f m plan.tsv out
    done
    sed -i 's/"metadata": "x"/"metadata": {"total_size": NaN}/' m/model.safetensors.index.json
    moe-prune -f m plan.tsv out
    header m/model-00001-of-00002.safetensors '.__metadata__ = null'
    moe-inspect m
    sed -i 's/"__metadata__":null/"__metadata__":nul1/' m/model-00001-of-00002.safetensors
    fails_with 'header: byte [0-9]*: expected null' moe-inspect m
}

@test "a correction bias by transformers' own name" {
    cp -r "$BATS_TEST_DIRNAME/fixtures/ernie4_5-bias" m
    chmod -R u+w m
    want=$(figure m)
    header m/model.safetensors 'with_entries(.key |= sub("mlp.moe_statics"; "mlp.gate.moe_statics"))'
    [ "$(figure m)" = "$want" ]
    plan m
    moe-prune --verify m plan.tsv out
    moe-inspect --tensors out | grep -q 'mlp.gate.moe_statics.e_score_correction_bias'
    figure out
}

@test "a key that stands twice with one value is no reason to refuse" {
    cp -r "$BATS_TEST_DIRNAME/fixtures/qwen3-fp8" m
    chmod -R u+w m
    want=$(figure m)
    sed -i '0,/{/s//{"hidden_act": "silu", "hidden_act": "silu",/' m/config.json
    [ "$(figure m)" = "$want" ]
    sed -i '0,/"silu"/s//"gelu"/' m/config.json
    fails_with "'hidden_act' occurs twice, with two values" moe-observe -o s m ids.jsonl
}

@test "FP8: what quantization_config means, and the key that is not read" {
    cp -r "$BATS_TEST_DIRNAME/fixtures/qwen3-fp8" m
    chmod -R u+w m
    want=$(figure m)
    edit m/config.json '.quantization_config += {fmt: "float8_e4m3fn", scale_fmt: "ue8m0", weight_block_size: [128.0, 128.0]}'
    [ "$(figure m)" = "$want" ]
    edit m/config.json '.quantization_config.fmt = "e5m2"'
    fails_with "the quantization 'fp8' with fmt \"e5m2\" is not read" moe-observe -o s m ids.jsonl
    edit m/config.json '.quantization_config.fmt = "e4m3" | .quantization_config.weight_block_size = [128]'
    fails_with "the quantization 'fp8' with weight_block_size \[128\] is not read" moe-observe -o s m ids.jsonl
    edit m/config.json '.quantization_config.weight_block_size = [64, 64]'
    fails_with "weight_scale_inv' has shape .* \(weight_block_size is \[64, 64\]\)" moe-observe -o s m ids.jsonl
    edit m/config.json 'del(.quantization_config.weight_block_size)'
    fails_with "(there is no weight_block_size: one scale is for all of it)" moe-observe -o s m ids.jsonl
}

# poke FILE TENSOR HEX...: the first bytes of a tensor.
poke() {
    local n at
    n=$(od -An -N8 -tu8 "$1")
    at=$(tail -c +9 "$1" | head -c "$((n))" | jq --arg t "$2" '.[$t].data_offsets[0]')
    printf '%b' "$(printf '\\x%s' "${@:3}")" | dd of="$1" bs=1 seek=$((8 + n + at)) conv=notrunc status=none
}

# damaged TENSOR MESSAGE COMMAND [ARGUMENT...]: a copy of the fixture in which the command has changed the tensor.
damaged() {
    rm -rf m
    cp -r "$BATS_TEST_DIRNAME/fixtures/qwen3-ct-mixed" m
    chmod -R u+w m
    "${@:3}"
    fails_with "$1' $2" moe-observe -q -o s m ids.jsonl
}

@test "packed and scaled numbers: what is missing, misshapen or no number is told with its tensor" {
    local e='model.layers.1.mlp.experts' f=m/model.safetensors t
    damaged "$e.0.up_proj.weight_scale" 'is missing' header $f '.x = .["'$e'.0.up_proj.weight_scale"] | del(.["'$e'.0.up_proj.weight_scale"])'
    damaged "$e.0.up_proj.weight_zero_point" 'is missing' header $f '.x = .["'$e'.0.up_proj.weight_zero_point"] | del(.["'$e'.0.up_proj.weight_zero_point"])'
    damaged "$e.1.up_proj.weight_packed" 'has shape \[32, 6\] where config.json asks for' header $f '.["'$e'.1.up_proj.weight_packed"].shape = [32,6]'
    damaged "$e.6.up_proj.weight_scale" 'has shape \[1, 3\]' header $f '.["'$e'.6.up_proj.weight_scale"].shape = [1,3]'
    t=$e.3.down_proj.weight_scale
    damaged $t 'holds a value that is not a finite number' poke $f $t c0 7f
    t=$e.4.down_proj.weight_scale
    damaged $t 'holds a value that is not a finite number' poke $f $t 80 7f
    t=$e.5.gate_proj.weight
    damaged $t 'holds a value that is not a finite number' poke $f $t 7f
    t=$e.7.gate_proj.weight_scale
    damaged $t 'holds a value that is not a finite number' poke $f $t ff
    t=$e.8.gate_proj.weight_scale
    damaged $t 'holds a value that is not a finite number' poke $f $t ff
    t=$e.9.gate_proj.weight_scale
    damaged $t 'holds a value that is not a finite number' poke $f $t 7f
    t=$e.9.gate_proj.weight_global_scale
    damaged $t 'holds 0, which scales are divided by' poke $f $t 00 00 00 00
    damaged $t 'holds a value that is not a finite number' poke $f $t 00 00 80 7f
    moe-inspect --check --json m | jq -e --arg t $t 'any(.problems[]; contains($t))' || [ "${PIPESTATUS[0]}" -eq 3 ]
}

@test "--check: what is announced and not there is not good" {
    "$MKMODEL" qwen3 m
    tokenizer m
    moe-inspect --check m
    edit m/config.json '.quantization_config = {quant_method: "mxfp4"}'
    run -3 moe-inspect --check m
    [[ $output == *'quantization_config in config.json announces a quantization that no tensor has'* ]]
    edit m/config.json 'del(.quantization_config)'
    echo '{"quantization":{"quant_algo":"NVFP4"}}' >m/hf_quant_config.json
    run -3 moe-inspect --check m
    [[ $output == *'hf_quant_config.json announces a quantization that no tensor has'* ]]
    cp -r "$BATS_TEST_DIRNAME/fixtures/glm4-plain" g
    chmod -R u+w g
    edit g/config.json '.num_nextn_predict_layers = 1'
    run -3 moe-inspect --check g
    [[ $output == *'announces 1 further layers (num_nextn_predict_layers, MTP) that are not in the files'* ]]
}

@test "--check: weights that are nothing but zeros" {
    local size
    for m in qwen3 gptoss; do
        "$MKMODEL" "$m" m
        tokenizer m
        moe-inspect --check m
        size=$(stat -c %s m/model.safetensors)
        truncate -s $((size / 2)) m/model.safetensors
        truncate -s "$size" m/model.safetensors
        run -3 moe-inspect --check m
        [[ $output =~ [0-9]+' tensors, or large parts of them, are nothing but zeros' ]]
        rm -r m
    done
}

@test "--check: a hole in a tensor, though not in a vocabulary's last rows" {
    local at end data
    "$MKMODEL" vocab=4096 hidden=64 qwen3 m
    tokenizer m
    moe-inspect --check m
    data=$(($(od -An -N8 -tu8 m/model.safetensors) + 8))
    hole() { # TENSOR FROM/OF TO/OF: zeros in that part of it
        read -r at end < <(tail -c +9 m/model.safetensors | head -c $((data - 8)) | jq -r --arg t "$1" '.[$t].data_offsets | "\(.[0]) \(.[1])"')
        dd if=/dev/zero of=m/model.safetensors bs=1 seek=$((data + at + (end - at) * $2)) count=$(((end - at) * $3)) conv=notrunc status=none
    }
    hole model.embed_tokens.weight 3/4 1/4
    moe-inspect --check m
    hole model.layers.0.self_attn.q_proj.weight 1/2 1/2
    run -3 moe-inspect --check m
    [[ $output == *"'model.layers.0.self_attn.q_proj.weight', or a large part of it, is nothing but zeros"*'1 problem'* ]]
}

@test "--check: files that git-lfs did not get, a broken chat template, and which file announces a quantization" {
    "$MKMODEL" qwen3 m
    tokenizer m
    local pointer='version https://git-lfs.github.com/spec/v1
oid sha256:0
size 5' f
    for f in generation_config.json tokenizer.model chat_template.jinja; do
        echo "$pointer" >m/$f
        run -3 moe-inspect --check m
        [[ $output == *"$f' is a Git LFS pointer"* ]]
        rm m/$f
    done
    echo '{% if %}' >m/chat_template.jinja
    run -3 moe-inspect --check m
    [[ $output == 'problem: the chat template cannot be read: line 1: TemplateSyntaxError'*'1 problem'* ]]
    echo '{% if a %}{% endif %}' >m/chat_template.jinja
    echo '{"bits": 4}' >m/quantize_config.json
    run -3 moe-inspect --check m
    [[ $output == 'problem: quantize_config.json announces a quantization'*'1 problem'* ]]
}

@test "moe-quant: a quantization_config that was left over is in nobody's way" {
    moe-quant -t bf16 "$TINY_GPTOSS" b
    edit b/config.json '.quantization_config = {quant_method: "mxfp4"}'
    moe-quant -t mxfp4 b out
    jq -e '.quantization_config.quant_method == "mxfp4"' out/config.json
    fails_with 'nothing to convert; take the quantization_config out of config.json' moe-quant -t bf16 b again
}

@test "a quantization_config of any method is left over where all tensors are plain numbers: it changes nothing, and is told" {
    "$MKMODEL" qwen3 m
    moe-observe -q -o plain m ids.jsonl
    edit m/config.json '.quantization_config = {quant_method: "awq", bits: 4, group_size: 128}'
    moe-observe -q -o left m ids.jsonl
    cmp plain left
    run -3 --separate-stderr moe-inspect --check m
    [[ $output == *"problem: quantization_config in config.json announces a quantization that no tensor has"* ]]
    [[ $stderr != *"can be cut, but not run"* ]]
    plan m
    moe-prune m plan.tsv out
    moe-observe -q -o out.stats out ids.jsonl
    # one tensor that is not, and it is another matter
    rm -r m
    "$MKMODEL" break=unknown-quantization qwen3 m
    fails_with "the quantization 'frob4' is not read" moe-observe -o s m ids.jsonl
}

@test "a single file beside an index: what is missing from it is said to be that" {
    "$MKMODEL" shards=2 qwen3 m
    "$MKMODEL" break=missing-router qwen3 one
    cp one/model.safetensors m
    fails_with "'model.layers.1.mlp.gate.weight' is missing in model.safetensors, .*index of shards.*stray" moe-inspect m
}

@test "what goes along: no adapter, no link to nothing" {
    "$MKMODEL" qwen3 m
    plan m
    echo '{"base_model_name_or_path":"a"}' >m/adapter_config.json
    echo x | tee m/adapter_model.safetensors >m/USAGE_POLICY
    echo '{}' >m/tokenizer.json
    moe-prune m plan.tsv out
    [ "$(cd out && echo *)" = 'README.md USAGE_POLICY config.json model.safetensors tokenizer.json' ]
    ln -sf ../../blobs/0123 m/tokenizer.json
    fails_with "'m/tokenizer.json' is a link to a file that is not there" moe-prune m plan.tsv out2
    [ ! -e out2 ]
    fails_with "'m/tokenizer.json' is a link to a file that is not there" moe-quant -t mxfp4 m out2
}

@test "names from files do not steer the terminal" {
    "$MKMODEL" qwen3 m
    header m/model.safetensors 'with_entries(.key |= sub("model.norm.weight"; "model.norm.weight\u001b[31m"))'
    run moe-inspect --tensors m
    [[ $output != *$'\e'* ]]
    run -3 moe-inspect --check m
    [[ $output != *$'\e'* ]]
    printf '{"ids":[1,2],"category":"c\\u009b31m"}\n' >ids.jsonl
    "$MKMODEL" qwen3 n
    run moe-bench perplexity -q n ids.jsonl
    [[ $output != *$'\xc2\x9b'* ]]
    [[ $output == *'c?31m'* ]]
}

@test "a chat template with the line ends of Windows" {
    cp -r "$TINY_QWEN3" t
    chmod -R u+w t
    printf '{"messages":[{"role":"user","content":"Hi"}]}\n' >chat.jsonl
    want=$(moe-inspect --tokenize chat.jsonl --render t)
    sed -i 's/$/\r/' t/chat_template.jinja
    [ "$(moe-inspect --tokenize chat.jsonl --render t)" = "$want" ]
}

# add FILE NAME: one more tensor, of two numbers.
add() {
    header "$1" '([.[] | .data_offsets[1]? // 0] | max) as $z | .["'"$2"'"] = {dtype: "F32", shape: [2], data_offsets: [$z, $z + 8]}'
    printf '\0\0\200\77\0\0\200\77' >>"$1"
}

@test "tensors that loaders pass over: rotary buffers, scales of the key-value cache" {
    local t
    "$MKMODEL" qwen3 m
    want=$(figure m)
    for t in model.layers.0.self_attn.rotary_emb.inv_freq model.rotary_emb.inv_freq model.layers.1.self_attn.k_scale \
        model.layers.1.self_attn.v_proj.v_scale model.layers.0.mlp.gate._extra_state; do
        add m/model.safetensors "$t"
    done
    run --separate-stderr moe-inspect m
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    [ "$(figure m)" = "$want" ]
    plan m
    moe-prune --verify m plan.tsv out
    moe-inspect --tensors out | grep -q 'layers.1.self_attn.k_scale'
    figure out
}

@test "--ignore-tensor vouches for a tensor, one by its name or many by a pattern" {
    "$MKMODEL" break=unknown-tensor qwen3 m
    add m/model.safetensors model.layers.0.self_attn.mystery
    fails_with "mystery' is not understood .*say --ignore-tensor 'model.layers.0.self_attn.mystery'" \
        moe-observe -o run.stats --ignore-tensor 'model.layers.?.mlp.frobnicator.weight' m ids.jsonl
    moe-observe -q -o run.stats --ignore-tensor '*.mystery' --ignore-tensor 'model.layers.?.mlp.frobnicator.weight' m ids.jsonl
    moe-score -q -r 25% -o plan.tsv run.stats
    fails_with "frobnicator.weight' is not understood" moe-prune m plan.tsv out
    moe-prune --ignore-tensor '*.frobnicator.*' --ignore-tensor '*.mystery' m plan.tsv out
    moe-quant -t mxfp4 --ignore-tensor '*.frobnicator.*' --ignore-tensor '*.mystery' m out4
    moe-inspect --ignore-tensor '*.frobnicator.*' --ignore-tensor '*.mystery' out4
}
