#!/usr/bin/env bats
# moe-bench: perplexity, compare and speed, on the models in examples/ and against reference values.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    for i in 1 2 3; do
        jq -cn --rawfile t "$ROOT/LICENSE" --argjson i $i '{category: "law", text: $t[0:($i * 300)]}'
        jq -cn --rawfile t "$ROOT/lib/base/num.h" --argjson i $i '{category: "code", text: $t[($i * 200):1500]}'
    done >docs.jsonl
    echo '{"category": "one", "ids": [7]}' >>docs.jsonl
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp "$BATS_FILE_TMPDIR/docs.jsonl" .
}

# close_to GOLDEN TOLERANCE: result.json has the golden's numbers, relative.
close_to() {
    jq -e --slurpfile g "$1" --argjson tol "$2" '
        def near(a; b): a.tokens == b.tokens and
            ((a.nll - b.nll) | fabs) <= $tol * b.nll and ((a.ppl - b.ppl) | fabs) <= $tol * b.ppl;
        . as $r | $g[0] as $g
        | near($r.total; $g.total) and ($r.category | keys) == ($g.category | keys) and
          all($g.category | keys[]; near($r.category[.]; $g.category[.]))' result.json >/dev/null || {
        jq -c .total "$1" result.json
        return 1
    }
}

@test "perplexity: categories add up, whatever the passes" {
    moe-bench perplexity --precision f32 --json "$TINY_QWEN3" docs.jsonl >one.json
    moe-bench perplexity --precision f32 --json --mem-max 600kB --threads 2 --chunk-tokens 64 \
        "$TINY_QWEN3" docs.jsonl >many.json
    cmp one.json many.json
    jq -e '(.total.tokens == ([.category[].tokens] | add)) and .category.one == {tokens: 0, nll: 0, ppl: null}
        and ((.total.nll / .total.tokens | exp) / .total.ppl - 1 | fabs) < 1e-12
        and .total.ppl > 2 and .total.ppl < 1000' one.json
}

@test "perplexity: table for people, -o writes a file" {
    run --separate-stderr moe-bench perplexity "$TINY_GPTOSS" docs.jsonl
    [ "$status" -eq 0 ]
    [[ ${lines[0]} =~ ^category\ +tokens\ +nll/token\ +perplexity$ ]]
    [[ ${lines[-1]} == total* ]]
    moe-bench perplexity -o table.txt "$TINY_GPTOSS" docs.jsonl
    [ "$output" = "$(cat table.txt)" ]
    fails_with table.txt moe-bench perplexity -q -o table.txt "$TINY_GPTOSS" docs.jsonl
}

@test "perplexity: reference values of the trained models in float32" {
    need_shared
    for m in tiny-qwen3 tiny-gptoss; do
        moe-bench perplexity --precision f32 --max-len 512 --json "$SHARED/models/$m" "$SHARED/data/eval.jsonl" >result.json
        close_to "$SHARED/models/$m/golden/perplexity.json" 1e-4
    done
}

@test "perplexity: reference values of the trained models within 0.5% in bf16" {
    need_shared
    for m in tiny-qwen3 tiny-gptoss; do
        moe-bench perplexity --precision bf16 --max-len 512 --json "$SHARED/models/$m" "$SHARED/data/eval.jsonl" >result.json
        close_to "$SHARED/models/$m/golden/perplexity.json" 5e-3
    done
}

@test "perplexity: reference values of the larger trained models" {
    trained pico-qwen3 pico-gptoss
    [ -n "$MOE_SLOW" ] || skip "takes a minute; set MOE_SLOW=1"
    for m in "${TRAINED[@]}"; do
        moe-bench perplexity -q --precision f32 --max-len 512 --json "$SHARED/models/$m" \
            "$SHARED/data/eval.jsonl" >result.json
        close_to "$SHARED/models/$m/golden/perplexity.json" 1e-4
    done
}

@test "perplexity: reference values of the larger trained models within 0.5% in bf16" {
    trained pico-qwen3 pico-gptoss
    [ -n "$MOE_SLOW" ] || skip "takes half a minute; set MOE_SLOW=1"
    for m in "${TRAINED[@]}"; do
        moe-bench perplexity -q --precision bf16 --max-len 512 --json "$SHARED/models/$m" \
            "$SHARED/data/eval.jsonl" >result.json
        close_to "$SHARED/models/$m/golden/perplexity.json" 5e-3
    done
}

