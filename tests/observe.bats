#!/usr/bin/env bats
# moe-observe: the same bytes whatever the threads, chunks and passes; what it refuses; what it says.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    # Six documents of different length in two categories; one of a single token, as ids.
    for i in 1 2 3; do
        jq -cn --rawfile t "$ROOT/LICENSE" --argjson i $i '{category: "law", text: $t[0:($i * 300)]}'
        jq -cn --rawfile t "$ROOT/lib/base/num.h" --argjson i $i '{category: "code", text: $t[($i * 200):1300]}'
    done >docs.jsonl
    echo '{"category": "code", "ids": [7]}' >>docs.jsonl
    moe-observe -q --precision f32 --threads 1 -o base.stats "$TINY_QWEN3" docs.jsonl
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp "$BATS_FILE_TMPDIR/docs.jsonl" .
}

again() { # OPTION...: observes once more; the file must be the same
    moe-observe -q --precision f32 -f -o again.stats "$@" "$TINY_QWEN3" docs.jsonl
    cmp "$BATS_FILE_TMPDIR/base.stats" again.stats
}

@test "the same bytes in a second run" {
    again --threads 1
}

@test "the same bytes with two threads" {
    again --threads 2
}

@test "the same bytes in chunks of 64 and of 1000 tokens" {
    again --chunk-tokens 64
    again --chunk-tokens 1000
}

@test "the same bytes with hidden states in host memory" {
    again --states-on-host
    again --states-on-host --chunk-tokens 64
}

@test "the same bytes in several passes" {
    moe-observe -q --precision f32 --json -o passes.stats --mem-max 300kB "$TINY_QWEN3" docs.jsonl >summary.json
    [ "$(jq .passes summary.json)" -gt 2 ]
    cmp "$BATS_FILE_TMPDIR/base.stats" passes.stats
}

@test "the same bytes in bf16 with any threads, chunks and passes" {
    moe-observe -q --precision bf16 --threads 1 -o one.stats "$TINY_GPTOSS" docs.jsonl
    moe-observe -q --precision bf16 --threads 2 --chunk-tokens 64 --mem-max 200kB -o two.stats "$TINY_GPTOSS" docs.jsonl
    cmp one.stats two.stats
}

@test "every token is routed to top-k experts in every layer, in its category and half" {
    jq -e '.tokens' <(moe-observe -n --json -o x.stats "$TINY_QWEN3" docs.jsonl) >/dev/null
    moe-observe -n --json "$TINY_QWEN3" docs.jsonl >forecast.json
    for k in law code; do
        tokens=$(jq ".category.$k.tokens" forecast.json)
        # layer -> routed tokens of the category: always 2 a token
        awk -F '\t' -v k=$k '$2 == k {n[$1] += $5} END {for (l in n) print n[l]}' \
            "$BATS_FILE_TMPDIR/base.stats" | sort -u >routed
        [ "$(cat routed)" -eq $((2 * tokens)) ]
    done
    [ "$(jq .documents forecast.json)" -eq 7 ]
    # gate weights of a token add up to one, so Σg is the number of tokens
    awk -F '\t' '!/^#/ && $1 == 0 {g += $6; n += $5} END {d = g - n / 2; exit !(d < 1e-3 && d > -1e-3)}' \
        "$BATS_FILE_TMPDIR/base.stats"
    # law has documents 1, 3 and 5 of the input: two in half 0, one in half 1
    awk -F '\t' '$2 == "law" && $1 == 0 {n[$3] += $5} END {exit !(n[0] > n[1] && n[1] > 0)}' \
        "$BATS_FILE_TMPDIR/base.stats"
}

@test "documents do not change with their neighbours" {
    grep law docs.jsonl >law.jsonl
    moe-observe -q --precision f32 -o law.stats "$TINY_QWEN3" law.jsonl
    grep -P '^\d+\tlaw\t' law.stats >alone
    grep -P '^\d+\tlaw\t' "$BATS_FILE_TMPDIR/base.stats" >among
    cmp alone among
}

