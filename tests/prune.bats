#!/usr/bin/env bats
# moe-prune: what it writes, what it refuses, and that it leaves nothing behind. The bytes of every expert are
# compared in tests/test_surgery.c.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    MKMODEL=$BUILD/tests/mkmodel
}

# rows LAYERS EXPERTS KEEP: the rows of a plan, experts in a different order in each layer.
rows() {
    awk -v L="$1" -v E="$2" -v K="$3" 'BEGIN {
        OFS = "\t"
        for (l = 0; l < L; l++)
            for (e = 0; e < E; e++) {
                r = (e * 5 + l * 3 + 1) % E
                print l, e, r < K ? 1 : 0, E - r, r + 1
            }
        print "#end", "rows=" L * E
    }'
}

# make_plan MODEL KEEP [DIGEST]: a plan for one of the models here. E must be no multiple of 5.
make_plan() {
    local family layers experts topk hidden digest=${3-} config=$1/config.json
    family=$(jq -r .model_type "$config")
    layers=$(jq .num_hidden_layers "$config")
    experts=$(jq '.num_local_experts // .num_experts' "$config")
    topk=$(jq .num_experts_per_tok "$config")
    hidden=$(jq .hidden_size "$config")
    [ -n "$digest" ] || digest=$(moe-inspect --json "$1" | jq -r .digest)
    printf '#moe-plan 1\n#model\tfamily=%s\tlayers=%d\texperts=%d\ttopk=%d\thidden=%d\tdigest=%s\n' \
        "$family" "$layers" "$experts" "$topk" "$hidden" "$digest"
    printf '#criterion\treap\tratio=0.25\n#columns\tlayer\texpert\tkeep\tscore\trank\n'
    rows "$layers" "$experts" "$2"
}

# The data of a safetensors file, without its header.
data() {
    local n
    n=$(od -An -N8 -tu8 "$1")
    tail -c +$((n + 9)) "$1"
}
# Its header.
header() {
    local n
    n=$(od -An -N8 -tu8 "$1")
    head -c $((n + 8)) "$1" | tail -c +9
}
bytes() {
    cat "$@" | wc -c
}
# Nothing but the named files is in the directory.
only() {
    diff <(printf "%s\n" "$@" | sed "/^$/d" | sort) <(ls -A)
}

@test "keeping all experts reproduces every tensor byte for byte" {
    local model
    for model in "$TINY_GPTOSS" "$TINY_QWEN3"; do
        make_plan "$model" 16 >plan.tsv
        moe-prune --verify "$model" plan.tsv all
        cmp <(data "$model/model.safetensors") <(data all/model.safetensors)
        cmp "$model/config.json" all/config.json
        diff <(header "$model/model.safetensors" | jq -S 'del(.__metadata__)') \
            <(header all/model.safetensors | jq -S 'del(.__metadata__)')
        rm -r all
    done
}

@test "a quarter cut: sizes, config.json, carried files" {
    make_plan "$TINY_GPTOSS" 12 >plan.tsv
    run -0 --separate-stderr moe-prune --verify "$TINY_GPTOSS" plan.tsv cut
    [[ $output == *'experts per layer  16 -> 12'* ]]
    [[ $output == *"($(bytes cut/model.safetensors) bytes in 1 file)"* ]]
    [[ $output == *'verified'*'all as in the source'* ]]
    [ -z "$stderr" ]
    [ "$(diff "$TINY_GPTOSS/config.json" cut/config.json | grep -c '^[<>]')" -eq 2 ]
    [ "$(jq .num_local_experts cut/config.json)" -eq 12 ]
    [ "$(jq .num_experts_per_tok cut/config.json)" -eq 2 ]
    for f in chat_template.jinja generation_config.json tokenizer.json tokenizer_config.json; do
        cmp "$TINY_GPTOSS/$f" "cut/$f"
    done
    [ "$(find cut -type f | wc -l)" -eq 7 ] # and README.md
    moe-inspect cut
}

@test "the metadata say which experts are left" {
    make_plan "$TINY_QWEN3" 3 >plan.tsv
    moe-prune -q "$TINY_QWEN3" plan.tsv cut
    local want
    want="16;$(awk '/^[0-9]/ && $3 { printf "%s%02d", $1 == l ? "," : (NR > 5 ? ";" : "") $1 ":", $2; l = $1 }' l=x plan.tsv)"
    [ "$(header cut/model.safetensors | jq -r '.__metadata__["moe-tools.experts"]')" = "$want" ]
    [ "$(header cut/model.safetensors | jq -r .__metadata__.format)" = pt ]
}

