#!/usr/bin/env bats
# Inspecting, scoring, cutting and quantizing every family, on the checkpoints of tests/fixtures: what their
# configurations and tensors have that Qwen3-MoE and GPT-OSS have not, and what is refused.
load helper

FIXTURES=$ROOT/tests/fixtures
# one of each family
EACH="qwen3-yarn gptoss-mxfp4 llama4-wrapper mixtral-window deepseek-v2-groups deepseek-v3-fp8 ernie4_5-interval
    glm4-mtp glm4-lite-flash minimax-m2-fp8 qwen2-window olmoe-clip hy3-mtp glm-dsa-types deepseek-v32-fp8
    minimax-m3-wrapper kimi-k25-wrapper qwen3-vl-inside solar-yarn dots1-window"

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
}

header() {
    local n
    n=$(od -An -N8 -tu8 "$1/model.safetensors")
    head -c $((n + 8)) "$1/model.safetensors" | tail -c +9
}
data() {
    local n
    n=$(od -An -N8 -tu8 "$1/model.safetensors")
    tail -c +$((n + 9)) "$1/model.safetensors"
}
# tensor MODEL NAME: its bytes.
tensor() {
    local from to
    read -r from to < <(header "$1" | jq -r --arg t "$2" '.[$t].data_offsets | "\(.[0]) \(.[1])"')
    data "$1" | tail -c +$((from + 1)) | head -c $((to - from))
}
shape() {
    header "$1" | jq -c --arg t "$2" '.[$t].shape'
}

# stats MODEL: made-up statistics of it, another order of the experts in each layer.
stats() {
    local digest
    moe-inspect --json "$1" >model.json
    {
        printf '#moe-stats 1\n#model\t%s\n#run\tprecision=f32\n' "$(jq -r '
            "family=\(.family)\tlayers=\(.layers)\texperts=\(.experts)\ttopk=\(.topk)\thidden=\(.hidden)\tdigest=\(.digest)" +
            if .groups > 1 then "\tgroups=\(.groups)\ttopk_group=\(.topk_group)\tgroup=\(.group)" else "" end' model.json)"
        printf '#part\tdigest=0123456789abcdef0123456789abcdef\tshard=1/1\tdocuments=1\ttokens=1\n'
        printf '#columns\tlayer\tcategory\thalf\texpert\tn\tg\tg2\tf\tgf\tg2f\tf2\tgf2\tg2f2\tmax\n'
        moe-inspect --experts "$1" | grep -v '^#' | cut -f1 | sort -nu |
            awk -v E="$(jq .experts model.json)" 'BEGIN { OFS = "\t" } {
                for (h = 0; h < 2; h++)
                    for (e = 0; e < E; e++) {
                        v = (e * 7 + $1 * 3 + 2) % E + 1 + e / 128
                        print $1, "-", h, e, 1, 1, 1, v, v, v, v, v, v, v
                    }
            } END { print "#end", "rows=" NR * 2 * E, "xxh3=00000000000000000000000000000000" }'
    } >model.stats
    digest=$(moe-score model.stats 2>&1 | sed -n 's/.*contents is \([0-9a-f]*\),.*/\1/p')
    sed -i "\$s/xxh3=.*/xxh3=$digest/" model.stats
}

# plan MODEL KEEP: plan.tsv, by way of moe-score.
plan() {
    stats "$1"
    moe-score -q -f -k "$2" -o plan.tsv model.stats
}

# kept LAYER: the experts that stay.
kept() {
    awk -v l="$1" '$1 == l && $3 == 1 { print $2 }' plan.tsv
}