@test "compare: a model with itself" {
    moe-bench compare --precision f32 --json --max-kl 0 "$TINY_QWEN3" "$TINY_QWEN3" docs.jsonl >r.json
    jq -e '.candidates[0].total | .kl_mean == 0 and .kl_max == 0 and .same_top == 1 and .ppl_ratio == 1 and .nll == .nll_ref' r.json
    moe-bench perplexity --precision f32 --json "$TINY_QWEN3" docs.jsonl >p.json
    jq -en --slurpfile r r.json --slurpfile p p.json \
        '$r[0].candidates[0].total as $r | $p[0].total as $p | $r.tokens == $p.tokens and ($r.nll / $p.nll - 1 | fabs) < 1e-6'
}

# make_plan MODEL RATIO: plan.tsv over docs.jsonl.
make_plan() {
    moe-observe -q --precision f32 -o run.stats "$1" docs.jsonl
    moe-score -q -r "$2" -o plan.tsv run.stats
}

# masked_is_cut KL: the same numbers in masked.json and cut.json, and a divergence above KL.
masked_is_cut() {
    jq -en --argjson kl "$1" --slurpfile a masked.json --slurpfile b cut.json '
        def near(x; y): (x - y | fabs) <= 1e-5 * (1 + (y | fabs));
        $a[0].candidates[0].total as $a | $b[0].candidates[0].total as $b
        | $a.kl_mean > $kl and all($a | keys[]; near($a[.]; $b[.]))'
}

@test "compare: a masked model is the pruned model" {
    for m in "$TINY_QWEN3" "$TINY_GPTOSS"; do
        rm -rf run.stats plan.tsv pruned
        make_plan "$m" 0.25
        moe-prune -q "$m" plan.tsv pruned
        moe-bench compare --precision f32 --json --plan plan.tsv "$m" docs.jsonl >masked.json
        moe-bench compare --precision f32 --json pruned "$m" docs.jsonl >cut.json
        masked_is_cut 1e-3
    done
}

@test "compare: a masked model is the pruned model, whatever the router" {
    for i in 1 2 3; do
        echo "{\"ids\": [$(seq -s, "$i" 3 60), $i, 7, 2]}"
    done >ids.jsonl
    for m in deepseek-v2-greedy ernie4_5-interval glm4-mtp llama4-wrapper mixtral-window minimax-m2-fp8 qwen2-window; do
        m="$ROOT/tests/fixtures/$m"
        rm -rf run.stats plan.tsv pruned
        moe-observe -q --precision f32 -o run.stats "$m" ids.jsonl
        moe-score -q -r 0.25 -o plan.tsv run.stats
        moe-prune -q "$m" plan.tsv pruned
        moe-bench compare --precision f32 --json --plan plan.tsv "$m" ids.jsonl >masked.json
        moe-bench compare --precision f32 --json pruned "$m" ids.jsonl >cut.json
        masked_is_cut 1e-6
    done
}

@test "compare: --max-kl answers with the exit status" {
    make_plan "$TINY_QWEN3" 0.5
    run --separate-stderr moe-bench compare --plan plan.tsv --max-kl 1e-6 "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 3 ]
    [[ $stderr == *"is above --max-kl 1e-6"* ]]
    [[ ${lines[-2]} == total* ]]
    moe-bench compare --plan plan.tsv --max-kl 100 "$TINY_QWEN3" docs.jsonl
}

@test "compare: passes and threads do not change a byte" {
    make_plan "$TINY_GPTOSS" 0.25
    moe-bench compare --json --threads 1 --plan plan.tsv "$TINY_GPTOSS" docs.jsonl >one.json
    moe-bench compare --json --threads 2 --chunk-tokens 64 --mem-max 600kB --plan plan.tsv \
        "$TINY_GPTOSS" docs.jsonl >many.json
    cmp one.json many.json
}

@test "compare: refused are other tokenizers, other models' plans, plans that keep too few" {
    cp -r "$TINY_QWEN3" other
    chmod -R u+w other
    sed -i 's/"lstrip": *false/"lstrip": true/' other/tokenizer.json
    run -1 cmp -s other/tokenizer.json "$TINY_QWEN3/tokenizer.json"
    fails_with 'tokenizer.json' moe-bench compare -q other "$TINY_QWEN3" docs.jsonl
    make_plan "$TINY_QWEN3" 0.25
    fails_with 'another model' moe-bench compare -q --plan plan.tsv "$TINY_GPTOSS" docs.jsonl
    awk -F '\t' -v OFS='\t' '!/^#/ && $1 == 0 && $2 > 0 {$3 = 0} {print}' plan.tsv >few.tsv
    fails_with 'keeps [01] experts of layer 0' moe-bench compare -q --plan few.tsv "$TINY_QWEN3" docs.jsonl
}