@test "a dry run foretells the size to the byte and writes nothing" {
    make_plan "$TINY_QWEN3" 12 >plan.tsv
    run -0 moe-prune --dry-run --json "$TINY_QWEN3" plan.tsv cut
    only plan.tsv
    local told needed
    told=$(jq .bytes.after <<<"$output")
    needed=$(jq .bytes.needed <<<"$output")
    [ "$(jq .written <<<"$output")" = false ]
    [ "$(jq -c .experts <<<"$output")" = '{"before":16,"after":12}' ]
    moe-prune -q "$TINY_QWEN3" plan.tsv cut
    [ "$told" -eq "$(bytes cut/model.safetensors)" ]
    rm cut/README.md
    [ "$needed" -eq "$(bytes cut/*)" ]
}

@test "pico-gptoss: its size is what moe-inspect --keep 24 foretold to the byte" {
    trained pico-gptoss
    local model=$SHARED/models/pico-gptoss
    make_plan "$model" 24 >plan.tsv
    moe-prune -q --verify "$model" plan.tsv cut
    [ "$(moe-inspect --json --keep 24 "$model" | jq .bytes)" -eq "$(bytes cut/*.safetensors)" ]
    [ "$(moe-inspect --json --plan plan.tsv "$model" | jq .bytes)" -eq "$(bytes cut/*.safetensors)" ]
    # the same files, an index that agrees with them, and config.json with one value changed
    diff <(cd "$model" && ls ./*.safetensors ./*.index.json) <(cd cut && ls ./*.safetensors ./*.index.json)
    [ "$(jq .metadata.total_size cut/model.safetensors.index.json)" -eq \
        "$(for f in cut/*.safetensors; do data "$f"; done | wc -c)" ]
    diff <(jq -S .weight_map "$model/model.safetensors.index.json") \
        <(jq -S .weight_map cut/model.safetensors.index.json)
    [ "$(diff "$model/config.json" cut/config.json | grep -c '^[<>]')" -eq 2 ]
    # tensors stand in the same order in each shard
    for f in cut/*.safetensors; do
        diff <(header "$model/${f#cut/}" | jq -r 'keys_unsorted[1:][]') <(header "$f" | jq -r 'keys_unsorted[1:][]')
    done
}

@test "split experts are renumbered over several shards, the index counts parameters" {
    "$MKMODEL" shards=4 experts=12 layers=3 qwen3 many
    count_parameters many
    make_plan many 8 >plan.tsv
    moe-prune -q --verify many plan.tsv cut
    [ "$(jq -r '.weight_map | keys[]' cut/model.safetensors.index.json | grep -c '\.experts\.')" -eq $((3 * 8 * 3)) ]
    [ "$(jq -r '.weight_map | keys[]' cut/model.safetensors.index.json | grep -oE 'experts\.[0-9]+' | sort -u | wc -l)" -eq 8 ]
    [ "$(($(jq .metadata.total_parameters cut/model.safetensors.index.json) * 2))" -eq \
        "$(jq .metadata.total_size cut/model.safetensors.index.json)" ]
    moe-inspect cut
}

@test "a shard of which nothing is left is not written" {
    "$MKMODEL" shards=12 qwen3 many
    echo '{}' >many/tokenizer.json
    make_plan many 1 >plan.tsv
    moe-prune -q --verify many plan.tsv cut
    [ "$(find cut -name "*.safetensors" | wc -l)" -lt 12 ]
    diff <(jq -r '.weight_map[]' cut/model.safetensors.index.json | sort -u) <(cd cut && ls -- *.safetensors)
    moe-inspect cut
}

@test "fewer experts than top-k: every spelling of top-k follows, and it is said" {
    "$MKMODEL" topk=4 experts=8 gptoss four
    make_plan four 3 >plan.tsv
    run -0 --separate-stderr moe-prune four plan.tsv cut
    [[ $stderr == *'experts per token goes from 4 to 3'* ]]
    [ "$(jq -c '[.num_local_experts, .num_experts_per_tok, .experts_per_token]' cut/config.json)" = '[3,3,3]' ]
}

@test "a pruned model is pruned again; every model card is kept" {
    cp -r "$TINY_GPTOSS" first
    printf -- '---\nlicense: apache-2.0\nlanguage:\n- en\n- de\npipeline_tag: text-generation\n---\n# First\n' >first/README.md
    make_plan first 12 >one.tsv
    moe-prune -q first one.tsv second
    cmp first/README.md second/README.base.md
    make_plan second 6 >two.tsv
    moe-prune -q --verify second "$PWD/two.tsv" "$PWD/third/" # whose folder is nobody's affair
    cmp first/README.md third/README.base.base.md
    cmp second/README.md third/README.base.md
    [ "$(jq .num_local_experts third/config.json)" -eq 6 ]
    # front matter: what the hub reads comes along from the first card
    run -0 cat third/README.md
    [ "${lines[0]}" = --- ]
    [ "${lines[1]}" = 'base_model: first' ]
    for want in 'license: apache-2.0' '- de' 'pipeline_tag: text-generation' '- pruned' '# third' \
        '| routed experts per layer | 12 | 6 |' 'moe-prune -q --verify second two.tsv third' 'README.base.md'; do
        grep -qF -e "$want" third/README.md || { echo "no '$want'"; return 1; }
    done
}

@test "same input, same bytes" {
    make_plan "$TINY_QWEN3" 12 >plan.tsv
    mkdir a b
    (cd a && moe-prune -q "$TINY_QWEN3" ../plan.tsv cut)
    (cd b && moe-prune -q "$TINY_QWEN3" ../plan.tsv cut)
    diff -r a b
}

@test "a model in the hub cache: symlinks are followed, the id is the base model, the cache stays as it is" {
    local snap=models--some--model/snapshots/0123456789abcdef0123456789abcdef01234567
    mkdir -p "$snap" models--some--model/blobs models--some--model/refs
    for f in "$TINY_GPTOSS"/*; do
        cp "$f" "models--some--model/blobs/${f##*/}.blob"
        ln -s "../../blobs/${f##*/}.blob" "$snap/${f##*/}"
    done
    printf 0123456789abcdef0123456789abcdef01234567 >models--some--model/refs/main
    make_plan "$snap" 12 >plan.tsv
    find models--some--model -ls >before
    HF_HUB_CACHE=$PWD moe-prune -q some/model plan.tsv cut
    diff before <(find models--some--model -ls)
    [ -f cut/tokenizer.json ]
    [ ! -L cut/tokenizer.json ]
    grep -q '^base_model: some/model$' cut/README.md
    grep -q 'revision 0123456789abcdef0123456789abcdef01234567' cut/README.md
}