@test "the run line says precision, length and template, and nothing of the machine" {
    moe-observe -q --precision f32 --max-len 100 -o short.stats "$TINY_QWEN3" docs.jsonl
    grep -q $'^#run\tprecision=f32\tmaxlen=100\tchat=-$' short.stats
    run ! grep -q "$(uname -n)" short.stats
}

@test "chat documents name their template in the run line" {
    echo '{"messages": [{"role": "user", "content": "hello"}]}' >chat.jsonl
    moe-observe -q --precision f32 -o chat.stats "$TINY_QWEN3" chat.jsonl
    grep -qP '^#run\t.*\tchat=[^-]' chat.stats
}

@test "a dry run computes and writes nothing" {
    run moe-observe -n -o dry.stats "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 0 ]
    [[ $output == *"passes       1, "*" to read, "*" operations"* ]]
    [ ! -e dry.stats ]
}

@test "noisy categories and cut documents are warned of, unless quiet" {
    run --separate-stderr moe-observe -n --max-len 50 "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 0 ]
    [[ $stderr == *"2 of 2 categories have fewer than"* ]]
    [[ $stderr == *"6 of 7 documents were cut to 50 tokens"* ]]
    run --separate-stderr moe-observe -q -n --max-len 50 "$TINY_QWEN3" docs.jsonl
    [ -z "$stderr" ]
}

@test "the last line says documents, tokens, speed and memory" {
    run --separate-stderr moe-observe -o run.stats "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 0 ]
    [[ ${stderr_lines[-1]} =~ ^"moe-observe: 7 documents, "[0-9,]+" tokens in "[0-9.]+" s: "[0-9]+" tokens/s, peak memory " ]]
}

@test "statistics to standard output" {
    moe-observe -q --precision f32 -o - "$TINY_QWEN3" docs.jsonl >out.stats
    cmp "$BATS_FILE_TMPDIR/base.stats" out.stats
}

@test "an existing output is refused before the work, and replaced with -f" {
    echo old >run.stats
    fails_with 'run.stats' moe-observe -q -o run.stats "$TINY_QWEN3" docs.jsonl
    [ "$(cat run.stats)" = old ]
    moe-observe -q -f -o run.stats "$TINY_QWEN3" docs.jsonl
    head -n 1 run.stats | grep -q '^#moe-stats 1$'
}

@test "refused: no tokens, ids out of range, an unwritable output, no CUDA" {
    : >empty.jsonl
    fails_with 'no document' moe-observe -q -o x.stats "$TINY_QWEN3" empty.jsonl
    echo '{"ids": [1, 99999999]}' >big.jsonl
    fails_with '99999999' moe-observe -q -o x.stats "$TINY_QWEN3" big.jsonl
    fails_with 'no/such' moe-observe -q -o no/such/x.stats "$TINY_QWEN3" docs.jsonl
    MOE_BACKENDS=no/such fails_with 'no backend libmoe-cuda.so in .no/such' moe-observe -q --device cuda -o x.stats "$TINY_QWEN3" docs.jsonl
    [ ! -e x.stats ]
}

@test "where the GPU cannot be used, the CPU computes and one line says why" {
    mkdir backends
    echo 'no object' >backends/libmoe-cuda.so
    MOE_BACKENDS=backends run --separate-stderr moe-observe --device auto -o cpu.stats "$TINY_QWEN3" docs.jsonl
    [ "$status" -eq 0 ]
    [ "$(grep -c 'computing on the CPU: the backend cannot be loaded: .*libmoe-cuda.so' <<<"$stderr")" -eq 1 ]
    moe-observe -q --device cpu -o same.stats "$TINY_QWEN3" docs.jsonl
    cmp cpu.stats same.stats
}

@test "usage errors exit 2" {
    ln -s "$TINY_QWEN3" model # a name without spaces, whatever the checkout is called
    for args in "" "-o x" "-o x model" "model docs.jsonl" "-o - --json model docs.jsonl" \
        "-o x --precision f64 model docs.jsonl" "-o x --device GPU model docs.jsonl" \
        "-o x --device cuda:x model docs.jsonl" "-o x --threads 0 model docs.jsonl"; do
        # shellcheck disable=SC2086 # words on purpose
        run moe-observe $args
        [ "$status" -eq 2 ] || { echo "status $status: $args"; return 1; }
    done
}