@test "compare: another vocabulary is refused" {
    "$BUILD/tests/mkmodel" vocab=96 qwen3 small
    echo '{"ids": [1, 2, 3]}' >ids.jsonl
    fails_with 'vocabulary' moe-bench compare -q "$TINY_QWEN3" small ids.jsonl
}

# make_plans MODEL: four plans, two of them alike.
make_plans() {
    make_plan "$1" 0.25
    moe-score -q -c frequency -r 0.5 -o half.tsv run.stats
    moe-score -q -c ean_mean -r 0.25 -o mean.tsv run.stats
    cp half.tsv again.tsv
}

@test "compare: many plans and models at once give what each gives alone" {
    make_plans "$TINY_GPTOSS"
    moe-prune -q "$TINY_GPTOSS" mean.tsv pruned
    moe-bench compare --json --plan plan.tsv --model pruned --plan half.tsv --plan mean.tsv --plan again.tsv \
        "$TINY_GPTOSS" docs.jsonl >all.json
    jq -r '.candidates[].name' all.json | diff - <(printf '%s\n' plan.tsv half.tsv mean.tsv again.tsv pruned)
    for p in plan half mean again; do
        moe-bench compare --json --plan $p.tsv "$TINY_GPTOSS" docs.jsonl >one.json
        diff <(jq --arg p $p.tsv '.candidates[] | select(.name == $p)' all.json) <(jq '.candidates[]' one.json)
    done
    moe-bench compare --json pruned "$TINY_GPTOSS" docs.jsonl >one.json
    diff <(jq '.candidates[4]' all.json) <(jq '.candidates[0]' one.json)
    jq -e '.reference | endswith("tiny-gptoss")' all.json
}

@test "compare: tables are at most 100 columns wide, whatever the names" {
    local i plans=() long="a category of café owners, with a name that is far too long to stand in a table beside numbers"
    make_plans "$TINY_QWEN3"
    for i in {1..9}; do
        cp half.tsv "$long $i.tsv"
        plans+=(--plan "$long $i.tsv")
    done
    jq -c --arg a "$long" '.category = $a | ., (.category = "short")' docs.jsonl | head -n 6 >named.jsonl
    columns() { awk '{ gsub(/[\200-\277]/, ""); if (length > most) most = length } END { print most }' "$1"; }
    export LC_ALL=C # awk counts bytes
    moe-bench compare -q "${plans[@]}" "$TINY_QWEN3" named.jsonl >many
    [ "$(columns many)" -le 100 ]
    # both ends are there; eight candidates beside each other, then the ninth
    [ "$(grep -c '^  [1-9] a category ...umbers [1-9]\.tsv  ' many)" = 18 ]
    [ "$(grep -c '^a catego...e numbers ' many)" = 2 ]
    grep -qE '^mean KL +1 +2 +3 +4 +5 +6 +7 +8$' many
    grep -qE '^mean KL +9$' many
    moe-bench compare -q --plan half.tsv "$TINY_QWEN3" named.jsonl >one
    [ "$(grep -v '^mean over' one >'cut'; columns 'cut')" -le 100 ]
    [ "$(grep -c '^a catego...e numbers ' one)" = 2 ]
    [ "$(grep -c '^total ' one)" = 2 ]
    grep -q "worst category .* (0" one
}

@test "compare: the worst category, mean over categories, and limits for each candidate" {
    make_plans "$TINY_QWEN3"
    moe-bench compare --json --plan plan.tsv --plan half.tsv "$TINY_QWEN3" docs.jsonl >r.json
    jq -e 'all(.candidates[]; (.category | map_values(.kl_mean) | to_entries | map(select(.value != null))) as $c
        | .worst_kl == ($c | map(.value) | max) and .worst_kl == .category[.worst].kl_mean and .within
          and ((($c | map(.value) | add) / ($c | length)) / .category_mean - 1 | fabs) < 1e-12)' r.json
    limit=$(jq '[.candidates[].worst_kl] | add / 2' r.json)
    run --separate-stderr moe-bench compare --json --plan plan.tsv --plan half.tsv --max-kl-category "$limit" \
        "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 3 ]
    [[ $stderr == *"moe-bench compare: half.tsv: mean divergence "*" on "*" is above --max-kl-category $limit" ]]
    [ "$(jq -c '[.candidates[].within]' <<<"$output")" = '[true,false]' ]
}

