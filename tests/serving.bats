#!/usr/bin/env bats
# What moe-inspect says of servers and of the memory that a model takes there.
load helper

FIXTURES=$ROOT/tests/fixtures

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
}

@test "--keep: a line for each rule with grade, release and source, and the nearest numbers" {
    run -0 --separate-stderr moe-inspect --keep 6 "$TINY_GPTOSS"
    [[ ${lines[0]} == '6 of 16 experts in every layer: '* ]]
    grep -qE '^  transformers  slower   .*MXFP4 becomes BF16.* \(5\.[0-9.]+, ' <<<"$output"
    grep -qE '^  vLLM          slower   .*EPLB.* \(0\.[0-9.]+, ' <<<"$output"
    grep -qE '^  SGLang        slower   .*multiple of 4 \(' <<<"$output"
    grep -qE '^  llama.cpp     fine     .*YaRN' <<<"$output"
    grep -qxE '  Ollama        fine' <<<"$output"
    [[ ${lines[-1]} == '  4 or 8 experts, the nearest such numbers, '* ]]
    [ -z "$stderr" ]
    run -0 moe-inspect --keep 8 "$TINY_GPTOSS"
    [[ $output != *nearest* ]]
}

@test "--keep, --plan, --check: JSON, and the memory that --fit counts" {
    local n sum
    moe-inspect --json --keep 6 "$TINY_GPTOSS" >keep.json
    jq -e '[.serving[].server] | unique | length == 5' keep.json
    jq -e '.serving | all((.grade | IN("fine", "slower", "refuses")) and ((.reason == null) == (.source == null)))' keep.json
    jq -e '.nearest == [4,8] and .weights_bytes == .bytes and .total_bytes == .weights_bytes + .kv_bytes' keep.json
    for n in 100 8192; do
        moe-inspect --json --keep 6 --context $n "$TINY_GPTOSS" >keep.json
        sum=$(jq .total_bytes keep.json)
        [ "$(moe-inspect --json --fit "$sum" --context $n "$TINY_GPTOSS" | jq -c '[.keep, .kv_bytes]')" = \
            "$(jq -c '[.keep, .kv_bytes]' keep.json)" ]
        [ "$(moe-inspect --json --fit $((sum - 1)) --context $n "$TINY_GPTOSS" | jq .keep)" -eq 5 ]
    done
    moe-inspect --json --check --context 100 "$TINY_GPTOSS" >check.json
    jq -e --argjson bytes "$(cat "$TINY_GPTOSS"/*.safetensors | wc -c)" \
        '.problems == [] and .context == 100 and .weights_bytes == $bytes and (.serving | length >= 5)' check.json
    jq -cn '{category: "a", text: "one two three four five six"}' >docs.jsonl
    moe-observe -q -o run.stats "$TINY_GPTOSS" docs.jsonl
    moe-score -q -k 6 -o a.plan run.stats
    moe-inspect --json --plan a.plan "$TINY_GPTOSS" | jq -e --slurpfile k keep.json '.serving == $k[0].serving'
}

@test "--fit: the nearest smaller number that servers like better" {
    local sum
    sum=$(moe-inspect --json --keep 7 "$TINY_GPTOSS" | jq .total_bytes)
    run -0 --separate-stderr moe-inspect --fit "$sum" "$TINY_GPTOSS"
    [[ $output == '7 of 16 experts fit '* && $stderr == *': with 4 experts there are fewer obstacles to serving; --keep 7 names them'* ]]
    moe-inspect --json --fit "$sum" "$TINY_GPTOSS" | jq -e '.keep == 7 and .nearest == [4]'
    moe-inspect --json --fit 1GB "$TINY_GPTOSS" | jq -e '.keep == 16 and .nearest == []'
}

@test "a server that refuses a model in a folder makes it no worse; llama.cpp is what GGUF files are for" {
    mkdir m
    cp "$FIXTURES"/gptoss-nvfp4/{config.json,model.safetensors} m
    [ ! -e "$FIXTURES/gptoss-nvfp4/hf_quant_config.json" ] || cp "$FIXTURES/gptoss-nvfp4/hf_quant_config.json" m
    tokenizer m
    run -0 moe-inspect --check m
    [[ $output == good:*'vLLM          refuses  GPT-OSS in NVFP4'* ]]
    # the same rule is a problem of a GGUF file: tests/gguf.bats has one
    run -3 moe-inspect --check --json "$ROOT/tests/data/gguf/gptoss.gguf"
    jq -e '[.serving[].server] | unique == ["Ollama", "llama.cpp"]' <<<"$output"
}

@test "a key that says another number of experts is stale" {
    cp -r "$TINY_QWEN3" m
    jq '.n_routed_experts = 32' "$TINY_QWEN3/config.json" >m/config.json
    run -0 moe-inspect --check --ignore-key n_routed_experts m
    [[ $output == *'llama.cpp     refuses  its converter takes the first of '* ]]
}

@test "fewer experts than a token uses: that is said" {
    run -0 --separate-stderr moe-inspect --keep 1 "$TINY_QWEN3"
    [[ $stderr == *'fewer than the '*' experts that a token uses'* ]]
}