more() { # OPTION...: statistics, matrices and reservoir; in more/
    mkdir -p more
    moe-observe -q --precision f32 -f -o more/stats --matrices more/mat --reservoir more/res --reservoir-tokens 200 \
        "$@" "$TINY_QWEN3" docs.jsonl
}

@test "matrices and reservoir: the same bytes with any threads, chunks and passes; statistics stay as they are" {
    more --threads 1
    cmp more/stats "$BATS_FILE_TMPDIR/base.stats"
    mv more base
    for o in "--threads 2" "--chunk-tokens 64" "--threads 2 --mem-max 300kB --chunk-tokens 100"; do
        # shellcheck disable=SC2086 # words on purpose
        more $o
        for f in stats mat res; do cmp base/$f more/$f; done
    done
}

@test "matrices and reservoir: the sizes that are foretold, with pairs by category and pooled" {
    for pool in "" --pool-pairs; do
        more $pool
        moe-observe -n --json --precision f32 --matrices m --reservoir r --reservoir-tokens 200 $pool "$TINY_QWEN3" \
            docs.jsonl >forecast.json
        for f in mat res; do
            header=$(od -An -N8 -tu8 more/$f)
            data=$(($(stat -c %s more/$f) - 8 - header))
            name=$([ $f = mat ] && echo matrices || echo reservoir)
            # a category without enough tokens makes a reservoir smaller
            [ $data -le "$(jq ".${name}_bytes" forecast.json)" ]
            [ $f = res ] || [ $data -eq "$(jq ".${name}_bytes" forecast.json)" ]
        done
        grep -ao '"pairs":"[a-z ]*"' more/mat >>pairs
    done
    [ "$(cat pairs)" = $'"pairs":"by category"\n"pairs":"pooled"' ]
    run moe-observe -n -q --matrices m --reservoir r "$TINY_QWEN3" docs.jsonl
    [[ $output == *"matrices     "*" on disk"* && $output == *"reservoir    "*" on disk"* ]]
}

@test "matrices and reservoir: what is refused" {
    wrong() { # MESSAGE OPTION...
        run -2 moe-observe -o run.stats "${@:2}" "$TINY_QWEN3" docs.jsonl
        [[ $output == *"$1"* ]]
    }
    wrong '--pool-pairs goes with --matrices' --pool-pairs
    wrong '--reservoir-tokens goes with --reservoir' --reservoir-tokens 5
    wrong 'the same file' --matrices run.stats
    wrong 'the same file' --matrices ./run.stats
    wrong 'one of the inputs' -f -o ./docs.jsonl
    wrong 'one of the inputs' -f --matrices docs.jsonl
    wrong 'the same file' --matrices x --reservoir x
    wrong 'a file of its own' --matrices -
    wrong 'too small for 2 categories' --reservoir x --reservoir-tokens 1
    : >there
    fails_with 'there.*exists' moe-observe -q -o run.stats --matrices there "$TINY_QWEN3" docs.jsonl
    fails_with 'cannot write .*File too large' \
        bash -c "ulimit -f 64; moe-observe -q -o run.stats --matrices big.mat '$TINY_QWEN3' docs.jsonl"
    [ ! -e run.stats ]
    [ ! -e x ]
    [ ! -e big.mat ]
}

