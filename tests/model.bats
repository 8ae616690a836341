#!/usr/bin/env bats
# Reading models: what is refused, each from a checkpoint with exactly one named mistake (tests/mkmodel.c), and
# where models are found.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    MKMODEL=$BUILD/tests/mkmodel
}

# A plan for any model of mkmodel's default size, to get moe-prune as far as the model.
keep_all() {
    printf '#moe-plan 1\n#model\tfamily=qwen3_moe\tlayers=2\texperts=4\ttopk=2\thidden=64\tdigest=%032d\n' 0
    printf '%s\t1\t1\t1\n' 0$'\t'{0..3} 1$'\t'{0..3}
    printf '#end\trows=8\n'
}

# refuses BREAK PATTERN [MKMODEL ARGUMENT...]: the family is the last argument, by default qwen3. moe-inspect and
# moe-prune say the same one line, and moe-prune leaves nothing behind.
refuses() {
    local name=$1 pattern=$2
    shift 2
    "$MKMODEL" "break=$name" "${@:-qwen3}" broken
    keep_all >plan.tsv
    fails_with "^moe-inspect: .*$pattern" moe-inspect broken
    fails_with "^moe-prune: .*$pattern" moe-prune broken plan.tsv out
    [ "$(ls -A)" = "$(printf '%s\n' broken plan.tsv)" ]
}

# cuts_only BREAK PATTERN: what is wrong lies outside of the experts. moe-inspect and moe-prune say so in one line
# and go on, but not with a repair; moe-observe, and what reads the experts' numbers, refuse.
cuts_only() {
    local digest
    "$MKMODEL" "break=$1" qwen3 broken
    run --separate-stderr moe-inspect --json broken
    [ "$status" -eq 0 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr =~ $2.*'can be cut, but not run' ]]
    digest=$(jq -r .digest <<<"$output")
    keep_all | sed "s/digest=0*/digest=$digest/; s/^0\t3\t1/0\t3\t0/; s/^1\t0\t1/1\t0\t0/" >plan.tsv
    run --separate-stderr moe-prune --verify broken plan.tsv out
    [ "$status" -eq 0 ]
    [[ $stderr =~ $2.*'can be cut, but not run' ]]
    moe-inspect --json out | jq -e '.experts == 3'
    run moe-inspect --check out
    [ "$status" -eq 3 ]
    [[ $output =~ 'problem: '.*$2 ]]
    echo '{"ids":[1,2,3]}' >data.jsonl
    fails_with "^moe-observe: .*$2" moe-observe -o stats broken data.jsonl
    fails_with "^moe-inspect: .*$2" moe-inspect --aimer broken
}

@test "a whole model of each family is taken, in one file and in shards" {
    local family
    for family in qwen3 gptoss; do
        "$MKMODEL" $family $family-one
        "$MKMODEL" shards=3 $family $family-many
        tokenizer $family-one $family-many
        moe-inspect --check $family-one
        moe-inspect --check $family-many
    done
}

# the file
@test "refused: empty file" { refuses empty-file "model.safetensors' is too short"; }
@test "refused: file of five bytes" { refuses short-file 'too short .*5 bytes'; }
@test "refused: header length of 2^40" { refuses huge-header 'header of 1099511627776 bytes is not allowed'; }
@test "refused: truncated header" { refuses truncated-header 'truncated: its header'; }
@test "refused: truncated data" { refuses truncated-data "truncated: tensor '.*' ends past the end"; }
@test "refused: bytes after the last tensor" { refuses trailing-bytes '8 bytes after the last tensor'; }