@test "what does not belong to the new model is left behind" {
    cp -r "$TINY_GPTOSS" model
    mkdir model/original model/metal model/additional_chat_templates
    touch model/original/weights.bin model/metal/model.bin model/pytorch_model.bin model/model.gguf \
        model/consolidated.safetensors model/.gitattributes model/model.safetensors.index.json.old \
        model/LICENSE model/USE_POLICY.md model/vocab.txt model/modeling_x.py model/additional_chat_templates/tool.jinja
    make_plan model 12 >plan.tsv
    moe-prune -q model plan.tsv cut
    diff <(ls cut) - <<'LIST'
LICENSE
README.md
USE_POLICY.md
additional_chat_templates
chat_template.jinja
config.json
generation_config.json
model.safetensors
modeling_x.py
tokenizer.json
tokenizer_config.json
vocab.txt
LIST
    [ -f cut/additional_chat_templates/tool.jinja ]
}

@test "an existing output is refused, and replaced with --force" {
    make_plan "$TINY_GPTOSS" 12 >plan.tsv
    cp -r "$TINY_QWEN3" cut
    echo '{}' >cut/old.json
    fails_with "'cut' exists already.*--force" moe-prune "$TINY_GPTOSS" plan.tsv cut
    [ -e cut/old.json ]
    only cut plan.tsv
    moe-prune -q --force "$TINY_GPTOSS" plan.tsv cut
    [ ! -e cut/old.json ]
    [ -f cut/model.safetensors ]
    only cut plan.tsv
}

@test "a plan of another model is refused; --force uses it and says so" {
    make_plan "$TINY_GPTOSS" 12 00000000000000000000000000000000 >plan.tsv
    fails_with 'made from a model with the digest 0{32}.*--force' moe-prune "$TINY_GPTOSS" plan.tsv cut
    only plan.tsv
    run -0 --separate-stderr moe-prune -f "$TINY_GPTOSS" plan.tsv cut
    [[ $stderr == *'another model'* ]]
    grep -q 'which is another model' cut/README.md
}