@test "shards: every n-th document, together the whole" {
    for i in 1 2 3; do
        moe-observe -q --precision f32 --shard $i/3 --matrices $i.matrices -o $i.stats "$TINY_QWEN3" docs.jsonl
        grep -q "^#part.*shard=$i/3" $i.stats
    done
    [ "$(awk -F'\t' '/^#part/ {split($4, d, "="); n += d[2]} END {print n}' [123].stats)" = 7 ]
    # counts are those of the whole; sums may differ in their last digits
    counts() { awk -F'\t' -v OFS='\t' '!/^#/ {n[$1 OFS $2 OFS $3 OFS $4] += $5} END {for (k in n) print k, n[k]}' "$@" | sort; }
    cmp <(counts [123].stats) <(counts "$BATS_FILE_TMPDIR/base.stats")
    moe-observe -q --precision f32 --matrices whole.matrices -o whole.stats "$TINY_QWEN3" docs.jsonl
    moe-score -q -c gram -r 0.25 --matrices whole.matrices -o whole.plan whole.stats
    moe-score -q -c gram -r 0.25 --matrices 2.matrices --matrices 3.matrices --matrices 1.matrices -o shards.plan \
        [123].stats
    cmp <(cut -f 1-3 whole.plan) <(cut -f 1-3 shards.plan)
    fails_with 'twice' moe-score -q -c gram -r 0.25 --matrices 2.matrices --matrices 2.matrices whole.stats
    fails_with 'no document: there are only 7' moe-observe -q --shard 8/8 -o x "$TINY_QWEN3" docs.jsonl
    for s in 0/2 3/2 2 a/b 1/ /2; do
        run -2 moe-observe -q --shard $s -o x "$TINY_QWEN3" docs.jsonl
    done
}

@test "resume: what an interrupted run left is not computed again, and the bytes are the same" {
    run=(moe-observe --precision f32 --mem-max 300kB "$TINY_QWEN3" docs.jsonl -o run.stats --matrices run.matrices)
    "${run[@]}" -q
    mv run.stats whole.stats
    mv run.matrices whole.matrices
    "${run[@]}" -q --threads 1 --resume &
    pid=$!
    while [ ! -e run.stats.partial ] && kill -0 $pid; do sleep 0.01; done
    kill -TERM $pid
    wait $pid || true
    [ -e run.stats.partial ] || skip "the run was over too soon"
    [ ! -e run.stats ]
    fails_with 'of another run' moe-observe --precision f32 --max-len 9 -q --resume -o run.stats "$TINY_QWEN3" docs.jsonl
    cp run.stats.partial kept
    run --separate-stderr "${run[@]}" --resume
    [ "$status" = 0 ]
    [[ $stderr == *"documents, "*" tokens were finished before"* ]]
    cmp run.stats whole.stats
    cmp run.matrices whole.matrices
    [ ! -e run.stats.partial ]
    [ ! -e run.matrices.partial ]
    fails_with 'other options than those' moe-score -q -o x whole.stats kept
    # As if all documents were in it, which no run leaves.
    sed "4s|.*|$(sed -n 4p whole.stats)|" kept >run.stats.partial
    seal run.stats.partial
    fails_with 'of another run: remove it' moe-observe --precision f32 -f -q --resume -o run.stats "$TINY_QWEN3" docs.jsonl
    # As an earlier version left it.
    sed '/^#end/!s/\t[^\t]*$//; /^#\(model\|run\|part\)/d' kept >rows
    { sed -n '1,/^#part/p' kept; sed 1d rows; } >run.stats.partial
    seal run.stats.partial
    fails_with 'left by an earlier version' moe-observe --precision f32 -f -q --resume -o run.stats "$TINY_QWEN3" docs.jsonl
}