# the header
@test "refused: header that is no JSON" { refuses bad-json "header: byte [0-9]+: the text ends before '}'"; }
@test "refused: header that is not UTF-8" { refuses bad-utf8 'header: byte [0-9]+: is not UTF-8'; }
@test "refused: U+0000 in a name" { refuses nul-in-name 'U\+0000'; }
@test "refused: header that is an array" { refuses header-not-object "expected '\{'"; }
@test "refused: metadata that is no string" { refuses metadata-number "__metadata__ 'format' is not a string"; }
@test "refused: unknown dtype" { refuses unknown-dtype "unknown dtype 'BF17'"; }
@test "refused: no offsets" { refuses no-offsets "q_proj.weight' has no data_offsets"; }
@test "refused: negative dimension" { refuses negative-shape 'whole number, 0 or more'; }
@test "refused: nine dimensions" { refuses deep-shape "q_proj.weight' has more than 8 dimensions"; }
@test "refused: size that overflows" { refuses size-overflow "q_proj.weight'.* no number of bytes"; }
@test "refused: lying size" { refuses lying-size "q_proj.weight' needs 8320 bytes .* span 8192"; }
@test "refused: end before begin" { refuses backwards "q_proj.weight' ends before it begins"; }
@test "refused: overlapping offsets" { refuses overlap "q_proj.weight' overlaps another"; }
@test "refused: hole" { refuses hole "hole of 2 bytes before tensor '.*q_proj.weight'"; }
@test "refused: duplicate name" { refuses duplicate-name "input_layernorm.weight' occurs twice"; }

# files and index
@test "refused: no config.json" { refuses no-config "'broken' has no config.json"; }
@test "refused: no safetensors" { refuses no-weights 'neither model.safetensors nor'; }
@test "refused: shard missing" { refuses missing-shard "model-00002-of-00002.safetensors' is missing" shards=2 qwen3; }
@test "refused: shard of another directory" { refuses shard-elsewhere "'../other/.*' is not a plain file name" shards=2 qwen3; }
@test "refused: tensor not in its shard" { refuses tensor-not-in-shard "'model.layers.0.ghost.weight' is not in '.*model-00001" shards=2 qwen3; }
@test "refused: tensor not in the index" { refuses tensor-not-in-index "'model.embed_tokens.weight' of .* is not listed" shards=2 qwen3; }
@test "refused: index that is no JSON" { refuses index-bad-json 'index.json: byte [0-9]+: the text ends' shards=2 qwen3; }
@test "refused: tensor in two shards" { refuses tensor-in-two-shards "'model.embed_tokens.weight' is in '.*' and in" shards=2 qwen3; }

@test "shards alone are taken if they are a whole set, and get an index when they are cut" {
    local digest
    "$MKMODEL" shards=3 qwen3 broken
    mv broken/model.safetensors.index.json index.json
    digest=$(moe-inspect --json broken | jq -r .digest)
    run moe-inspect --check broken
    [ "$status" -eq 3 ]
    [[ $output == *'problem: there is no index of 3 files'* ]]
    keep_all | sed "s/digest=0*/digest=$digest/" >plan.tsv
    moe-prune --verify broken plan.tsv out
    [ "$(jq -cS .weight_map out/model.safetensors.index.json)" = "$(jq -cS .weight_map index.json)" ]
    touch broken/other.safetensors
    fails_with 'is one of 3 shards, but with the other files they are no whole set' moe-inspect broken
    rm broken/other.safetensors broken/model-00002-of-00003.safetensors
    fails_with 'no whole set .is the download complete.' moe-inspect broken
}

# config.json
@test "refused: config.json that is no JSON" { refuses config-bad-json 'config.json: not JSON at byte'; }
@test "refused: config.json that is not UTF-8" { refuses config-bad-utf8 'config.json: byte [0-9]+ is not UTF-8'; }
@test "refused: unknown family" { refuses unknown-family "architecture 'FrobMoeForCausalLM' is not known.*--families"; }
@test "refused: unknown key" { refuses unknown-key "'router_temperature' is not understood.*--ignore-key"; }
@test "only to be cut: unknown quantization" { cuts_only unknown-quantization "quantization 'frob4' is not read"; }
@test "refused: missing key" { refuses missing-key 'has no hidden_size'; }
@test "refused: expert counts that disagree" { refuses experts-disagree 'num_experts is 4 but num_local_experts is 5'; }
@test "refused: more experts per token than experts" { refuses topk-over-experts '5 experts per token of 4'; }
@test "refused: layer_types of the wrong length" { refuses layer-types-short 'layer_types has 1 entries for 2 layers' gptoss; }