# What config.json should be: its own text with these values changed, and experts in lists as plan.tsv has them.
config_for() {
    local kept
    kept=$(awk '$1 ~ /^[0-9]+$/ && $3 == 1 { print $1, $2 }' plan.tsv | jq -Rn '[inputs | split(" ")] | group_by(.[0]) |
        map({(.[0][0]): map(.[1])}) | add')
    jq -S --argjson keep "$2" --argjson all "$3" --argjson kept "$kept" '
        def follow:
            capture("(?<a>.*layers\\\\?\\.(?<l>[0-9]+)\\\\?\\..*experts\\\\?\\.)(?<e>[0-9]+)(?<b>.*)") as $m |
            ($kept[$m.l] | index($m.e)) as $n | if $n then $m.a + ($n | tostring) + $m.b else empty end;
        def follow_all: walk(if type == "array" then map(if type == "string" and test("experts\\\\?\\.[0-9]") then follow else . end)
            elif type == "object" then
                to_entries | map(. as $x | if .key | test("experts\\\\?\\.[0-9]") then (.key | follow) as $k | {key: $k, value: $x.value}
                    else . end) | from_entries
            else . end);
        def set(key; f): if .[key] == null then . else .[key] |= f end;
        def edit:
            reduce ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts") as $k (.; set($k; $keep)) |
            reduce ("num_experts_per_tok", "experts_per_token", "moe_k") as $k (.; set($k; [., $keep] | min)) |
            set("moe_capacity"; map($keep)) |
            (if $keep < $all then set("num_nextn_predict_layers"; 0) else . end) |
            set("attn_temperature_tuning"; . != 0 and . != false);
        if .quantization_config and $keep < $all then .quantization_config |= follow_all else . end |
        if .text_config then .text_config |= edit else edit end' "$1/config.json"
}

@test "moe-inspect --check has nothing to say of any fixture but that it has no tokenizer" {
    local f
    for f in "$FIXTURES"/*/; do
        rm -rf model
        mkdir model
        cp "$f"/*.json "$f/model.safetensors" model
        run -3 --separate-stderr moe-inspect --check --json model
        [ "$(jq -c '.problems | map(contains("tokenizer"))' <<<"$output")" = '[true,true]' ] ||
            { echo "$f: $output"; return 1; }
        tokenizer model
        run -0 moe-inspect --check model
        [[ $output == good:* ]] || { echo "$f: $output"; return 1; }
    done
}

@test "a NaN in an FP8 weight is found" {
    cp -r "$FIXTURES/minimax-m2-fp8" model
    rm model/golden.safetensors
    local name=model.layers.1.block_sparse_moe.experts.2.w2.weight n at
    n=$(od -An -N8 -tu8 model/model.safetensors)
    at=$(header model | jq --arg t $name '.[$t].data_offsets[0]')
    printf '\377' | dd of=model/model.safetensors bs=1 seek=$((n + 8 + at + 5)) conv=notrunc status=none
    run -3 moe-inspect --check model
    [[ $output == *"'$name' holds NaN at element 5"* ]]
}

# broken FIXTURE TENSOR FORMAT: model/, whose tensor has these bytes (of printf) as its first ones.
broken() {
    local n at
    rm -rf model
    cp -r "$FIXTURES/$1" model
    rm model/golden.safetensors
    n=$(od -An -N8 -tu8 model/model.safetensors)
    at=$(header model | jq --arg t "$2" '.[$t].data_offsets[0]')
    # shellcheck disable=SC2059
    printf "$3" | dd of=model/model.safetensors bs=1 seek=$((n + 8 + at)) conv=notrunc status=none
}

# says TENSOR WHAT: --check, --aimer and moe-observe say it of the tensor in model/.
says() {
    run moe-inspect --check model
    [ "$status" -eq 3 ]
    [[ $output == *"'$1' holds $2"* ]] || { echo "$output"; return 1; }
    fails_with "'$1' holds $3" moe-observe -q -f -o out.stats model ids.jsonl
    fails_with "'$1' holds $3" moe-inspect --aimer -f -o out.tsv model
}

@test "what makes no number in packed integers and NVFP4 is named" {
    local expert=model.layers.1.mlp.experts
    printf '{"ids":[%s]}\n' "$(seq -s , 1 60)" >ids.jsonl
    broken qwen3-gptq $expert.0.down_proj.g_idx '\001\0\0\0'
    says $expert.0.down_proj.g_idx 'a number of a group' 'a number of a group'
    broken qwen3-gptq $expert.0.down_proj.g_idx '\377\377\377\377'
    says $expert.0.down_proj.g_idx 'a number of a group' 'a number of a group'
    broken glm4-awq $expert.2.up_proj.scales '\0\174'
    says $expert.2.up_proj.scales infinity 'a value that is not'
    broken qwen3-modelopt $expert.3.gate_proj.weight_scale_2 '\0\0\300\177'
    says $expert.3.gate_proj.weight_scale_2 NaN 'a value that is not'
    broken qwen3-modelopt $expert.3.gate_proj.weight_scale '\177'
    says $expert.3.gate_proj.weight_scale NaN 'a value that is not'
    broken gptoss-nvfp4 $expert.down_proj_weight_scale_2 '\0\0\0\0'
    run -3 moe-inspect --check model
    [[ $output == *"'$expert.down_proj_weight_scale_2', or a large part of it, is nothing but zeros"* ]]
}

@test "of packed integers and NVFP4 a missing piece and another shape are refused by name" {
    local module=model.layers.1.mlp.experts.1.gate_proj fixture piece
    for piece in "qwen3-gptq qweight" "qwen3-gptq qzeros" "qwen3-gptq scales" "qwen3-modelopt weight_scale_2"; do
        read -r fixture piece <<<"$piece"
        rm -rf model
        cp -r "$FIXTURES/$fixture" model
        sed -i "s/$module\.$piece\"/$module.x${piece:1}\"/" model/model.safetensors
        fails_with "tensor '$module.$piece' is missing" moe-inspect model
    done
    rm -rf model
    cp -r "$FIXTURES/glm4-awq" model
    sed -i 's/"group_size": 16/"group_size": 32/' model/config.json
    fails_with "groups of 32 share a scale" moe-inspect model
}

@test "keeping every expert of every fixture keeps every byte" {
    local f
    for f in "$FIXTURES"/*/; do
        rm -rf out
        stats "$f"
        plan "$f" "$(jq .experts model.json)"
        moe-prune -q --verify "$f" plan.tsv out
        cmp <(data "$f") <(data out) || { echo "$f"; return 1; }
        diff <(header "$f" | jq -S 'del(.__metadata__)') <(header out | jq -S 'del(.__metadata__)')
        case $f in
        *llama4-wrapper*) diff <(config_for "$f" 4 4) <(jq -S . out/config.json) ;;
        *) cmp "$f/config.json" out/config.json ;;
        esac || { echo "$f"; return 1; }
    done
}