@test "a plan for other sizes or another family is refused, even with --force" {
    make_plan "$TINY_QWEN3" 12 >plan.tsv
    fails_with 'the plan is for a model of family qwen3_moe' moe-prune -f "$TINY_GPTOSS" plan.tsv cut
    make_plan "$TINY_GPTOSS" 6 | sed -n 's/experts=16/experts=8/; /^#/p' | sed '$d' >plan.tsv
    rows 4 8 6 >>plan.tsv
    fails_with 'gpt_oss with 8 experts' moe-prune -f "$TINY_GPTOSS" plan.tsv cut
    make_plan "$ROOT/tests/fixtures/qwen3-fp8" 3 >plan.tsv # whose layer 0 is dense
    fails_with 'has rows for layer 0, which has no experts' moe-prune -f "$ROOT/tests/fixtures/qwen3-fp8" plan.tsv cut
    only plan.tsv
}

@test "a plan with different counts, or with nothing kept, is refused" {
    make_plan "$TINY_GPTOSS" 12 | awk 'BEGIN { FS = OFS = "\t" } $1 == 2 && $3 && !done { $3 = 0; done = 1 } 1' >plan.tsv
    fails_with 'keeps 12 experts of layer 0 but 11 of layer 2' moe-prune "$TINY_GPTOSS" plan.tsv cut
    make_plan "$TINY_GPTOSS" 0 >plan.tsv
    fails_with 'keeps no expert of layer 0' moe-prune "$TINY_GPTOSS" plan.tsv cut
    only plan.tsv
}

@test "an output that is the model, in it or around it is refused" {
    mkdir box
    cp -r "$TINY_GPTOSS" box/model
    make_plan box/model 12 >plan.tsv
    for out in box/model box/model/ box/model/new box; do
        fails_with "model's own directory" moe-prune -f box/model plan.tsv $out
    done
    ln -s box/model link
    fails_with "model's own directory" moe-prune -f box/model plan.tsv link
    diff -r "$TINY_GPTOSS" box/model
}

@test "an output that cannot be created is refused" {
    make_plan "$TINY_GPTOSS" 12 >plan.tsv
    fails_with "cannot .*'missing/cut" moe-prune "$TINY_GPTOSS" plan.tsv missing/cut
    fails_with "cannot .*'plan.tsv/cut" moe-prune "$TINY_GPTOSS" plan.tsv plan.tsv/cut
    if [ "$(id -u)" -ne 0 ]; then
        mkdir locked
        chmod 500 locked
        fails_with "cannot create .*'locked/cut" moe-prune "$TINY_GPTOSS" plan.tsv locked/cut
        rmdir locked
    fi
    only plan.tsv
}

@test "a full disk: refused before anything is written, or nothing is left" {
    make_plan "$TINY_GPTOSS" 12 >plan.tsv
    # a file-size limit is met in the middle of the weights, when the free space looked fine
    fails_with "cannot write .*File too large" bash -c "ulimit -f 1024; moe-prune '$TINY_GPTOSS' plan.tsv cut"
    only plan.tsv
    mkdir disk
    mount -t tmpfs -o size=1m tmpfs disk 2>/dev/null || skip 'no file system of one megabyte can be made here (not root)'
    run --separate-stderr moe-prune "$TINY_GPTOSS" plan.tsv disk/cut
    left=$(ls -A disk)
    umount disk
    [ "$status" -eq 1 ]
    [ -z "$left" ]
    [[ $stderr == *"needs 2."*"has 1."*"free"* ]]
}

@test "a run that is killed leaves nothing that looks finished" {
    "$MKMODEL" hidden=512 inter=512 experts=32 layers=4 qwen3 big
    echo '{}' >big/tokenizer.json
    make_plan big 31 >plan.tsv
    local delay killed=0 status
    for delay in 0 0.01 0.02 0.03 0.05 0.07 0.1 0.15; do
        moe-prune -q --verify big plan.tsv cut 2>/dev/null &
        sleep $delay
        kill -TERM $! 2>/dev/null || true
        status=0
        wait $! || status=$?
        if [ "$status" -eq 0 ]; then
            moe-inspect -q cut >/dev/null
            rm -r cut
        else
            [ "$status" -eq 143 ]
            killed=$((killed + 1))
        fi
        only big plan.tsv || return 1
    done
    [ "$killed" -gt 0 ]
    # without a chance to clean up there is a directory, but not under the output's name
    moe-prune -q --verify big plan.tsv cut 2>/dev/null &
    sleep 0.03
    kill -KILL $! 2>/dev/null || true
    wait $! || [ ! -e cut ]
}