@test "resume: a run that was killed between statistics and matrices" {
    run=(moe-observe -q --precision f32 --mem-max 300kB "$TINY_QWEN3" docs.jsonl -o run.stats --matrices run.matrices)
    "${run[@]}"
    mv run.stats whole.stats
    mv run.matrices whole.matrices
    "${run[@]}" --threads 1 --resume &
    pid=$!
    while [ ! -e run.matrices.partial ] && kill -0 $pid; do sleep 0.01; done
    kill -TERM $pid
    wait $pid || true
    [ -e run.matrices.partial ] || skip "the run was over too soon"
    mkdir kept
    mv run.*.partial kept
    # After the statistics: the matrices have not taken the place of those before yet.
    cp kept/run.stats.partial .
    cp kept/run.matrices.partial run.matrices.partial.next
    cp whole.matrices run.matrices.partial
    "${run[@]}" --resume
    cmp run.stats whole.stats
    cmp run.matrices whole.matrices
    # Before them: matrices of a pass that the statistics do not have.
    cp kept/* .
    cp whole.matrices run.matrices.partial.next
    "${run[@]}" --resume -f
    cmp run.stats whole.stats
    cmp run.matrices whole.matrices
    # When the matrices had their name and the statistics had not; older ones are nobody's.
    cp kept/* .
    rm run.stats
    cp whole.matrices run.matrices
    touch -d 2020-01-01 run.matrices
    run "${run[@]}" --resume
    [ "$status" -eq 1 ]
    [[ $output == *"'run.matrices' exists"* ]]
    touch run.matrices
    "${run[@]}" --resume
    cmp run.stats whole.stats
    cmp run.matrices whole.matrices
    run ls
    [[ $output != *partial* ]]
}

# forecast_of COMMAND...: forecast.json and result.json of a command that takes --json and -o; peaks in MB and how they compare.
forecast_of() {
    "$@" -q --json -n -o none >forecast.json
    /usr/bin/time -f 'peak %M' "$@" -q --json -f -o result >result.json 2>measured
    ratio=$(jq --argjson kb "$(sed -n 's/^peak //p' measured)" '.peak_bytes / ($kb * 1024)' forecast.json)
    echo "$ratio of the peak: $*"
}

@test "dry-run: work and bytes are what a run counts, in every family" {
    local f
    for f in "$ROOT"/tests/fixtures/{qwen3-fp8,gptoss-mxfp4,deepseek-v2-groups,deepseek-v3-half,ernie4_5-bias,glm4-mtp,llama4-flat,minimax-m2-fp8,mixtral-fused,olmoe-clip,qwen2-*}; do
        [ -d "$f" ] || continue
        printf '{"ids":[%s]}\n' "$(seq -s , 0 15)" "$(seq -s , 1 16)" >two.jsonl
        moe-observe -q -n --json -o none "$f" two.jsonl >forecast.json
        moe-bench speed -q --json --docs 2 --tokens 16 --repeat 1 "$f" >run.json
        jq -se '.[0].flops == .[1].flops and .[0].read_bytes == .[1].read_bytes and .[0].passes == 1
            and .[0].seconds > 0 and .[0].flops_per_second > 0 and .[0].read_bytes_per_second > 0' forecast.json run.json ||
            { echo "$f"; cat forecast.json run.json; return 1; }
    done
}

@test "dry-run: peak memory is never below what is measured, and not far above it" {
    [ -x /usr/bin/time ] || skip "no time(1)"
    [[ $BUILD != *-asan ]] || skip "the sanitizer takes memory of its own"
    [ "$MOE_DEVICE" = cpu ] || skip "memory of the host alone"
    local m how ratio
    # Two megabytes of text: what counts is larger than the process.
    for _ in {1..40}; do cat "$ROOT"/README.md "$ROOT/LICENSE"; done | tr '\n' ' ' | fold -s -w 6000 | jq -Rc '{text: .}' >long.jsonl
    moe-observe -q -o run.stats "$TINY_QWEN3" docs.jsonl
    moe-score -q -r 0.5 -o half.plan run.stats
    for m in "$TINY_QWEN3" "$TINY_GPTOSS"; do
        for how in '' '--precision f32' '--mem-max 20MB' '--matrices pairs'; do
            # shellcheck disable=SC2086 # words on purpose
            forecast_of moe-observe $how "$m" long.jsonl
            jq -en --argjson r "$ratio" '$r >= 1 and $r <= 1.25'
            jq -se '.[0].peak_bytes >= .[1].peak_bytes and .[0].passes == .[1].passes and .[0].read_bytes == .[1].read_bytes' \
                forecast.json result.json
        done
    done
    head -n 30 long.jsonl >some.jsonl
    forecast_of moe-bench perplexity "$TINY_QWEN3" some.jsonl
    jq -en --argjson r "$ratio" '$r >= 1 and $r <= 1.25'
    forecast_of moe-bench compare --plan half.plan --plan half.plan "$TINY_QWEN3" some.jsonl
    jq -en --argjson r "$ratio" '$r >= 1 and $r <= 1.25'
    run moe-bench perplexity -n "$TINY_QWEN3" some.jsonl
    [[ $output == *'passes       1, '*' to read, '*'peak memory  '*' available'*'time         about '* ]]
    [ ! -e none ]
}