@test "a quarter and a half of every fixture: verified, opened, and config.json as it should be" {
    local f all keep cuts=0
    for f in "$FIXTURES"/*/; do
        stats "$f"
        all=$(jq .experts model.json)
        for keep in $((all - all / 4)) $((all / 2)); do
            rm -rf out
            case ${f%/} in # what their groups allow
            *deepseek-v2-groups | *deepseek-v3-half | *glm4-lite-types) continue ;;
            *deepseek-v3-fp8 | *deepseek-v32-fp8) keep=4 ;;
            esac
            moe-score -q -f -k $keep -o plan.tsv model.stats
            moe-prune -q --verify "$f" plan.tsv out 2>said || { cat said; echo "$f $keep"; return 1; }
            diff <(config_for "$f" $keep "$all") <(jq -S . out/config.json) || { echo "$f $keep"; return 1; }
            [ "$(moe-inspect --json out | jq .experts)" -eq $keep ]
            [ "$(moe-inspect --json --plan plan.tsv "$f" | jq .bytes)" -eq "$(cat out/*.safetensors | wc -c)" ]
            cuts=$((cuts + 1))
        done
    done
    [ "$cuts" -eq $((2 * ($(find "$FIXTURES" -name config.json | wc -l) - 3))) ]
}

@test "the correction bias [1,E] of ERNIE loses the columns of the removed experts" {
    local f=$FIXTURES/ernie4_5-interval bias=model.layers.3.mlp.moe_statics.e_score_correction_bias e
    plan "$f" 4
    moe-prune -q "$f" plan.tsv out
    [ "$(shape out $bias)" = '[1,4]' ]
    for e in $(kept 3); do tensor "$f" $bias | tail -c +$((e * 4 + 1)) | head -c 4; done >want
    cmp want <(tensor out $bias)
    [ "$(shape out model.layers.3.mlp.gate.weight)" = '[4,32]' ]
}

@test "correction biases [E] and the scales of FP8 experts go with their expert" {
    local f=$FIXTURES/minimax-m2-fp8 bias=model.layers.1.block_sparse_moe.e_score_correction_bias e new=0 p s
    plan "$f" 2
    moe-prune -q "$f" plan.tsv out
    [ "$(shape out $bias)" = '[2]' ]
    for e in $(kept 1); do
        for p in w1 w2 w3; do
            for s in weight weight_scale_inv; do
                cmp <(tensor "$f" "model.layers.1.block_sparse_moe.experts.$e.$p.$s") \
                    <(tensor out "model.layers.1.block_sparse_moe.experts.$new.$p.$s")
            done
        done
        tensor "$f" $bias | tail -c +$((e * 4 + 1)) | head -c 4
        new=$((new + 1))
    done >want
    cmp want <(tensor out $bias)
    [ "$(header out | grep -o 'experts\.[0-9]*\.w1\.weight_scale_inv' | sort -u | wc -l)" -eq 2 ]
}

@test "layers that predict further tokens are dropped with the first expert, and it is said" {
    local f
    for f in glm4-mtp ernie4_5-interval deepseek-v3-fp8 glm4-lite-flash; do
        rm -rf out
        plan "$FIXTURES/$f" 4
        run -0 --separate-stderr moe-prune "$FIXTURES/$f" plan.tsv out
        [[ $stderr == *'(MTP) are dropped: '*'tensors'*'announces no such layers'* ]]
        [ "$(header out | jq -r 'keys[]' | grep -c 'mtp_\|eh_proj')" -eq 0 ]
        [ "$(jq .num_nextn_predict_layers out/config.json)" -eq 0 ]
        [ "$(moe-inspect --json out | jq .mtp_tensors)" -eq 0 ]
        grep -q '(MTP) were dropped' out/README.md
    done
    plan "$FIXTURES/glm4-mtp" 4
    fails_with "tensor 'model.layers.2.*' belongs to a multi-token-prediction layer" \
        moe-prune --mtp refuse "$FIXTURES/glm4-mtp" plan.tsv refused
    plan "$FIXTURES/ernie4_5-interval" 4
    fails_with "tensor 'model.mtp_.*' belongs to" moe-prune --mtp refuse "$FIXTURES/ernie4_5-interval" plan.tsv refused
    plan "$FIXTURES/glm4-plain" 4
    moe-prune -q --mtp refuse "$FIXTURES/glm4-plain" plan.tsv none
}

@test "inside the Llama4 wrapper: text_config is edited, what is not the language model is copied" {
    local f=$FIXTURES/llama4-wrapper t others=0
    plan "$f" 3
    run -0 --separate-stderr moe-prune "$f" plan.tsv out
    [[ $stderr == *'attn_temperature_tuning is true or false now'* ]]
    [ "$(jq -c '[.num_local_experts, .text_config.num_local_experts, .text_config.attn_temperature_tuning]' out/config.json)" = \
        '[null,3,true]' ]
    for t in $(header "$f" | jq -r 'keys[]' | grep -v '^language_model\|^__'); do
        cmp <(tensor "$f" "$t") <(tensor out "$t")
        others=$((others + 1))
    done
    [ "$others" -gt 0 ]
    [ "$(shape out language_model.model.layers.0.feed_forward.experts.gate_up_proj)" = '[3,32,24]' ]
}

@test "groups: the statistics name them, and every group keeps as many" {
    stats "$FIXTURES/glm4-mtp"
    run -0 --separate-stderr moe-score -k 4 model.stats
    [[ ${lines[1]} == *'	groups=2	topk_group=1	group=top2' ]]
    [[ $stderr == *'the router has 2 groups: 2 of 4 experts stay in each'* ]]
    [ "$(awk '!/^#/ && $3 { n[int($2 / 4)]++ } END { print n[0], n[1] }' <<<"$output")" = '2 2' ]
    # the ranks serve every count that is possible
    awk '!/^#/ && $5 <= 6 { n[int($2 / 4)]++ } END { exit !(n[0] == 3 && n[1] == 3) }' <<<"$output"
}

@test "groups: counts that cannot be are refused, and those that can are named" {
    stats "$FIXTURES/glm4-mtp"
    run -2 --separate-stderr moe-score -k 5 model.stats
    [[ $stderr == *'cannot keep 5 of 8 experts: each of the 2 groups must keep as many'*'nearest that can are 4 and 6'* ]]
    run -2 --separate-stderr moe-score -r 0.4 model.stats
    [[ $stderr == *'cannot keep 5 of 8'* ]]
    run -2 --separate-stderr moe-score -k 2 model.stats
    [[ $stderr == *'adds the two largest scores of a group, so each must keep two; the nearest that can is 4'* ]]
    run -2 --separate-stderr moe-score -k 4 --protect 3 model.stats
    [[ $stderr =~ 'experts of the group '[04]' to '[37]' are protected, but only 2 stay in each group' ]]
    stats "$FIXTURES/deepseek-v2-groups"
    run -2 --separate-stderr moe-score -k 4 model.stats
    [[ $stderr == *'a token takes 3 experts from 2 of the 4 groups, which would hold 2; no smaller number than 8 can'* ]]
}

@test "groups: moe-inspect knows only the counts that can be" {
    local f=$FIXTURES/glm4-mtp
    run -2 --separate-stderr moe-inspect --keep 5 "$f"
    [[ $stderr == *'nearest that can are 4 and 6'* ]]
    run -0 moe-inspect "$f"
    [[ $output == *'groups      2, of which a token uses 1'* && $output == *'MTP '*'dropped when experts are'* ]]
    [[ $output == *$'\n  0.25     6 '* && $output != *$'\n  0.375 '* ]]
    local five
    five=$(($(moe-inspect --json --keep 6 "$f" | jq .bytes) - 1))
    run -0 --separate-stderr moe-inspect --json --fit $five --context 0 "$f"
    [ "$(jq .keep <<<"$output")" -eq 4 ]
    run -3 --separate-stderr moe-inspect --fit 1kB --context 0 "$f"
    [[ $output == *'with 4 experts a layer, the fewest'* ]]
}

@test "groups: a plan that takes more of one group than of another is refused" {
    local f=$FIXTURES/glm4-mtp
    plan "$f" 4
    awk 'BEGIN { FS = OFS = "\t" } /^1\t/ && $2 < 4 && !$3 && !a { $3 = a = 1 } /^1\t/ && $2 > 3 && $3 && !b { $3 = 0; b = 1 } 1' \
        plan.tsv >uneven.tsv
    fails_with 'layer 1 of the plan keeps 3 of the experts 0 to 3 but 1 of 4 to 7; they are groups' \
        moe-prune -f "$f" uneven.tsv out
    awk 'BEGIN { FS = OFS = "\t" } !/^#/ { $3 = $2 % 4 == 0 } 1' plan.tsv >two.tsv
    fails_with 'layer 1 of the plan: cannot keep 2 of 8 experts: .*the nearest that can is 4' \
        moe-prune "$f" two.tsv out
    # a plan without the groups in its model line is held to them all the same
    sed 's/\tgroups=.*//' uneven.tsv >plain.tsv
    fails_with 'they are groups' moe-prune "$f" plain.tsv out
    [ ! -e out ]
}

