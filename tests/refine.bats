#!/usr/bin/env bats
# moe-bench refine: a plan made better by exchanges that masking judges.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    for i in 1 2 3 4 5 6; do
        jq -cn --rawfile t "$ROOT/LICENSE" --argjson i $i '{category: "law", text: $t[($i * 100):($i * 100 + 300)]}'
        jq -cn --rawfile t "$ROOT/lib/base/num.h" --argjson i $i '{category: "code", text: $t[($i * 150):($i * 150 + 300)]}'
    done >docs.jsonl
    moe-observe -q -o run.stats "$TINY_QWEN3" docs.jsonl
    moe-score -q -c ean_mean -k 8 -o start.plan run.stats
    moe-bench refine -q --precision f32 --plan start.plan -o better.plan "$TINY_QWEN3" docs.jsonl 2>refine.err
    moe-bench refine --precision f32 --plan start.plan -f -o better.plan "$TINY_QWEN3" docs.jsonl 2>refine.err
}

setup() {
    cd "$BATS_FILE_TMPDIR" || return
}

# kl PLAN: mean divergence of what it leaves.
kl() {
    moe-bench compare -q --precision f32 --json --plan "$1" "$TINY_QWEN3" docs.jsonl | jq '.. | .kl_mean? // empty' | head -n 1
}

# kept PLAN: experts kept in each layer.
kept() {
    awk -F'\t' '!/^#/ { n[$1] += $3 } END { for (l in n) print l, n[l] }' "$1" | sort -n
}

@test "refine: the divergence falls, as it says and as compare finds" {
    run grep -o 'KL [0-9.]* -> [0-9.]*' refine.err
    read -r _ before _ after <<<"$output"
    jq -en --argjson a "$after" --argjson b "$before" '$a < 0.95 * $b'
    jq -en --argjson said "$after" --argjson found "$(kl better.plan)" '($said - $found | fabs) < 2e-5'
    jq -en --argjson said "$before" --argjson found "$(kl start.plan)" '($said - $found | fabs) < 2e-5'
}

@test "refine: every layer keeps as many as before, kept experts rank first, and the plan says so" {
    [ "$(kept start.plan)" = "$(kept better.plan)" ]
    run ! cmp -s start.plan better.plan
    awk -F'\t' '!/^#/ && ($5 <= 8) != ($3 == 1) { exit 1 }' better.plan
    grep -q '^#criterion.*refine=[1-9]' better.plan
    moe-prune -q --verify "$TINY_QWEN3" better.plan "$BATS_TEST_TMPDIR/out"
}

@test "refine: the same plan whatever the threads, the passes and the chunks" {
    moe-bench refine -q --precision f32 --threads 1 --plan start.plan "$TINY_QWEN3" docs.jsonl >one.plan
    moe-bench refine -q --precision f32 --threads 2 --chunk-tokens 100 --mem-max 2MB --plan start.plan "$TINY_QWEN3" docs.jsonl >many.plan
    cmp one.plan better.plan
    cmp many.plan better.plan
}

@test "refine: what is good already stays as it is, but for the line that says so" {
    moe-bench refine -q --precision f32 --plan better.plan "$TINY_QWEN3" docs.jsonl >again.plan
    diff <(grep -v '^#criterion' better.plan) <(grep -v '^#criterion' again.plan)
    grep -q 'refine=0' again.plan
}

@test "refine: -k cuts a plan of more experts down first, about as well as exchanges make it" {
    moe-score -q -c ean_mean -k 16 -f -o whole.plan run.stats
    moe-bench refine -q --precision f32 -k 8 --plan whole.plan -f -o cut.plan "$TINY_QWEN3" docs.jsonl
    [ "$(kept cut.plan)" = "$(kept start.plan)" ]
    grep -q '^#criterion.*keep=16.*cut=8.*refine=' cut.plan
    jq -en --argjson cut "$(kl cut.plan)" --argjson start "$(kl start.plan)" '$cut < 0.9 * $start'
    run moe-bench refine -q -k 9 --plan start.plan "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 2 ]
    [[ $output == *"keeps only 8"* ]]
    run moe-bench refine -q -k 1 --plan start.plan "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 2 ]
    [[ $output == *"router chooses 2"* ]]
}

@test "refine: fewer candidates try less" {
    moe-bench refine -q --precision f32 --rounds 1 --candidates 1 --plan start.plan "$TINY_QWEN3" docs.jsonl >few.plan
    [ "$(diff <(grep -v '^#' start.plan | cut -f1-3) <(grep -v '^#' few.plan | cut -f1-3) | grep -c '^>')" -le 8 ]
}

