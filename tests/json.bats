#!/usr/bin/env bats
# What --json prints and what the manual pages say of it are the same.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    for i in 1 2 3 4; do
        jq -cn --rawfile t "$ROOT/LICENSE" --argjson i $i '{category: "cat-a", text: $t[($i * 100):($i * 100 + 300)]}'
        jq -cn --rawfile t "$ROOT/lib/base/num.h" --argjson i $i '{category: "cat-b", text: $t[($i * 150):($i * 150 + 300)]}'
    done >docs.jsonl
}

# holds PROGRAM FILE...: the members in FILEs, whose names are not those of categories, are those that the page has in
# its section JSON, and every object on a line or file begins with the version.
holds() {
    local page=$ROOT/man/$1.1
    shift
    sed -n '/^\.Sh JSON/,/^\.Sh EXIT/s/^\.It Li //p' "$page" | sed 's/ , /\n/g' | sort -u >in-page
    jq -r 'paths | map(select(type == "string")) | last // empty' "$@" | grep -v '^cat-' | sort -u >printed
    diff in-page printed || { echo "$page has (<), and the output has (>)"; return 1; }
    jq -se 'all(.version == 1 and keys_unsorted[0] == "version")' "$@"
}

@test "moe-inspect" {
    local n=0 how
    for how in '' --digest --check '--keep 8' '--fit 16GB' --tensors --experts; do
        # shellcheck disable=SC2086 # words on purpose
        moe-inspect --json $how "$TINY_QWEN3" >"$n.json"
        n=$((n + 1))
    done
    moe-inspect --json --families >$n.json
    # lines of data, which have no version; what is refused and left out is in model.bats and text.bats
    mkdir folder
    cp docs.jsonl folder
    moe-inspect --tokenize folder "$TINY_QWEN3" 2>/dev/null >told.json
    moe-inspect --tokenize folder --render "$TINY_QWEN3" 2>/dev/null >>told.json
    jq -c '{version: 1} + . + {refused: "", lost: []}' told.json >lines.json
    jq -se 'any(has("ids"))' lines.json
    jq -c 'if has("text") then . else . + {text: ""} end' lines.json >data.json
    holds moe-inspect ./[0-9].json data.json
}

@test "moe-observe, moe-score" {
    moe-observe -q --json -n -o run.stats "$TINY_QWEN3" docs.jsonl >0.json
    moe-observe -q --json -o run.stats "$TINY_QWEN3" docs.jsonl >1.json
    holds moe-observe 0.json 1.json
    moe-score -q -r 0.5 -o a.plan run.stats
    moe-score -q -r 0.5 -c reap -o b.plan run.stats
    moe-score -q --json -n run.stats >0.json
    moe-score --json --list >1.json
    moe-score --json --diff a.plan b.plan >2.json
    moe-score -q --json --stability run.stats >3.json
    moe-score -q --json --coverage --min-tokens 1000 run.stats >4.json || [ $? -eq 3 ]
    holds moe-score [0-4].json
}

@test "moe-prune, moe-quant, moe-bench" {
    moe-observe -q -o run.stats "$TINY_QWEN3" docs.jsonl
    moe-score -q -r 0.5 -o a.plan run.stats
    moe-prune -n --json "$TINY_QWEN3" a.plan out >0.json
    moe-prune -q --verify --json "$TINY_QWEN3" a.plan out >1.json
    holds moe-prune 0.json 1.json
    moe-quant -n --json -t mxfp4 "$TINY_QWEN3" out4 >0.json
    moe-quant -q --json -t mxfp4 "$TINY_QWEN3" out4 >1.json
    holds moe-quant 0.json 1.json
    moe-bench perplexity -q --json "$TINY_QWEN3" docs.jsonl >0.json
    moe-bench compare -q --json --plan a.plan --model out "$TINY_QWEN3" docs.jsonl >1.json
    moe-bench speed -q --json --docs 2 --tokens 16 --repeat 1 "$TINY_QWEN3" >2.json
    moe-bench perplexity -q -n --json "$TINY_QWEN3" docs.jsonl >3.json
    holds moe-bench [0-3].json
}