@test "a router that adds two scores keeps two experts, groups or not" {
    plan "$FIXTURES/glm4-plain" 1
    fails_with 'cannot keep 1 of 8 experts: the router adds the two largest' \
        moe-prune "$FIXTURES/glm4-plain" plan.tsv out
    plan "$FIXTURES/deepseek-v2-greedy" 1
    moe-prune -q "$FIXTURES/deepseek-v2-greedy" plan.tsv out
}

# What masking foretells is what the cut model gives, also where gates are not divided by their sum: a masked
# expert's logit counts as -infinity before the softmax, so the others' gates grow as they do in the cut model.
@test "observed, scored, cut: the masked and the cut model are as far from the original, to 1e-5 nats" {
    local f keep
    printf '{"ids":[%s]}\n' "$(seq -s , 1 60)" "$(seq -s , 60 -3 1)" >ids.jsonl
    for f in "$FIXTURES"/*/; do
        case ${f%/} in *deepseek-v2-groups | *deepseek-v3-half | *glm4-lite-types) continue ;; esac
        rm -rf out
        keep=4 cut=
        case ${f%/} in *gptoss* | *llama4* | *minimax* | *qwen3-fp8 | *qwen3-gptq) keep=3 ;; *mixtral-fused) continue ;; esac # top-4 of 4
        case ${f%/} in *glm-dsa* | *deepseek-v32* | *minimax-m3*) cut='--max-len 24' ;; esac
        # shellcheck disable=SC2086
        moe-observe -q -f --precision f32 $cut -o run.stats "$f" ids.jsonl
        moe-score -q -f -k $keep -o plan.tsv run.stats
        moe-prune -q "$f" plan.tsv out
        # shellcheck disable=SC2086
        moe-bench compare -q --json --precision f32 $cut --plan plan.tsv --model out "$f" ids.jsonl >r.json
        jq -e '[.candidates[].total] | map(.kl_mean) as $kl | map(.kl_max) as $max | map(.nll) as $nll
            | $kl[0] > 1e-7 and ($kl[0] - $kl[1] | fabs) <= 1e-5 and ($max[0] - $max[1] | fabs) <= 1e-5
              and ($nll[0] / $nll[1] - 1 | fabs) <= 1e-6' r.json >/dev/null ||
            { echo "$f: $(jq -c '[.candidates[].total | {kl_mean, kl_max, nll}]' r.json)"; return 1; }
    done
}

# copy FIXTURE: model/, without its golden.
copy() {
    rm -rf model
    cp -r "$FIXTURES/$1" model
    rm model/golden.safetensors
    chmod -R u+w model
}

# What an indexer chooses is not computed; of documents that it leaves nothing out of it need not be.
@test "an indexer: longer documents than it chooses are refused with the option that cuts them, its tensors are copied" {
    local f=$FIXTURES/glm-dsa-types t n=0
    printf '{"ids":[1]}\n{"ids":[%s]}\n' "$(seq -s , 1 25)" >ids.jsonl
    fails_with "ids.jsonl line 2: a document of 25 tokens; .* at most 24, .*--max-len 24" \
        moe-observe -o run.stats "$f" ids.jsonl
    fails_with "a document of 25 tokens; .*--max-len 24" moe-bench perplexity "$f" ids.jsonl
    moe-observe -q --precision f32 --max-len 24 -o run.stats "$f" ids.jsonl
    grep -qP '^#run\tprecision=f32\tmaxlen=24\tchat=-\tlongest=24$' run.stats
    plan "$f" 4
    moe-prune -q "$f" plan.tsv out
    for t in $(header out | jq -r 'keys[]' | grep indexer); do
        cmp <(tensor "$f" "$t") <(tensor out "$t")
        n=$((n + 1))
    done
    [ $n -eq 10 ]
    copy glm-dsa-types
    sed -i 's/"full", *"shared", *"full"/"shared","full","full"/' model/config.json
    sed -i -z 's/"full",\n *"shared",\n *"full"/"shared","full","full"/' model/config.json
    fails_with 'the first layer takes its tokens from one before it' moe-inspect model
}

@test "keys that must agree with another are held to it" {
    copy hy3-mtp
    sed -i 's/"expert_hidden_dim": 12/"expert_hidden_dim": 16/' model/config.json
    fails_with 'expert_hidden_dim and moe_intermediate_size are not the same' moe-inspect model
}

@test "refused in each family: a key that is not understood" {
    local f
    for f in $EACH; do
        copy "$f"
        case $f in # its text model's keys
        *-wrapper | *-inside) sed -i 's/"text_config": {/&"router_temperature": 2.5,/' model/config.json ;;
        *) sed -i '1s/{/{"router_temperature": 2.5,/' model/config.json ;;
        esac
        fails_with "the key 'router_temperature' is not understood.*--ignore-key" moe-inspect model
    done
}

@test "refused in each family: an architecture that is not known" {
    local f
    for f in $EACH; do
        copy "$f"
        sed -i -E 's/(Moe|OSS|Oss|4|3|2|Mixtral|Olmoe|M2)?(MoE)?(ForCausalLM|ForConditionalGeneration)"/NextFor/; s/NextFor/&CausalLM"/' \
            model/config.json
        fails_with "the architecture '[A-Za-z0-9_]*NextForCausalLM' is not known.*--families" moe-inspect model
    done
}

@test "refused in each family: a router of the wrong shape" {
    local f name
    for f in $EACH; do
        copy "$f"
        name=$(header model | jq -r 'keys[]' | grep -E '(mlp\.gate|router|router\.gate|block_sparse_moe\.gate|feed_forward\.router)\.weight$' | head -1)
        LC_ALL=C sed -i -E "s/(\"$name\": ?\{[^}]*\"shape\": ?\[)([0-9]+)(, ?)([0-9]+)\]/\1\4\3\2]/" model/model.safetensors
        fails_with "tensor '$name' has shape \[32, [0-9]+\] where config.json asks for \[[0-9]+, 32\]" moe-inspect model
    done
}

@test "refused in each family: a layer without one of its tensors, each in turn" {
    local f name layer
    for f in $EACH; do
        copy "$f"
        layer=$(moe-inspect --experts model | grep -v '^#' | cut -f1 | sort -n | tail -1)
        header model | jq -r 'keys[]' | grep -E "layers\.$layer\." | grep -vE 'experts\.[1-9]' >names
        [ "$(wc -l <names)" -ge 9 ]
        while read -r name; do
            cp model/model.safetensors whole
            LC_ALL=C sed -i "0,/\"$name\":\( *\)/s//\"${name%?}~\":\1/" model/model.safetensors
            fails_with "tensor '.*layers\\.$layer\\.[^']*' is (missing|not understood)" moe-observe -n -o out model - <<<'{"ids":[1,2,3]}'
            mv whole model/model.safetensors
        done <names
    done
}

@test "--families: a line for every family and what it needs" {
    local f family
    run -0 moe-inspect --families
    for f in "$FIXTURES"/*/; do
        family=$(moe-inspect --json "$f" | jq -r .family)
        [[ $output == *$'\n'"$family "* ]] || { echo "no $family"; return 1; }
    done
    [[ $output == *'latent attention (MLA)'* ]]
    [ "$(moe-inspect --families --json | jq '.families | map(select(.name and .title and .stored and .needs and .architectures[0])) | length')" -eq \
        "$(grep -cE '^[a-z][0-9a-z_]* +[^ ]+ +[A-Z]' <<<"$output")" ]
}