@test "usage" {
    run -2 --separate-stderr moe-prune "$TINY_GPTOSS" plan.tsv
    [[ $stderr == *'no OUT after MODEL and PLAN'* ]]
    run -2 --separate-stderr moe-prune --mtp keep a b c
    [[ $stderr == *"--mtp takes drop or refuse"* ]]
    run -0 moe-prune --help
    [[ $output == *'--verify'* ]]
    make_plan "$TINY_GPTOSS" 12 >plan.tsv
    run -0 --separate-stderr moe-prune --quiet "$TINY_GPTOSS" plan.tsv cut
    [ -z "$output$stderr" ]
}

@test "the card's front matter is YAML and its text UTF-8, whatever the model's folder is called" {
    local name want
    echo '{"ids":[5,6,7,8,9,10,11,12]}' >ids.jsonl
    moe-observe -q -o s.stats "$TINY_QWEN3" ids.jsonl
    moe-score -q -r 25% -o plan.tsv s.stats
    while IFS=$'\t' read -r name want; do
        name=$(printf %b "$name")
        cp -rL "$TINY_QWEN3" "./$name"
        moe-prune -q "./$name" plan.tsv out
        grep -qxF "base_model: $want" out/README.md || { sed -n 1,3p out/README.md; return 1; }
        rm -r out "./$name"
    done <<'END'
plain-1.5_b	plain-1.5_b
a: b #1	"a: b #1"
yes	"yes"
123	"123"
- x	"- x"
"q" x	"\"q\" x"
END
    name=$(printf 'caf\351')
    cp -rL "$TINY_QWEN3" "./$name"
    moe-prune -q "./$name" plan.tsv out
    iconv -f UTF-8 -t UTF-8 out/README.md | grep -qxF "base_model: \"caf$(printf '\357\277\275')\""
    rm -r out
    # a card with carriage returns keeps its licence
    cp -rL "$TINY_QWEN3" crlf
    printf '\357\273\277---\r\nlicense: mit\r\n---\r\n# Card\r\n' >crlf/README.md
    moe-prune -q crlf plan.tsv out
    grep -qx 'license: mit' out/README.md
}

@test "files that say how tensors are stored follow the experts" {
    local kept gone after e='model.layers.0.mlp.experts'
    cp -r "$TINY_QWEN3" m
    chmod -R u+w m
    make_plan m 12 >plan.tsv
    gone=$(awk -F'\t' '$1 == 0 && $3 == 0 { print $2; exit }' plan.tsv)
    kept=$(awk -F'\t' '$1 == 0 && $3 == 1 { last = $2 } END { print last }' plan.tsv)
    after=$(awk -F'\t' '$1 == 0 && $3 == 1' plan.tsv | wc -l)
    jq -n --arg a "$e.$gone.up_proj" --arg b "$e.$kept.up_proj" \
        '{quantization: {exclude_modules: ["lm_head", $a, $b], quantized_layers: {($a): {}, ($b): {n: 1}}}}' >m/hf_quant_config.json
    jq -n --arg a "-:.*layers\\.0\\..*experts\\.$gone\\..*" '{dynamic: {($a): {}}}' >m/quantize_config.json
    jq -n --arg a "$e.$gone" --arg b "$e.$kept" '{modules_to_not_convert: [$a, $b]}' >m/quant_config.json
    moe-prune -q m plan.tsv cut
    jq -e --arg b "$e.$((after - 1))" '.modules_to_not_convert == [$b]' cut/quant_config.json
    jq -e --arg b "$e.$((after - 1)).up_proj" \
        '.quantization == {exclude_modules: ["lm_head", $b], quantized_layers: {($b): {n: 1}}}' cut/hf_quant_config.json
    jq -e '.dynamic == {}' cut/quantize_config.json
    jq -n --arg a ".*experts\\.[0-3]\\..*" '{dynamic: {($a): {}}}' >m/quantize_config.json
    fails_with "cannot be renumbered: the number is not a plain one" moe-prune -q m plan.tsv none
    [ ! -e none ]
    jq -n '{dynamic: {"-:.*experts\\.\\d\\.up_proj": {}}}' >m/quantize_config.json # one digit of up to two
    fails_with "cannot be renumbered: the number is not a plain one" moe-prune -q m plan.tsv none
    jq -n '{dynamic: {"-:.*experts\\.[0-9]+\\.up_proj": {}, "-:.*experts.(\\d+).w1": {}, "-:.*experts\\.\\d{1,2}\\.w2": {},
        "-:.*experts\\.[0-9].*": {}}}' >m/quantize_config.json # any number
    moe-prune -q m plan.tsv any
    cmp m/quantize_config.json any/quantize_config.json
    make_plan m 16 >all.tsv
    moe-prune -q m all.tsv all
    cmp m/quantize_config.json all/quantize_config.json
}