# tensors against config.json
@test "refused: missing expert" { refuses missing-expert "'model.layers.1.mlp.experts.1.gate_proj.weight' is missing"; }
@test "refused: expert without down_proj" { refuses missing-matrix "'model.layers.1.mlp.experts.1.down_proj.weight' is missing"; }
@test "refused: no down_proj, GPT-OSS" { refuses missing-matrix "'model.layers.1.mlp.experts.down_proj_.*' is missing" gptoss; }
@test "refused: one expert too many" { refuses extra-expert "belongs to expert 4, config.json has experts 0 to 3"; }
@test "refused: missing router" { refuses missing-router "'model.layers.1.mlp.gate.weight' is missing"; }
@test "refused: router with too few rows" { refuses router-rows "'model.layers.1.mlp.gate.weight' holds 3 experts"; }
@test "only to be cut: wrong shape outside of experts" { cuts_only wrong-shape "q_proj.weight' has shape \[64, 128\] where .* \[64, 64\]"; }
@test "only to be cut: wrong dtype outside of experts" { cuts_only wrong-dtype "input_layernorm.weight' has dtype I32"; }
@test "refused: unknown tensor in a layer" { refuses unknown-tensor "'model.layers.1.mlp.frobnicator.weight' is not understood"; }
@test "refused: somebody else's pruned model with unsliced biases" {
    refuses unsliced-bias "gate_up_proj_bias' holds 16 experts, config.json says 12" experts=12 gptoss
}

@test "--ignore-key lets an unknown key pass" {
    "$MKMODEL" break=unknown-key qwen3 vouched
    moe-inspect --ignore-key router_temperature vouched
}

# values
observe_refuses() {
    "$MKMODEL" "break=$1" qwen3 broken
    printf '{"ids":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}\n' >data.jsonl
    fails_with "^moe-observe: .*$2.* not a finite number" moe-observe -q --precision f32 -o out broken data.jsonl
    [ ! -e out ]
}
@test "refused: NaN in an expert's weight" { observe_refuses nan-weight "'model.layers.1.mlp.experts.1.down_proj.weight'"; }
@test "refused: NaN in a router" { observe_refuses nan-router "'model.layers.1.mlp.gate.weight'"; }

@test "--check: a tokenizer.json that is none, or another model's; other kinds are no alarm" {
    local kind
    "$MKMODEL" qwen3 m
    tokenizer m
    moe-inspect --check m
    for kind in 'version https://git-lfs.github.com/spec/v1' '' '{}' '{"model":{"vocab":{"a":99999},"merges":[]}}'; do
        printf %s "$kind" >m/tokenizer.json
        run -3 moe-inspect --check m
        [[ $output == *'problem: '*'tokenizer.json'*$'\n1 problem\n'* ]] || { echo "$output"; return 1; }
    done
    echo '{"model":{"type":"Unigram","vocab":[]}}' >m/tokenizer.json
    moe-inspect --check m
    rm m/tokenizer.json
    echo x >m/tiktoken.model
    moe-inspect --check m
}

@test "--check: what loaders trip over, and what is wrong" {
    "$MKMODEL" shards=3 qwen3 many
    local index=many/model.safetensors.index.json at n
    sed -i 's/"total_size": [0-9]*/"total_size": 7/' $index
    cp many/model-00001-of-00003.safetensors many/old.safetensors
    n=$(od -An -N8 -tu8 many/old.safetensors)
    at=$(tail -c +9 many/model-00001-of-00003.safetensors | head -c "$n" | jq '.["model.embed_tokens.weight"].data_offsets[0]')
    printf '\377\377' | dd of=many/model-00001-of-00003.safetensors bs=1 seek=$((n + 8 + at + 2)) conv=notrunc status=none
    run -3 --separate-stderr moe-inspect --check many
    [ "$(grep -c '^problem: ' <<<"$output")" -eq 5 ]
    [[ $output == *'problem: there is no tokenizer.json, '* ]]
    [[ $output == *'problem: there is no tokenizer_config.json'* ]]
    [[ $output == *"problem: 'old.safetensors' belongs to no index"* ]]
    [[ $output == *'problem: the index says total_size 7, the tensors take '* ]]
    [[ $output == *"problem: tensor 'model.embed_tokens.weight' holds NaN at element 1"* ]]
    [ "${lines[5]}" = '5 problems' ]
    run -3 --separate-stderr moe-inspect --check --json many
    jq -e '(.problems | length) == 5 and .tensors > 10 and .bytes > 1000' <<<"$output"
    "$MKMODEL" qwen3 one
    cp $index one
    run -3 moe-inspect --check one
    [[ $output == *'problem: an index lies beside model.safetensors'* ]]
}