@test "compare: --tsv says what --json says, a line for each candidate and category" {
    make_plan "$TINY_QWEN3" 0.25
    moe-score -q -r 0.5 --budget global --min-keep 2 -o uneven.tsv run.stats
    moe-prune -q "$TINY_QWEN3" plan.tsv pruned
    jq -c '.category = "a\tb" | ., (.category = "short" | {category, ids: [7]})' docs.jsonl | head -n 6 >odd.jsonl
    for how in --json --tsv; do
        moe-bench compare -q $how --max-kl 0.01 --plan plan.tsv --plan uneven.tsv --model pruned -o out$how "$TINY_QWEN3" odd.jsonl || [ $? -eq 3 ]
    done
    head -n 1 out--tsv | grep -qx '#moe-compare 1'
    tail -n 1 out--tsv | grep -qx '#end	rows=9'
    # named columns, the same numbers
    jq -r '.candidates[] | . as $c | ({"*": .total} + .category) | to_entries[] | [$c.name, $c.kind, $c.bytes // "nan",
        if $c.within then 1 else 0 end, (.key | sub("\t"; "\\t")), (if .key == "*" then $c.category_mean else .value.kl_mean end),
        .value.tokens, .value.ppl_ratio] | map(. // "nan" | tostring) | join(" ")' out--json >want
    awk -F '\t' '/^#columns/ { for (i = 2; i <= NF; i++) at[$i] = i - 1 }
        !/^#/ { print $at["candidate"], $at["kind"], $at["bytes"], $at["within"], $at["category"], $at["category_mean"], $at["tokens"], $at["ppl_ratio"] }' out--tsv >got
    awk 'FNR == NR { line[FNR] = $0; next }
        { n = split(line[FNR], w); for (i = 1; i <= n; i++) if (w[i] != $i && !((w[i] - $i) ^ 2 < 1e-12)) exit 1 }
        END { if (FNR != 9) exit 1 }' want got
    # sizes: of what would be written, and of what was; none where nothing can be
    size=$(jq .candidates[2].bytes out--json)
    [ "$(cat pruned/*.safetensors | wc -c)" -eq "$size" ]
    jq -e ".candidates[0].bytes == $size and .candidates[1].bytes == null and .reference_bytes > $size" out--json
    run -2 moe-bench compare --json --tsv --plan plan.tsv "$TINY_QWEN3" odd.jsonl
}

@test "compare: tables for people, of one candidate and of several" {
    make_plans "$TINY_QWEN3"
    run moe-bench compare -q --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    [[ ${lines[-1]} =~ ^mean\ over\ categories\ [0-9.]+,\ worst\ category\ (code|law)\ \([0-9.]+\)$ ]]
    run moe-bench compare -q --plan plan.tsv --plan half.tsv "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 0 ]
    [[ ${lines[7]} =~ ^\ \ 2\ half.tsv\ .*\ (code|law)\ \([0-9.]+\)$ ]]
    [[ ${lines[-1]} =~ ^one\ +0\.00000\ +0\.00000$ ]]
}

