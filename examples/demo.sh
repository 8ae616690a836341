#!/bin/bash
# demo.sh -- the whole pipeline on the two trained models that lie beside this script: what is in them, what their
# experts do on text, which to drop, the smaller model, the same in another number format, and what it cost.
# Needs no GPU and no network; takes well under a minute. In a checkout everything it makes stays in build/demo and the
# programs are those of build/ (or of the folder that is its argument); where it is installed it takes those in the PATH
# and a folder of its own in $TMPDIR.
set -e -o pipefail
export LC_ALL=C # numbers are written in one way, whatever the language
examples=$(cd "$(dirname "$0")" && pwd)
if [ -e "$examples/../lib/model/model.h" ]; then
    cd "$examples/.."
    examples=examples
    build=${1:-build}
    work=$build/demo
    PATH=$PWD/$build:$PATH
    rm -rf "$work"
    mkdir -p "$work"
    text=(README.md CONTRIBUTING.md man/* examples/calibration/README.md lib/*/*.[ch] cmd/*.[ch] Makefile tools/* tests/run)
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/moe-demo.XXXXXX")
    shopt -s nullglob
    text=("$examples"/calibration/* "$examples"/*.mk "$examples"/demo.sh "$examples"/report/* "$examples"/../../man/man?/moe*)
fi

# Shows a command and runs it; how long it took is then in $seconds.
exec 3>&1
run() {
    local start=$EPOCHREALTIME
    printf '\n$ %s\n' "$*" >&3
    "$@"
    seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", b - a }')
}
# The number that KEY has in what moe-inspect --json printed.
number() { sed -n "s/.*\"$1\": *\([-+.0-9e]*\).*/\1/p" "$2" | head -n 1; }
# A column of what moe-bench compare --tsv printed of everything.
total() {
    awk -F '\t' -v name="$1" '/^#columns/ { for (i = 2; i <= NF; i++) at[$i] = i - 1 } !/^#/ { printf "%.*f", name == "kl_mean" ? 4 : 3, $at[name]; exit }' "$2"
}
row() { printf '%-22s %10s %8s %7s %8s %7s %11s %9s\n' "$@" >>"$work/table.txt"; }
# add MODEL LABEL TOKENS TIME PERPLEXITY KL: a row of the table about a checkpoint.
add() {
    moe-inspect --json "$1" >"$work/model.json"
    row "$2" "$(awk -v b="$(number bytes "$work/model.json")" 'BEGIN { printf "%.2f MB", b / 1e6 }')" \
        "$(number experts "$work/model.json")" "$(number layers "$work/model.json")" "$3" "$4" "$5" "$6"
}
# judge MODEL REF NAME: how MODEL differs from REF on text that was not observed.
judge() {
    run moe-bench compare --tsv --max-len 512 --force -o "$work/$3.tsv" "$1" "$2" "$work/held-out.jsonl"
    ppl=$(total ppl "$work/$3.tsv")
    kl=$(total kl_mean "$work/$3.tsv")
}

echo 'Text to observe, and other text to judge with: this project, its source and its documentation.'
"$examples"/calibration/own-text "${text[@]}" >"$work/calib.jsonl"
"$examples"/calibration/own-text --held-out "${text[@]}" >"$work/held-out.jsonl"
wc -l "$work/calib.jsonl" "$work/held-out.jsonl"
row model size experts layers tokens time perplexity KL

# demo MODEL FORMAT: prunes a quarter of the experts, then stores what is left as FORMAT.
demo() {
    local name=$1 model=$examples/$1 to=$2 tokens ppl kl seconds
    run moe-inspect "$model"
    run moe-observe --max-len 512 --samples-per-category 100 -o "$work/$name.stats" "$model" "$work/calib.jsonl"
    tokens=$(sed -n 's/^#part.*tokens=\([0-9]*\).*/\1/p' "$work/$name.stats")
    local observed=$seconds
    run moe-score -r 0.25 -o "$work/$name.plan" "$work/$name.stats"
    run moe-prune --verify "$model" "$work/$name.plan" "$work/$name-pruned"
    local pruned=$seconds
    run moe-inspect --check "$work/$name-pruned"
    # A line for each tensor, and the sums, which are enough here.
    run moe-quant -t "$to" "$work/$name-pruned" "$work/$name-pruned-$to" >"$work/quant.txt"
    tail -n 2 "$work/quant.txt"
    local quantized=$seconds

    judge "$work/$name-pruned" "$model" "$name-pruned"
    add "$model" "$name" "$tokens" "$observed" "$(total ppl_ref "$work/$name-pruned.tsv")" -
    add "$work/$name-pruned" "  pruned by 25%" - "$pruned" "$ppl" "$kl"
    judge "$work/$name-pruned-$to" "$model" "$name-pruned-$to"
    add "$work/$name-pruned-$to" "  pruned, as $to" - "$quantized" "$ppl" "$kl"
}
demo tiny-qwen3 mxfp4
# Its experts are stored as MXFP4 and stay so when pruned; going to bf16 changes the size and no value.
demo tiny-gptoss bf16

echo
cat "$work/table.txt"
echo
echo "time: to observe, to prune and verify, to quantize; perplexity and KL (nats a token, from the unpruned model) on"
echo "held-out text. These are toys of 2 million parameters: the figures show the tools, not what a real model loses."
echo "Everything is in $work."
