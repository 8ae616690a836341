#!/usr/bin/env bats
# Checkpoints as releases spell them (wrappers, shards, MTP layers, low-bit experts), from outside of the checkout:
# what keeps every expert keeps every byte, what is cut is verified, and masking foretells what the cut model gives.
# That the forward pass is transformers' own says test_families.c.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    need_shared
    [ -d "$SHARED/fixtures-2" ] || skip "no fixtures-2 in $SHARED"
    printf '{"ids":[%s]}\n' "$(seq -s , 1 60)" "$(seq -s , 60 -3 1)" >ids.jsonl
}

# taken FUNCTION: for each of these whose family is known.
taken() {
    local f n=0
    for f in "$SHARED"/fixtures-2/*/; do
        f=${f%/}
        case $f in *-long) continue ;; esac
        [ -e "$f/golden.safetensors" ] || continue
        moe-inspect --json "$f" >model.json 2>why || continue
        rm -rf out
        moe-observe -q -f --precision f32 -o run.stats "$f" ids.jsonl
        "$1" "$f" || { echo "$f"; return 1; }
        n=$((n + 1))
    done
    [ $n -gt 0 ]
}

length() {
    od -An -N8 -tu8 "$1"
}
# Headers may be spaced otherwise.
same_tensors() {
    cmp <(tail -c +$(($(length "$1") + 9)) "$1") <(tail -c +$(($(length "$2") + 9)) "$2") || return
    cmp <(tail -c +9 "$1" | head -c "$(length "$1")" | jq -S 'del(.__metadata__)') \
        <(tail -c +9 "$2" | head -c "$(length "$2")" | jq -S 'del(.__metadata__)')
}

keeps_all() {
    local t
    moe-score -q -f -k "$(jq .experts model.json)" -o plan.tsv run.stats
    moe-prune -q --verify "$1" plan.tsv out
    for t in "$1"/*; do
        case $t in
        */golden.safetensors) ;;
        *.index.json) cmp <(jq -S . "$t") <(jq -S . "out/${t##*/}") || return ;;
        *.safetensors) same_tensors "$t" "out/${t##*/}" || return ;;
        *) cmp "$t" "out/${t##*/}" || return ;;
        esac
    done
}

is_cut() {
    local all keep
    all=$(jq .experts model.json)
    for keep in $((all * 3 / 4)) $((all / 2)); do
        [ "$(jq '.groups // 1' model.json)" -eq 1 ] || keep=8 # of 12, by fours
        moe-score -q -f -k $keep -o plan.tsv run.stats
        rm -rf out
        moe-prune -q --verify "$1" plan.tsv out || return
        [ "$(moe-inspect --json out | jq .experts)" -eq $keep ] || return
        [ "$(moe-inspect --json --plan plan.tsv "$1" | jq .bytes)" -eq "$(cat out/*.safetensors | wc -c)" ] || return
        moe-bench compare -q --json --precision f32 --plan plan.tsv --model out "$1" ids.jsonl >r.json || return
        jq -e '[.candidates[].total] | map(.kl_mean) as $kl | map(.nll) as $nll
            | $kl[0] > 1e-7 and ($kl[0] - $kl[1] | fabs) <= 1e-5 and ($nll[0] / $nll[1] - 1 | fabs) <= 1e-6' r.json >said ||
            { cat r.json; return 1; }
    done
}

@test "released spellings: keeping every expert keeps every byte" {
    taken keeps_all
}

@test "released spellings: three quarters and half of the experts, verified, and equal to the mask" {
    taken is_cut
}

@test "released spellings: documents of more tokens than an indexer chooses are refused" {
    local f n=0
    printf '{"ids":[%s]}\n' "$(seq -s , 1 100)" >long.jsonl
    for f in "$SHARED"/fixtures-2/*-long; do
        moe-inspect "$f" >/dev/null 2>&1 || continue
        run -1 --separate-stderr moe-observe -f -o run.stats "$f" long.jsonl
        [[ $stderr == *'long.jsonl line 1: a document of 100 tokens'*'--max-len '* ]]
        n=$((n + 1))
    done
    [ $n -gt 0 ]
}
