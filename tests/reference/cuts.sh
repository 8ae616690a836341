#!/bin/bash
# cuts.sh OUT FIXTURE... -- every fixture with all its experts, with a quarter and with half of them removed (the
# nearest counts that its groups allow), each with our f32 logits in our-logits.safetensors. load.py then tells
# whether transformers takes them and computes the same:
#
#     make build/tests/logits all && tests/reference/cuts.sh /tmp/cuts tests/fixtures/*/
#     for d in /tmp/cuts/*/; do venv/bin/python tests/reference/load.py --compare $d/our-logits.safetensors $d; done
set -e -o pipefail
build=$(cd "$(dirname "$0")/../../build" && pwd)
PATH=$build:$build/tests:$PATH
out=$1
shift
mkdir -p "$out"
for fixture in "$@"; do
    name=$(basename "$fixture")
    case $fixture in */shared/*) name=$name-given ;; esac
    work=$out/.work
    mkdir -p "$work"
    # the golden's documents are not needed: any ids give statistics
    seq 0 50 | paste -sd, | sed 's/.*/{"ids": [&]}/' >"$work/ids.jsonl"
    moe-observe -q -f --precision f32 -o "$work/run.stats" "$fixture" "$work/ids.jsonl"
    experts=$(moe-inspect --json "$fixture" | jq .experts)
    for ratio in 0 0.25 0.5; do
        keep=$(jq -n "$experts * (1 - $ratio) | ceil")
        # the nearest count that the router's groups allow
        until moe-score -q -f -k "$keep" -o "$work/plan.tsv" "$work/run.stats" 2>/dev/null; do
            keep=$((keep + 1))
            [ "$keep" -le "$experts" ]
        done
        moe-prune -q -f --verify "$fixture" "$work/plan.tsv" "$out/$name-$keep"
        logits "$out/$name-$keep" "$fixture/golden.safetensors" "$out/$name-$keep/our-logits.safetensors"
        echo "$name: $experts -> $keep"
    done
    rm -r "$work"
done