# large and odd, but right
@test "a header of 100,000 tensors is read" {
    "$MKMODEL" layers=65 experts=512 hidden=8 inter=8 heads=2 kv_heads=1 head_dim=4 topk=4 qwen3 many
    run moe-inspect --json many
    [ "$status" -eq 0 ]
    [[ $output == *512* ]]
}

@test "shards may be counted from 0 or from 1: their names come from the index" {
    "$MKMODEL" shards=3 first=0 gptoss zero
    "$MKMODEL" shards=3 first=1 gptoss one
    [ -e zero/model-00000-of-00002.safetensors ]
    [ "$(moe-inspect zero | tail -n +2)" = "$(moe-inspect one | tail -n +2)" ]
}

@test "model.safetensors beside an index wins, as in transformers" {
    "$MKMODEL" shards=2 qwen3 both
    "$MKMODEL" qwen3 whole
    rm both/model-00002-of-00002.safetensors
    run moe-inspect both
    [ "$status" -eq 1 ]
    cp whole/model.safetensors both/
    moe-inspect both
}

@test "original/ and metal/ are not looked into" {
    "$MKMODEL" gptoss plain
    moe-inspect plain >before
    mkdir plain/original plain/metal
    echo junk >plain/original/model.safetensors
    echo junk >plain/metal/model.bin
    moe-inspect plain | diff before -
}

# hub_cache DIR: a cache as huggingface_hub leaves it, with blobs and symlinks, of frob/tiny at main.
hub_cache() {
    local revision=0123456789abcdef0123456789abcdef01234567 f
    local repo=$1/models--frob--tiny
    mkdir -p "$repo/blobs" "$repo/refs" "$repo/snapshots/$revision"
    printf %s $revision >"$repo/refs/main"
    "$MKMODEL" shards=2 qwen3 downloaded
    for f in downloaded/*; do
        mv "$f" "$repo/blobs/blob-of-${f##*/}"
        ln -s "../../blobs/blob-of-${f##*/}" "$repo/snapshots/$revision/${f##*/}"
    done
    rmdir downloaded
}

@test "what stands in the place of weights is named: a Git LFS pointer, half a download, other formats" {
    local lfs='version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4108448\n' c=hub/models--a--b/snapshots/0123
    cp -rL "$TINY_QWEN3" m
    printf '%b' "$lfs" >m/tokenizer.json
    fails_with "m/tokenizer.json is a Git LFS pointer .*git lfs pull" moe-inspect --tokenize - m <<<'{"text":"x"}'
    printf '%b' "$lfs" >m/model.safetensors
    fails_with "'m/model.safetensors' is a Git LFS pointer .*git lfs pull" moe-inspect m
    printf '<!DOCTYPE html><html>login</html>' >m/model.safetensors
    fails_with "'m/model.safetensors' is a page of a web site" moe-inspect m
    printf 'PK\003\004\024\0\0\010and so on' >m/model.safetensors
    fails_with "'m/model.safetensors' is a zip archive, .*PyTorch" moe-inspect m
    rm m/model.safetensors
    ln -s ../blobs/none m/model.safetensors
    fails_with "'m/model.safetensors' links to a file that is not there: is the download complete" moe-inspect m
    rm m/model.safetensors
    touch m/training_args.bin
    fails_with "'m' holds no model: neither" moe-inspect m
    touch m/pytorch_model-00001-of-00002.bin
    fails_with "'m' holds no weights in safetensors: pytorch_model-00001-of-00002.bin is a checkpoint of PyTorch" moe-inspect m
    touch m/m-q8.gguf
    fails_with 'm-q8.gguf is GGUF' moe-inspect m
    touch m/a-00001-of-00002.safetensors
    fails_with 'is one of 2 shards, but with' moe-inspect m
    printf '%b' "$lfs" >m/config.json
    fails_with "m/config.json is a Git LFS pointer" moe-inspect m
    rm m/config.json
    ln -s nowhere m/config.json
    fails_with "'m/config.json' links to a file that is not there" moe-inspect m
    ln -s loop loop
    fails_with "cannot look at 'loop'" moe-inspect loop
}

