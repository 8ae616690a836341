#!/usr/bin/env bats
# GGUF files as models of all programs: what is one, what comes out, and what is refused. That results are those of
# the safetensors original: test_gguf_model.c.
load helper

FILES=$ROOT/tests/data/gguf
FIXTURES=$ROOT/tests/fixtures
SPLIT=mixtral-00001-of-00004.gguf

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
}

# observed MODEL: plan.tsv of what it sees; it keeps $2 experts of each layer.
observed() {
    printf '{"ids":[%s]}\n' "$(seq -s , 1 60)" "$(seq -s , 60 -3 1)" >ids.jsonl
    moe-observe -q -f --precision f32 -o run.stats "$1" ids.jsonl
    moe-score -q -f -k "$2" -o plan.tsv run.stats
}

# whole FILE: --check has nothing to say but that these files have no tokenizer.
whole() {
    run -3 --separate-stderr moe-inspect --check --json "$1"
    [ "$(jq -c '.problems | map(contains("no tokenizer"))' <<<"$output")" = '[true]' ] || { echo "$output"; return 1; }
}

# edit FILE OLD NEW: the first OLD becomes NEW, of the same length.
edit() {
    [ ${#2} -eq ${#3} ]
    LC_ALL=C sed -i "0,/$2/s//$3/" "$1"
}

@test "a file is a model whatever it is called, and its summary is that of the original" {
    cp "$FILES/kimi-k2.gguf" sha256-0123
    moe-inspect --json sha256-0123 >a
    moe-inspect --json "$FIXTURES/deepseek-v3-kimi-k2" >b
    for key in family digest layers moe_layers experts topk hidden intermediate vocabulary parameters shared_intermediate; do
        [ "$(jq ".$key" a)" = "$(jq ".$key" b)" ] || { echo "$key"; return 1; }
    done
    [ "$(jq -r .expert_storage a)" = stacked ]
    whole sha256-0123
    [ "$(moe-inspect --digest sha256-0123)" = "$(jq -r .digest b)" ]
    run -0 moe-inspect --experts sha256-0123
    [[ $output == *$'\tsha256-0123\t'* ]]
}

@test "statistics and plans of the original fit, and what is cut is one file" {
    observed "$FIXTURES/ernie4_5-interval" 5
    moe-prune --verify "$FILES/ernie.gguf" plan.tsv out.gguf
    [ -f out.gguf ]
    [ "$(moe-inspect --json out.gguf | jq .experts)" = 5 ]
    moe-prune --verify "$FIXTURES/ernie4_5-interval" plan.tsv out
    moe-observe -q -f --precision f32 -o a.stats out.gguf ids.jsonl
    moe-observe -q -f --precision f32 -o b.stats out ids.jsonl
    [ "$(grep -v '^#run\|^#part\|^#end' a.stats)" = "$(grep -v '^#run\|^#part\|^#end' b.stats)" ]
    # nothing else is left there
    [ "$(ls -A)" = "$(printf '%s\n' a.stats b.stats ids.jsonl out out.gguf plan.tsv run.stats)" ]
}

@test "moe-prune foretells the size, and writes over nothing without --force" {
    observed "$FILES/ernie.gguf" 5
    moe-prune --dry-run --json "$FILES/ernie.gguf" plan.tsv out.gguf >dry
    [ ! -e out.gguf ]
    moe-prune --json "$FILES/ernie.gguf" plan.tsv out.gguf >wet
    [ "$(jq .bytes.after dry)" = "$(stat -c %s out.gguf)" ]
    [ "$(jq .bytes.after wet)" = "$(stat -c %s out.gguf)" ]
    [ "$(moe-inspect --json --keep 5 "$FILES/ernie.gguf" | jq .bytes)" = "$(stat -c %s out.gguf)" ]
    fails_with "'out.gguf' exists already" moe-prune "$FILES/ernie.gguf" plan.tsv out.gguf
    echo other >out.gguf
    moe-prune -q -f "$FILES/ernie.gguf" plan.tsv out.gguf
    [ "$(jq .bytes.after dry)" = "$(stat -c %s out.gguf)" ]
    mkdir folder
    fails_with "'folder' exists and is not a regular file" moe-prune -f "$FILES/ernie.gguf" plan.tsv folder
    cp "$FILES/ernie.gguf" model.gguf
    fails_with "model's own" moe-prune -f model.gguf plan.tsv model.gguf
    cmp model.gguf "$FILES/ernie.gguf"
    run -2 moe-prune model.gguf plan.tsv -
}

@test "equal input gives equal bytes, and a plan that keeps all changes nothing but who made it" {
    observed "$FILES/gptoss.gguf" 3
    moe-prune -q "$FILES/gptoss.gguf" plan.tsv a
    moe-prune -q "$FILES/gptoss.gguf" plan.tsv b
    cmp a b
    moe-score -q -f -k "$(moe-inspect --json "$FILES/gptoss.gguf" | jq .experts)" -o all.tsv run.stats
    moe-prune -q "$FILES/gptoss.gguf" all.tsv all
    [ "$(moe-inspect --tensors all)" = "$(moe-inspect --tensors "$FILES/gptoss.gguf")" ]
    moe-prune -q all all.tsv again
    cmp all again
}

@test "the parts of a split model are one: the first is given, all must be there under its name" {
    cp "$FILES"/mixtral-* .
    run -0 moe-inspect --json $SPLIT
    [ "$(jq .files <<<"$output")" = 4 ]
    observed $SPLIT 4
    moe-prune -q --verify $SPLIT plan.tsv one.gguf
    [ "$(moe-inspect --json one.gguf | jq .files)" = 1 ]
    fails_with 'is file 2 of 4 of a model: give the first one' moe-inspect mixtral-00002-of-00004.gguf
    run -2 moe-prune -f $SPLIT plan.tsv mixtral-00003-of-00004.gguf
    [[ $output == *'is one of the inputs'* ]]
    cp $SPLIT first.gguf
    fails_with 'must end in -00001-of-00004.gguf' moe-inspect first.gguf
    cp $SPLIT mixtral-00001-of-00003.gguf
    fails_with 'one of 4 files, which its name does not' moe-inspect mixtral-00001-of-00003.gguf
    cp "$FILES/ernie.gguf" mixtral-00003-of-00004.gguf
    fails_with 'mixtral-00003-of-00004.gguf.* is file 1 of 0 by its metadata' moe-inspect $SPLIT
    rm mixtral-00003-of-00004.gguf
    fails_with 'mixtral-00003-of-00004.gguf.* is missing' moe-inspect $SPLIT
}

@test "what is no model, and damage, is refused by name" {
    head -c 60000 "$FILES/ernie.gguf" >short.gguf
    fails_with "tensor '.*' ends past the end of the file" moe-inspect short.gguf
    head -c 300 "$FILES/ernie.gguf" >short.gguf
    fails_with 'would end past the end of the file' moe-inspect short.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'ernie4_5-moe' 'ernie9_9-moe'
    fails_with "the architecture 'ernie9_9-moe' is not known" moe-inspect x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'moe.expert_count' 'moe.expert_cuont'
    fails_with "expert_count' says that there are no experts" moe-inspect x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'moe.context_length' 'moe.contest_length'
    fails_with "'ernie4_5-moe.context_length' is missing" moe-inspect x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'general.type' 'general.tyqe'
    edit x.gguf 'moe.rope.freq_base' 'moe.rope.freq_bose'
    fails_with "the key 'ernie4_5-moe.rope.freq_bose' is not understood" moe-inspect x.gguf
    run -0 moe-inspect --ignore-key ernie4_5-moe.rope.freq_bose x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'ffn_up_exps' 'ffn_xp_exps'
    fails_with "'model.layers.*ffn_xp_exps.weight' is not understood|up_proj' is missing" moe-inspect x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    edit x.gguf 'blk.1.ffn_up_exps' 'blk.1.ffn_up.0012'
    fails_with "tensor 'blk.1.ffn_up.0012.weight' is of one expert, as before April 2024" moe-inspect x.gguf
    cp "$FILES/ernie.gguf" x.gguf
    printf 'GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\14\0\0\0\0\0\0\0general.type\10\0\0\0\7\0\0\0\0\0\0\0imatrix' >imatrix.gguf
    fails_with "is no model, but by its metadata: imatrix" moe-inspect imatrix.gguf
    mkdir folder
    cp x.gguf folder
    fails_with "has no config.json: a GGUF file is a model by itself, give 'folder/x.gguf'" moe-inspect folder
    echo text >text
    fails_with "is a file, but not a GGUF file" moe-inspect text
}

@test "--check says what llama.cpp does not take" {
    cp "$FILES/gptoss.gguf" x.gguf
    whole x.gguf
    cp "$FILES/glm4-mtp.gguf" x.gguf
    local at
    at=$(grep -abo 'expert_group_used_count' x.gguf | head -1 | cut -d : -f 1)
    printf '\2' | dd of=x.gguf bs=1 seek=$((at + 27)) conv=notrunc status=none
    run -3 moe-inspect --check x.gguf
    [[ $output == *'expert_group_used_count must be less than expert_group_count'* ]]
}

@test "moe-quant leaves GGUF files to llama.cpp" {
    fails_with 'is GGUF: number formats are changed in safetensors only' moe-quant -t bf16 "$FILES/gptoss.gguf" out
    fails_with 'is GGUF: number formats are changed in safetensors only' moe-quant -t mxfp4 "$FILES/ernie.gguf" out
}

@test "layers that predict further tokens go, and are announced no more" {
    observed "$FILES/glm4-mtp.gguf" 6
    run -0 --separate-stderr moe-prune "$FILES/glm4-mtp.gguf" plan.tsv out.gguf
    [[ $stderr == *'MTP'*'25 tensors'* ]]
    [ "$(moe-inspect --json out.gguf | jq -c '[.layers, .mtp_layers, .mtp_tensors]')" = '[2,0,0]' ]
    fails_with 'multi-token-prediction' moe-prune --mtp refuse "$FILES/glm4-mtp.gguf" plan.tsv other.gguf
}

# digests FILE: of the bytes of its tensors, in their order.
digests() {
    local offset bytes
    moe-inspect --tensors --json "$1" | jq -sr 'sort_by(.offset)[] | "\(.offset) \(.bytes)"' | while read -r offset bytes; do
        tail -c +$((offset + 1)) "$1" | head -c "$bytes" | sha256sum | cut -d ' ' -f 1
    done
}

@test "fixtures of every type in the reference data are cut as an independent script cut them" {
    need_shared
    local d f
    for d in "$SHARED"/formats/gguf-*/; do
        [ -e "$d/plan.tsv" ] || skip "no GGUF fixtures beside the checkout"
        f=$d/model.gguf
        [ -e "$f" ] || f=$d/model-00001-of-00002.gguf
        moe-prune -q --verify "$f" "$d/plan.tsv" out.gguf
        diff <(digests out.gguf) <(jq -r '.pruned.tensors[][3]' "$d/expect.json") || { echo "$d"; return 1; }
        [ "$(moe-inspect --digest "$f")" = "$(jq -r .router_digest "$d/expect.json")" ]
        rm out.gguf
    done
}