@test "compare --cache: made once, then read: the same bytes, close to the whole vocabulary's" {
    for m in "$TINY_QWEN3" "$TINY_GPTOSS"; do
        rm -f run.stats ./*.tsv ref.lp ./*.json
        make_plans "$m"
        compare=(moe-bench compare -q --json --plan plan.tsv --plan half.tsv --plan mean.tsv)
        "${compare[@]}" "$m" docs.jsonl >exact.json
        "${compare[@]}" --cache ref.lp "$m" docs.jsonl >made.json
        cp ref.lp kept.lp
        "${compare[@]}" --cache ref.lp "$m" docs.jsonl >read.json
        cmp made.json read.json
        cmp ref.lp kept.lp
        "${compare[@]}" --cache few.lp --mem-max 1200kB --threads 2 "$m" docs.jsonl >passes.json
        cmp few.lp ref.lp
        cmp passes.json read.json
        # divergence, of which a part is drawn, within one percent; all else the same
        jq -en --slurpfile a exact.json --slurpfile b read.json '
            ($a[0].candidates | map(.total)) as $a | $b[0] as $r | ($r.candidates | map(.total)) as $b
            | $r.cached and $r.rest > 0 and $r.rest < 0.5 and all(range(3);
                ($b[.].kl_mean / $a[.].kl_mean - 1 | fabs) < 1e-2 and $b[.].same_top == $a[.].same_top
                and ($b[.].ppl_ratio / $a[.].ppl_ratio - 1 | fabs) < 1e-9
                and ($b[.].rms_dp / $a[.].rms_dp - 1 | fabs) < 1e-6)'
        # a model with itself
        moe-bench compare -q --json --cache ref.lp "$m" "$m" docs.jsonl |
            jq -e '.candidates[0].total | .kl_max == 0 and .same_top == 1 and .ppl_ratio == 1'
        rm few.lp
    done
}

@test "compare --cache: a file of other text, another model, other weights or another precision is refused" {
    make_plan "$TINY_QWEN3" 0.25
    moe-bench compare -q --precision f32 --cache ref.lp --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    refused() { # PATTERN COMMAND...
        fails_with "'ref.lp' $1.*--force" moe-bench compare -q --cache ref.lp "${@:2}"
    }
    head -n 3 docs.jsonl >other.jsonl
    refused 'was made from other text' --precision f32 --plan plan.tsv "$TINY_QWEN3" other.jsonl
    refused 'was made from other text' --precision f32 --plan plan.tsv --max-len 99 "$TINY_QWEN3" docs.jsonl
    refused 'was made from another model' --precision f32 "$TINY_GPTOSS" "$TINY_GPTOSS" docs.jsonl
    cp -r "$TINY_QWEN3" tuned
    chmod -R u+w tuned
    printf '\0' | dd of=tuned/model.safetensors bs=1 conv=notrunc status=none \
        seek=$(($(stat -c %s tuned/model.safetensors) - 100))
    refused 'was made from a model with other weights' --precision f32 --plan plan.tsv tuned docs.jsonl
    mv ref.lp good.lp
    echo 'something else' >ref.lp
    refused 'is no file of log-probabilities' --precision f32 --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    moe-bench compare -q -f --precision f32 --cache ref.lp --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    cmp ref.lp good.lp
}

@test "compare --cache: a damaged or cut file is refused, and a failed run leaves none" {
    make_plan "$TINY_QWEN3" 0.25
    moe-bench compare -q --cache ref.lp --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    for cut in -1 150; do
        head -c $cut ref.lp >cut.lp
        fails_with 'cut.lp. is truncated' moe-bench compare -q --cache cut.lp --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    done
    cp ref.lp bad.lp
    printf '\1' | dd of=bad.lp bs=1 seek=5000 conv=notrunc status=none
    fails_with 'bad.lp. is damaged' moe-bench compare -q --cache bad.lp --plan plan.tsv "$TINY_QWEN3" docs.jsonl
    fails_with 'plan' moe-bench compare -q --cache new.lp --plan docs.jsonl "$TINY_QWEN3" docs.jsonl
    [ ! -e new.lp ]
}

@test "compare --cache: not in the place of a plan, the text or the result" {
    make_plan "$TINY_QWEN3" 0.25
    cp docs.jsonl text.jsonl
    cp plan.tsv mine.tsv
    for args in "--cache -" "--cache new -o ./new" "--cache mine.tsv" "--cache ./text.jsonl" "-o mine.tsv" "-o text.jsonl"; do
        # shellcheck disable=SC2086 # words on purpose
        run -2 moe-bench compare -f $args --plan mine.tsv "$TINY_QWEN3" text.jsonl
    done
    cmp mine.tsv plan.tsv
    cmp text.jsonl docs.jsonl
    [ ! -e new ]
}

@test "compare: a category's name does not steer the terminal" {
    make_plan "$TINY_QWEN3" 0.25
    printf '{"ids":[5,6,7],"category":"a\\u001b[2Jb"}\n' >odd.jsonl
    moe-bench compare -q --plan plan.tsv "$TINY_QWEN3" odd.jsonl >table
    moe-bench compare -q --plan plan.tsv --plan plan.tsv "$TINY_QWEN3" odd.jsonl >>table
    [ "$(grep -c 'a?\[2Jb' table)" -eq 6 ]
    run ! grep -q $'\033' table
}

@test "compare: enough operands, numbers that are numbers" {
    ln -s "$TINY_QWEN3" model # a name without spaces, whatever the checkout is called
    for args in "--plan a model" "--model a model" "model docs.jsonl" "--max-kl much a b docs.jsonl" \
        "--max-kl-category -1 a b docs.jsonl"; do
        # shellcheck disable=SC2086 # words on purpose
        run moe-bench compare $args
        [ "$status" -eq 2 ] || { echo "status $status: $args"; return 1; }
    done
}

@test "speed: what it measured" {
    moe-bench speed --docs 2 --tokens 64 --repeat 1 --json "$TINY_QWEN3" >s.json
    jq -e '.tokens == 128 and .prefill_tokens_per_second > 0 and .observe_tokens_per_second > 0 and .flops > 0 and
        .peak_flops_per_second > .flops_per_second and .read_bytes > 1000000 and .peak_bytes > 1000000 and
        .prefill_tokens_per_second_without_waiting >= .prefill_tokens_per_second and .fraction_of_peak > 0 and
        .peak_device_bytes >= 0' s.json
    run moe-bench speed --docs 2 --tokens 64 --repeat 1 "$TINY_GPTOSS"
    [ "$status" -eq 0 ]
    [[ $output == *"prefill "*" tokens/s"* ]]
}

@test "usage: help of all subcommands, unknown ones, none" {
    run moe-bench --help
    [ "$status" -eq 0 ]
    for s in $(moe-bench --list-subcommands); do
        [[ $output == *"moe-bench $s"* ]]
        run moe-bench "$s" --help
        [ "$status" -eq 0 ]
        [[ $output == "moe-bench $s -- "* ]]
        [[ $output == *"man moe-bench, "* ]]
        run moe-bench --help
    done
    run moe-bench
    [ "$status" -eq 2 ]
    run moe-bench juggle
    [ "$status" -eq 2 ]
    [[ $output == *"unknown subcommand 'juggle': there are perplexity, compare, refine, repair and speed"* ]]
    run moe-bench -q speed
    [ "$status" -eq 2 ]
    [[ $output == *"come after the subcommand 'speed'"* ]]
}

@test "compare: the same tokenizer in another layout is the same, another is refused" {
    local t=tokenizer.json
    echo '{"text":"The quick brown fox."}' >t.jsonl
    for name in indented merges truncation ids other; do cp -rL "$TINY_QWEN3" $name; done
    jq --indent 7 -S . "$TINY_QWEN3/$t" >indented/$t
    jq '.model.merges |= map(if type == "array" then join(" ") else split(" ") end)' "$TINY_QWEN3/$t" >merges/$t
    jq '.truncation = {direction: "Right", max_length: 2048, strategy: "LongestFirst", stride: 0}' "$TINY_QWEN3/$t" >truncation/$t
    jq '(.model.vocab | to_entries | map(select(.key | length == 3)) | .[0:2] | map(.key)) as [$a, $b] |
        .model.vocab as $v | .model.vocab[$a] = $v[$b] | .model.vocab[$b] = $v[$a]' "$TINY_QWEN3/$t" >other/$t
    # ids beside tokens of the vocabulary count for nothing
    jq '.added_tokens[0].id += 1' "$TINY_QWEN3/$t" >ids/$t
    for name in indented merges truncation ids; do
        run -1 cmp -s $name/$t "$TINY_QWEN3/$t"
        moe-bench compare -q $name "$TINY_QWEN3" t.jsonl >/dev/null
    done
    fails_with "the tokenizer of other .'tokenizer.json'. differs" moe-bench compare -q other "$TINY_QWEN3" t.jsonl
}

@test "progress: a line ends before the result; heads count; in a file whole lines only" {
    local long
    long=$(for i in {1..60}; do cat "$ROOT/README.md"; done | tr '\n' ' ' | fold -s -w 6000 | jq -Rc '{text: .}')
    head -n 150 <<<"$long" >long.jsonl
    script -qec "moe-bench perplexity --threads 1 --progress '$TINY_QWEN3' long.jsonl" /dev/null </dev/null | tr '\r' '\n' >shown
    grep -q 'scoring .*%.*, layer [1-4] of 4, [0-9]* tokens/s, [0-9]* s' shown || skip "too fast for progress here"
    run ! grep -E 'scoring.*category +tokens' shown
    moe-bench perplexity --threads 1 --progress "$TINY_QWEN3" long.jsonl 2>log >table
    run ! grep -q $'[\r\033]' log
}