@test "moe-quant: what no MXFP4 layout is known for is refused by name" {
    fails_with "tensor 'model.layers.1.feed_forward.experts.down_proj' holds all experts of a layer .*family llama4" \
        moe-quant -t mxfp4 "$FIXTURES/llama4-flat" out
    fails_with "tensor 'model.layers.0.mlp.experts.down_proj' holds all experts of a layer .*family mixtral" \
        moe-quant -t mxfp4 "$FIXTURES/mixtral-fused" out
    fails_with "tensor 'model.layers.1.mlp.experts.0.down_proj.weight' has rows of 12 elements" \
        moe-quant -t mxfp4 "$FIXTURES/qwen2-window" out
    [ ! -e out ]
}

@test "moe-quant: split experts of every family to MXFP4, and back with the same values" {
    need_shared
    local f module up
    for f in deepseek-v2 deepseek-v3 ernie4_5 glm4 minimax-m2 olmoe qwen2 qwen3; do
        rm -rf narrow wide again
        moe-quant -q -t mxfp4 "$SHARED/fixtures/$f" narrow
        [ "$(moe-inspect --json narrow | jq -r .expert_storage)" = 'MXFP4, split (compressed-tensors)' ]
        moe-quant -q -t bf16 narrow wide
        moe-quant -q -t mxfp4 wide again
        diff -r -x README.md -x README.base.md -x README.base.base.md narrow again
        diff <(jq -S 'del(.quantization_config)' narrow/config.json) <(jq -S . "$SHARED/fixtures/$f/config.json")
    done
    module=model.layers.3.block_sparse_moe.experts.7 up=w3
    moe-quant -q -t mxfp4 "$SHARED/fixtures/minimax-m2" w
    [ "$(shape w $module.$up.weight_packed)$(shape w $module.w2.weight_scale)" = '[32,32][64,1]' ]
    fails_with "shared_expert_gate.weight' is the gate of a shared expert" \
        moe-quant -t mxfp4 --include '*shared_expert_gate.weight' "$SHARED/fixtures/qwen2" out
}