@test "refine: groups of a router keep their numbers" {
    d=$ROOT/tests/fixtures/glm4-mtp
    for i in 1 2 3 4 5 6; do
        jq -cn --argjson i $i '{ids: [range(40) | (. * 7 + $i * 13) % 63 + 1]}'
    done >ids.jsonl
    moe-observe -q -f -o ds.stats "$d" ids.jsonl
    moe-score -q -c ean_mean -k 4 -f -o ds.plan ds.stats
    moe-bench refine -q --precision f32 --plan ds.plan "$d" ids.jsonl >ds2.plan
    groups=$(sed -n 's/^#model.*\tgroups=\([0-9]*\).*/\1/p' ds.plan)
    experts=$(sed -n 's/^#model.*\texperts=\([0-9]*\).*/\1/p' ds.plan)
    [ -n "$groups" ]
    awk -F'\t' -v size=$((experts / groups)) '!/^#/ { n[$1 " " int($2 / size)] += $3 }
        END { for (g in n) { if (!have++) first = n[g]; if (n[g] != first) exit 1 } }' ds2.plan
    moe-prune -q -n "$d" ds2.plan out
    moe-score -q -c ean_mean -k 8 -f -o whole.plan ds.stats
    moe-bench refine -q --precision f32 -k 4 --plan whole.plan "$d" ids.jsonl >ds3.plan
    moe-prune -q -n "$d" ds3.plan out
}

@test "refine: mistakes" {
    run moe-bench refine "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 2 ]
    [[ $output == *"--plan is missing"* ]]
    run moe-bench refine --plan start.plan "$TINY_QWEN3"
    [ "$status" -eq 2 ]
    [[ $output == *"no DATA"* ]]
    fails_with "another model" moe-bench refine -q --plan start.plan "$TINY_GPTOSS" docs.jsonl
    fails_with better.plan moe-bench refine -q --plan start.plan -o better.plan "$TINY_QWEN3" docs.jsonl
    awk -F'\t' -v OFS='\t' '!/^#/ { $3 = 0 } { print }' start.plan >none.plan
    fails_with "masking needs|keeps 0" moe-bench refine -q --plan none.plan "$TINY_QWEN3" docs.jsonl
}

@test "refine --resume: killed at any time, nothing that was computed is computed again, and the bytes are the same" {
    cd "$BATS_TEST_TMPDIR"
    cp "$BATS_FILE_TMPDIR"/{start.plan,docs.jsonl} .
    local run=(moe-bench refine --precision f32 --rounds 1 --threads 1 --plan start.plan -o out.plan) size=0 kills=0 now pid
    "${run[@]}" -q "$TINY_QWEN3" docs.jsonl
    mv out.plan whole.plan
    while [ ! -e out.plan ]; do
        "${run[@]}" --resume "$TINY_QWEN3" docs.jsonl 2>said &
        pid=$!
        # killed as soon as there is more than before, in the middle of a record perhaps
        while [ "$(stat -c %s out.plan.partial 2>/dev/null || echo 0)" -le "$size" ] && kill -0 $pid; do sleep 0.01; done
        [ $kills -ge 6 ] || kill -KILL $pid || true
        wait $pid || kills=$((kills + 1))
        [ ! -e out.plan.partial ] || printf 'half a record' >>out.plan.partial
        now=$(stat -c %s out.plan.partial 2>/dev/null || echo "$size")
        [ "$now" -ge "$size" ]
        size=$now
    done 2>/dev/null
    [ $kills -ge 2 ] || skip "too fast to be killed"
    cmp out.plan whole.plan
    grep -qE '^moe-bench refine: [0-9]+ masked models were computed before$' said
    [ ! -e out.plan.partial ]
    # what is of another run is refused, and so is what is no file
    echo else >out.plan.partial
    fails_with "out.plan.partial' is of another run" "${run[@]}" -q -f --resume "$TINY_QWEN3" docs.jsonl
    rm out.plan.partial
    ln -s docs.jsonl out.plan.partial
    fails_with 'out.plan.partial' "${run[@]}" -q -f --resume "$TINY_QWEN3" docs.jsonl
    run -2 moe-bench refine --resume --plan start.plan "$TINY_QWEN3" docs.jsonl
    run -2 moe-bench refine --resume -o - --plan start.plan "$TINY_QWEN3" docs.jsonl
}