@test "a hub id takes every revision: pull requests, branches with a slash, a commit by its first digits" {
    local c=0123456789abcdef0123456789abcdef01234567 d=0123466789abcdef0123456789abcdef01234567
    local repo=hub/models--a--b
    mkdir -p $repo/refs/refs/pr $repo/refs/feature $repo/snapshots
    cp -rL "$TINY_QWEN3" $repo/snapshots/$c
    cp -rL "$TINY_QWEN3" $repo/snapshots/$d
    for ref in main refs/pr/1 feature/x; do printf '%s\n' $c >$repo/refs/$ref; done
    export HF_HUB_CACHE=$PWD/hub
    for revision in main refs/pr/1 feature/x $c 0123456 012345; do
        [ "$(moe-inspect --json "a/b@$revision" | jq -r .revision)" = $c ] || moe-inspect "a/b@$revision"
    done
    fails_with 'has more than one snapshot whose commit begins with .01234.' moe-inspect a/b@01234
    fails_with 'has no snapshot whose commit begins with .fedc.' moe-inspect a/b@fedc
    fails_with "has no revision 'refs/pr/2'" moe-inspect a/b@refs/pr/2
    fails_with "has no revision 'refs/pr'" moe-inspect a/b@refs/pr
    fails_with 'hf download c/d\)' moe-inspect c/d@refs/pr/1
}

@test "a hub id is looked up in HF_HUB_CACHE, in HF_HOME, and in the home directory" {
    hub_cache "$PWD/cache with space"
    moe-inspect "cache with space/models--frob--tiny" | tail -n +2 >expected
    export HF_HUB_CACHE="$PWD/cache with space"
    moe-inspect frob/tiny >by-id
    head -n 1 by-id | grep -q 0123456789abcdef0123456789abcdef01234567
    tail -n +2 by-id | diff expected -
    moe-inspect frob/tiny@main | diff by-id -

    mkdir -p home/.cache/huggingface
    mv "cache with space" home/.cache/huggingface/hub
    unset HF_HUB_CACHE XDG_CACHE_HOME
    HF_HOME=$PWD/home/.cache/huggingface moe-inspect frob/tiny | tail -n +2 | diff expected -
    unset HF_HOME
    HOME=$PWD/home moe-inspect frob/tiny | tail -n +2 | diff expected -
}

@test "a hub cache directory is a model, and is never written to" {
    hub_cache "$PWD/hub"
    find hub | sort >before
    chmod -R a-w hub
    moe-inspect hub/models--frob--tiny
    moe-inspect hub/models--frob--tiny/snapshots/0123456789abcdef0123456789abcdef01234567
    find hub | sort | diff before -
    chmod -R u+w hub
}

@test "a model that is nowhere: the message says where was looked" {
    export HF_HUB_CACHE=$PWD/empty
    mkdir empty
    fails_with "frob/tiny.*$PWD/empty" moe-inspect frob/tiny
    fails_with "no/such/dir" moe-inspect ./no/such/dir
}

@test "a directory wins over a hub id of the same name" {
    hub_cache "$PWD/hub"
    mkdir frob
    "$MKMODEL" experts=8 qwen3 frob/tiny
    HF_HUB_CACHE=$PWD/hub moe-inspect --json frob/tiny >here
    moe-inspect --json ./frob/tiny >there
    sed 's|\./frob|frob|g' there | diff here -
}

@test "--digest is what statistics carry, and wants the routers only" {
    cd "$BATS_TEST_TMPDIR" || return
    run -0 moe-inspect --digest "$TINY_QWEN3"
    [ "$output" = "$(moe-inspect --json "$TINY_QWEN3" | jq -r .digest)" ]
    [ "$(moe-inspect --digest --json "$TINY_QWEN3" | jq -r .digest)" = "$output" ]
    if [ -d "$SHARED/formats/modelopt-fused-nvfp4" ]; then
        run -0 moe-inspect --digest "$SHARED/formats/modelopt-fused-nvfp4"
        [ "$output" = "$(jq -r .router_digest "$SHARED/formats/modelopt-fused-nvfp4/expect.json")" ]
    fi
}
