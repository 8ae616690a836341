#!/usr/bin/env bats
# The examples: they work, and they do no step twice.
load helper

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    # A plain name for the checkout: make cannot have spaces in file names.
    ln -s "$ROOT/examples" examples
    examples/calibration/own-text examples/../lib/base/*.[ch] >calib.jsonl
    examples/calibration/own-text --held-out examples/../lib/base/*.[ch] >held-out.jsonl
}

# What was written since the file "mark", without what only records how the steps were called.
written() {
    find . -newer mark -type f -not -name mark | sort
}

@test "own-text: valid JSON lines, categories, and no document on both sides" {
    local long
    long=$(printf '%200s' '')
    printf 'tab\there "quoted" back\\slash\001\n\303\244 & \\& end%s\n' "$long" >odd.c
    [ "$(examples/calibration/own-text odd.c)" = \
        '{"category":"c","text":"tab\there \"quoted\" back\\slash \n'$'\303\244'" & \\\\& end$long"'\n"}' ]
    moe-inspect --tokenize calib.jsonl "$TINY_QWEN3" >/dev/null
    [ "$(cat calib.jsonl held-out.jsonl | sort | uniq -d | wc -l)" -eq 0 ]
    [ "$(wc -l <held-out.jsonl)" -ge 3 ]
    examples/calibration/own-text "$ROOT/man/moe.7" "$ROOT/tests/run" >other.jsonl
    grep -q '^{"category":"docs"' other.jsonl
    grep -q '^{"category":"shell"' other.jsonl
}

@test "package-text: documents of packages by category, evenly taken, some held out" {
    export XDG_CACHE_HOME=$PWD/cache
    local i go=cache/moe-tools/golang-github-spf13-cobra-dev/usr/share/gocode man=cache/moe-tools/manpages-de/usr/share/man/de/man1
    mkdir -p "$go" cache/moe-tools/golang-github-stretchr-testify-dev "$man"
    for ((i = 10; i < 90; i++)); do
        printf 'package a%d // "quoted"\n%3000s\n' "$i" '' >"$go/a$i.go"
    done
    { echo '.\" a comment'; echo '.SH NAME'; printf '\\fBschl\\-afe\\fR \\(rsn und \303\244%1500s\n' ''; } | gzip -n >"$man/schlafe.1.gz"
    "$ROOT/examples/calibration/package-text" -n 12 go >go.jsonl
    "$ROOT/examples/calibration/package-text" -n 12 --held-out go >held.jsonl
    [ "$(jq -r .category go.jsonl | uniq -c | tr -s ' ')" = ' 12 go' ]
    [ "$(wc -l <held.jsonl)" -eq 4 ]
    [ "$(cat go.jsonl held.jsonl | sort -u | wc -l)" -eq 16 ]
    [ "$(jq -r '.text[:22]' go.jsonl | sed -n '1p;$p')" = $'package a10 // "quoted\npackage a80 // "quoted' ]
    [ "$("$ROOT/examples/calibration/package-text" german | jq -r '.text[:22]')" = $'NAME\nschl-afe \\n und ä' ]
    # What cannot be had stops it: half a set would look like a whole one.
    mkdir bin
    printf '#!/bin/sh\nexit 100\n' >bin/apt-get
    chmod +x bin/apt-get
    PATH=$PWD/bin:$PATH run "$ROOT/examples/calibration/package-text" french
    [ "$status" -eq 1 ]
    [[ $output == *'cannot download the package manpages-fr'* ]]
}

# What prune.mk runs on: a folder with a file for each category, of a model that is somebody's own.
prompts() {
    mkdir prompts
    cat calib.jsonl held-out.jsonl | jq -c 'del(.category)' | awk 'NR % 3 { print >"prompts/code.jsonl"; next } { print >"prompts/notes.jsonl" }'
    cp -rL "$TINY_GPTOSS" my-tune
    chmod -R u+w my-tune
    cat >my-tune/chat_template.jinja <<'END'
{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}
END
    head -n 4 prompts/notes.jsonl | jq -c '{messages: [{role: "user", content: .text[:200]}, {role: "assistant", content: .text[200:]}]}' >prompts/chat.jsonl
}
prune=(make -f examples/prune.mk BIN="" MODEL=my-tune DATA=prompts/ OBSERVE="--max-len 128" LIMIT=9 LIMIT_CATEGORY=9)

@test "prune.mk: from a folder of text to a checked model and a verdict; nothing changed, nothing done" {
    local dir=my-tune-pruned.work/0.25
    prompts
    "${prune[@]}" RATIO=0.25 >said
    [[ $(moe-inspect --json my-tune-pruned) == *'"experts": 12'* ]]
    # several plans were judged on text that was not observed, and the best of them was cut
    [ "$(wc -l <$dir/table.txt)" -eq 9 ]
    awk 'NR > 2 && $2 < last { exit 1 } NR > 1 { last = $2 }' $dir/table.txt
    cmp $dir/best.tsv "$dir/$(awk 'NR == 2 { print $1 }' $dir/table.txt).tsv"
    [ "$(awk -F '\t' '!/^#/ && $5 == "*" { print $10; exit }' $dir/compare.tsv)" -eq $(($(wc -l <prompts/code.jsonl) / 4 + $(wc -l <prompts/notes.jsonl) / 4 + 1)) ]
    # the verdict: sizes as they are, categories by name, how to serve it
    grep -q "^my-tune without 4 of 16 experts in each of 4 layers: 2.12 MB instead of 2.34 MB" said
    grep -q '^KL from the original: 0[.][0-9]* nats a token' said
    grep -qE '^  (code|notes|chat) ' said
    grep -q '^  vllm serve my-tune-pruned' said
    [ "$(tail -n 1 $dir/report.html)" = '</html>' ]
    grep -qx 'moe-prune --verify my-tune my-tune-pruned.work/0.25/best.tsv my-tune-pruned' my-tune-pruned/README.md

    touch mark
    sleep 0.02
    "${prune[@]}" RATIO=0.25
    [ -z "$(written)" ]
}

@test "prune.mk: another amount, aim or limit repeats only what depends on it" {
    local work=my-tune-pruned.work plans=(PLANS="gate_squared_ean_sum reap+turns")
    prompts
    "${prune[@]}" "${plans[@]}" >/dev/null
    [ ! -e $work/run.matrices ] # no criterion of pairs
    touch mark
    sleep 0.02
    "${prune[@]}" "${plans[@]}" RATIO=0.5
    [[ $(moe-inspect --json my-tune-pruned) == *'"experts": 8'* ]]
    run written
    [[ $output != *run.stats* && $output != */0.25/* && $output == */0.5/compare.tsv* ]]

    # back to the first: its plan is there already, the model is made again
    touch mark
    sleep 0.02
    "${prune[@]}" "${plans[@]}"
    [[ $(moe-inspect --json my-tune-pruned) == *'"experts": 12'* ]]
    run written
    [[ $output != *compare.tsv* ]]

    touch mark
    sleep 0.02
    "${prune[@]}" "${plans[@]}" BY=worst_kl
    run written
    [[ $output == *table.txt* && $output != *compare.tsv* ]]

    # as many as fit
    "${prune[@]}" "${plans[@]}" FIT=2.3MB CONTEXT=128 >said
    grep -q '^13 of 16 experts fit' said
    [[ $(moe-inspect --json my-tune-pruned) == *'"experts": 13'* ]]
    run "${prune[@]}" "${plans[@]}" FIT=1GB
    [ "$status" -ne 0 ]
    [[ $output == *'the whole model fits: nothing has to go'* ]]

    # other text: another chat template, a file that takes another's place though it is older
    touch mark
    sleep 0.02
    echo x >>my-tune/chat_template.jinja
    "${prune[@]}" "${plans[@]}"
    run written
    [[ $output == *run.stats* ]]
    head -n 9 calib.jsonl >fewer.jsonl
    touch -d 2020-01-01 fewer.jsonl
    cp calib.jsonl mine.jsonl
    local other=("${prune[@]}" "${plans[@]}" DATA=mine.jsonl WORK=mine)
    "${other[@]}" judge
    mv fewer.jsonl mine.jsonl
    touch mark
    sleep 0.02
    "${other[@]}" judge
    run written
    [[ $output == *run.stats*compare.tsv* || $output == *compare.tsv*run.stats* ]]
}

@test "prune.mk: beyond a limit nothing is cut, the step ends with 3, and its work stays" {
    prompts
    run "${prune[@]}" PLANS=reap LIMIT=0.001 RATIO=0.5
    [ "$status" -ne 0 ]
    [[ $output == *'Refused: KL '*' is above LIMIT=0.001. Nothing was cut.'*'Error 3'* ]]
    [ ! -e my-tune-pruned ]
    [ -s my-tune-pruned.work/0.5/report.html ]
    touch mark
    sleep 0.02
    run "${prune[@]}" PLANS=reap LIMIT_CATEGORY=0.001 RATIO=0.5
    [[ $output == *'above LIMIT_CATEGORY=0.001. Nothing was cut.'*'Error 3'* ]]
    run examples/verdict my-tune out my-tune-pruned.work/0.5 9 0.001
    [ "$status" -eq 3 ]
    "${prune[@]}" PLANS=reap RATIO=0.5
    moe-inspect --json my-tune-pruned | grep -q '"experts": 8'
    run written
    [[ $output != *run.stats* && $output != *compare.tsv* ]]
}

@test "prune.mk: killed at any moment, it goes on and ends where it would have" {
    local delay pid
    prompts
    "${prune[@]}" OUT=whole >/dev/null
    for delay in 0.2 0.5 0.8 1.1 1.4 1.7 2.0 2.4; do
        setsid "${prune[@]}" OUT=killed >>log 2>&1 &
        pid=$!
        sleep $delay
        kill -KILL -- -$pid 2>/dev/null || true
        wait $pid || true
    done
    "${prune[@]}" OUT=killed >/dev/null
    cmp whole.work/run.stats killed.work/run.stats
    cmp whole.work/0.25/best.tsv killed.work/0.25/best.tsv
    for f in whole/*.safetensors; do cmp "$f" "killed/${f##*/}"; done
    [ "$(find . -maxdepth 1 -name '*killed*' | wc -l)" -eq 2 ]
}

@test "prune.mk: an interrupted observation goes on; other text or options are no beginning" {
    local pid
    prompts
    local slow=("${prune[@]}" PLANS=reap SAMPLES= OBSERVE="--mem-max 1MB --threads 1")
    cat calib.jsonl calib.jsonl calib.jsonl calib.jsonl | awk '{ sub(/"text":"/, "&" NR " "); print }' >prompts/code.jsonl
    setsid "${slow[@]}" &
    pid=$!
    while [ ! -e my-tune-pruned.work/run.stats.partial ] && kill -0 $pid; do sleep 0.02; done
    kill -KILL -- -$pid || true
    wait $pid || true
    [ -e my-tune-pruned.work/run.stats.partial ] || skip "the run was over too soon"
    run "${slow[@]}"
    [ "$status" -eq 0 ]
    [[ $output == *'were finished before'* ]]
    "${prune[@]}" PLANS=reap OBSERVE="--max-len 32"
}

@test "prune.mk: what it did not make is not replaced" {
    prompts
    mkdir -p other foreign
    touch other/mine
    run "${prune[@]}" PLANS=reap OUT=other
    [ "$status" -ne 0 ]
    [ -e other/mine ]
    echo mine >foreign/run.stats
    run "${prune[@]}" WORK=foreign
    [ "$status" -ne 0 ]
    [[ $output == *'was not made by this makefile'* ]]
    [ "$(cat foreign/run.stats)" = mine ]
}

@test "prune.mk: other text to judge with, and plans that were searched for" {
    prompts
    "${prune[@]}" judge RATIO=0.5 EVAL=held-out.jsonl PLANS=reap REFINE=yes SAMPLES=8 OBSERVE="--max-len 64" >said
    [ ! -e my-tune-pruned ]
    [ "$(wc -l <my-tune-pruned.work/0.5/table.txt)" -eq 4 ]
    [ "$(awk 'NR == 4 { print $1 }' my-tune-pruned.work/0.5/table.txt)" = reap ]
    grep -q '^#criterion.*cut=8.*refine=' my-tune-pruned.work/0.5/cut.tsv
    # EVAL was judged, and DATA observed whole
    grep -q "	data=$(moe-bench compare -q --json --max-len 64 --samples-per-category 8 --plan my-tune-pruned.work/0.5/reap.tsv my-tune held-out.jsonl | jq -r .data_digest)	" my-tune-pruned.work/0.5/compare.tsv
    awk '/^#part/ { exit !/documents=20/ }' my-tune-pruned.work/run.stats
}

@test "portfolio.mk: the best plan and no more; files are observed whole" {
    local portfolio=(make -f examples/portfolio.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl OBSERVE="--max-len 64" PLANS="reap freq")
    "${portfolio[@]}" >said
    cmp portfolio/best.tsv portfolio/0.25/best.tsv
    cmp portfolio/table.txt portfolio/0.25/table.txt
    [[ $(tail -n 1 said) == 'portfolio/best.tsv: '*' keep=12 ratio=0.25' ]]
    [ "$(sed -n 's/^#part.*documents=\([0-9]*\).*/\1/p' portfolio/run.stats)" -eq $(($(wc -l <calib.jsonl) - $(wc -l <calib.jsonl) / 4)) ]
    "${portfolio[@]}" RATIO=0.5
    cmp portfolio/best.tsv portfolio/0.5/best.tsv
    "${portfolio[@]}"
    cmp portfolio/best.tsv portfolio/0.25/best.tsv
    [ "$(find . -maxdepth 1 -newer calib.jsonl -type d -name '*pruned*' | wc -l)" -eq 0 ]
}

@test "prune.mk: what is missing is named" {
    run make -f examples/prune.mk DATA=calib.jsonl OUT=small
    [ "$status" -ne 0 ]
    [[ $output == *"MODEL=... is missing"* ]]
}

@test "experiment.mk: three criteria and two ratios from one observation, as a table" {
    local experiment=(make -f examples/experiment.mk BIN="" MODEL="examples/tiny-qwen3" DATA=calib.jsonl EVAL=held-out.jsonl
        OBSERVE="--max-len 256" BENCH="--max-len 256")
    "${experiment[@]}"
    [ "$(wc -l <experiment/table.txt)" -eq 7 ]
    # Every row has a criterion, a ratio, KL, agreement and a ratio of perplexities.
    awk 'NR > 1 && (NF != 5 || !($3 > 0) || !($5 > 0)) { exit 1 }' experiment/table.txt

    touch mark
    sleep 0.02
    "${experiment[@]}" RATIOS="0.25 0.375"
    run written
    [[ $output != *run.stats* ]]
    [[ $output == *reap@0.375.tsv* ]]
    [[ $output != *@0.25* ]]
}

@test "experiment.mk: another model, or other options, and the table is made anew" {
    local experiment=(make -s -f examples/experiment.mk BIN="" DATA=calib.jsonl EVAL=held-out.jsonl CRITERIA=reap RATIOS=0.25)
    cp -rL "$TINY_QWEN3" q
    cp -rL "$TINY_GPTOSS" g
    find q g -exec touch -d 2020-01-01 {} +
    "${experiment[@]}" MODEL=q OBSERVE="--max-len 128" BENCH="--max-len 128" >first
    "${experiment[@]}" MODEL=g OBSERVE="--max-len 128" BENCH="--max-len 128" >second
    "${experiment[@]}" MODEL=g OBSERVE="--max-len 128" BENCH="--max-len 64" >third
    "${experiment[@]}" MODEL=g OBSERVE="--max-len 32" BENCH="--max-len 64" >fourth
    "${experiment[@]}" MODEL=g OBSERVE="--max-len 32" BENCH="--max-len 64" WORK=fresh >fifth
    run -1 cmp -s first second
    run -1 cmp -s second third
    cmp fourth fifth
}

@test "the demo works where it is installed" {
    cp -rL "$ROOT/examples" installed
    TMPDIR=$PWD bash installed/demo.sh >said
    grep -q '^tiny-qwen3 ' said
    compgen -G 'moe-demo.*' >/dev/null
    [ ! -e build ]
}

@test "quality: a row for each criterion, judged from one observation" {
    mkdir there
    cp calib.jsonl held-out.jsonl there
    CALIB=$PWD/there/calib.jsonl EVAL=$PWD/there/held-out.jsonl CODE=c WORK=$PWD/quality BENCH="--max-len 64" \
        "$ROOT/tools/quality" examples/tiny-qwen3 >table.md
    [ "$(head -n 1 table.md | cut -d : -f 1)" = '### tiny-qwen3' ]
    [ "$(grep -c '^| ' table.md)" -eq 16 ]
    # every criterion has three figures, greater at 50% than at 25%
    awk -F ' *[|] *' '/^[|] / && NR > 3 && !($3 > 0 && $4 > $3 && $5 >= $4) { exit 1 }' table.md
    grep -q '^| REAP .*| [0-9.]* / [-0-9.]* |$' table.md
}

@test "moe-report: one page of statistics, plans and a comparison, whole and without anything to load" {
    moe-observe -q --max-len 128 -o run.stats examples/tiny-qwen3 calib.jsonl
    moe-score -q -r 0.5 -o reap.tsv run.stats
    moe-score -q -c ean_sum -r 0.5 -o 'a<b>&"c".tsv' run.stats
    moe-bench compare -q --json --max-len 128 --plan reap.tsv --plan 'a<b>&"c".tsv' examples/tiny-qwen3 held-out.jsonl >compare.json
    examples/report/moe-report run.stats reap.tsv 'a<b>&"c".tsv' compare.json >report.html
    examples/report/moe-report run.stats reap.tsv 'a<b>&"c".tsv' compare.json | cmp - report.html
    [ "$(head -n 1 report.html)" = '<!DOCTYPE html>' ]
    [ "$(tail -n 1 report.html)" = '</html>' ]
    grep -q 'a&lt;b&gt;&amp;&quot;c&quot;' report.html
    run ! grep -qE 'a<b>|<script|http|src=|nan|inf[^o]' report.html
    for tag in html body main header section h2 p div figure figcaption svg text table thead tbody tr td th title span b; do
        [ "$(grep -oE "<${tag}[ >]" report.html | wc -l)" -eq "$(grep -o "</$tag>" report.html | wc -l)" ] || { echo "$tag"; return 1; }
    done
    for id in plans categories tails maps kept coverage stability numbers; do grep -q "<section id=\"$id\">" report.html; done
    # a cell for each expert of each layer, in two maps and two plans
    [ "$(grep -c '<title>layer [0-3], expert [0-9]*: ' report.html)" -eq $((4 * 4 * 16)) ]
    # the comparison may have gone through jq
    for how in --tab -c -S; do
        jq $how . compare.json >again.json
        examples/report/moe-report run.stats reap.tsv 'a<b>&"c".tsv' again.json | cmp - report.html
    done
    # what is missing is left out
    examples/report/moe-report run.stats >stats.html
    run ! grep -q 'id="plans"' stats.html
    examples/report/moe-report compare.json >compare.html
    run ! grep -q 'id="maps"' compare.html
    run examples/report/moe-report calib.jsonl
    [ "$status" -eq 1 ]
    [[ $output == 'moe-report: calib.jsonl is neither '* ]]
}

@test "moe-report: plans are compared with those of their size; --tsv of moe-bench and its own" {
    moe-observe -q --max-len 64 -o run.stats examples/tiny-qwen3 calib.jsonl
    local plans=() files=()
    for plan in reap@0.5 ean_sum@0.5 freq@0.5 reap@0.125; do
        moe-score -q -c "${plan%@*}" -r "${plan#*@}" -o "$plan.tsv" run.stats
        plans+=(--plan "$plan.tsv")
        files+=("$plan.tsv")
    done
    for how in json tsv; do
        moe-bench compare -q --$how --max-len 64 "${plans[@]}" --model examples/tiny-qwen3 -o compare.$how examples/tiny-qwen3 held-out.jsonl
        examples/report/moe-report run.stats "${files[@]}" compare.$how >$how.html
    done
    cmp json.html tsv.html
    grep -q '<section id="sizes">' tsv.html
    # the best of the size that most have, not the model that is the original itself
    grep -q '<span>best of 3 of this size by mean over categories</span>' tsv.html
    [ "$(grep -c 'class="bar best"' tsv.html)" -ge 3 ]
    examples/report/moe-report run.stats reap@0.5.tsv <(moe-bench compare -q --tsv --max-len 64 --plan reap@0.5.tsv examples/tiny-qwen3 held-out.jsonl) >one.html
    run ! grep -q '<section id="sizes">' one.html

    examples/report/moe-report --tsv "${files[@]}" compare.tsv >table
    [ "$(head -n 1 table | cut -f 1-4)" = 'name	bytes	experts	category_mean' ]
    # by size, the largest first, then by divergence
    awk -F '\t' 'NR > 2 && ($2 > bytes || ($2 == bytes && $4 < kl)) { exit 1 } NR > 1 { bytes = $2; kl = $4 } END { exit NR != 6 }' table
    grep -q '^reap@0.125	[0-9]*	0.875	.*	reap keep=14 ratio=0.125$' table
    diff <(cut -f 1,2,8 table) <(examples/report/moe-report --tsv "${files[@]}" compare.json | cut -f 1,2,8)
    head -n 5 compare.tsv >cut.tsv
    run -1 examples/report/moe-report cut.tsv
    [[ $output == *'cut.tsv was cut off'* ]]
}

@test "moe-report: odd names, and files that do not belong together" {
    jq -c '.category |= "a \"b\" <" + . + ">&\\d"' calib.jsonl >odd.jsonl
    moe-observe -q --max-len 64 -o run.stats examples/tiny-qwen3 odd.jsonl
    moe-score -q -r 0.5 -o keep=8.tsv run.stats
    moe-bench compare -q --json --max-len 64 --plan keep=8.tsv examples/tiny-qwen3 odd.jsonl >compare.json
    examples/report/moe-report -t 'a\nb' run.stats keep=8.tsv compare.json >report.html
    grep -qF '<title>a\nb</title>' report.html
    grep -qF 'nats in the worst: a &quot;b&quot; &lt;' report.html
    grep -q '<section id="kept">' report.html # the plan was read
    run ! grep -qE 'a "b"|a \\"|<[ch]>' report.html
    [ "$(grep -oF '&gt;&amp;\d<' report.html | wc -l)" -ge 2 ]
    [ "$(grep -oE '<b>[^<]*</b><span>nats in the worst' report.html)" != '<b>–</b><span>nats in the worst' ]
    refused() { # PATTERN FILE...
        run examples/report/moe-report "${@:2}"
        [ "$status" -eq 1 ]
        [[ $output == "moe-report: "$1 ]]
    }
    head -n 20 run.stats >cut.stats
    head -n 1 compare.json >cut.json
    : >empty
    moe-observe -q --max-len 64 -o other.stats examples/tiny-gptoss odd.jsonl
    moe-score -q -o other.tsv other.stats
    refused 'cut.stats was cut off' cut.stats keep=8.tsv
    refused 'cut.json was cut off' run.stats cut.json
    refused 'one of the files is empty' run.stats empty
    refused "cannot read 'examples'" run.stats examples
    refused 'other.tsv is of another model *' run.stats other.tsv
    refused 'the comparison is of another model *' other.stats compare.json
    refused 'two comparisons*' run.stats compare.json compare.json
    # it ran on the text that was observed
    grep -q 'positions of the very text that was observed' report.html
    jq '.data_digest = "00"' compare.json >elsewhere.json
    examples/report/moe-report run.stats keep=8.tsv elsewhere.json | grep -c 'very text' | grep -qx 0
    sed '2s/experts=16/experts=<script>/' keep=8.tsv >script.tsv
    run ! grep -q '<script' <(examples/report/moe-report script.tsv)
}

@test "prune.mk: a way to select that there is not is named" {
    run make -f examples/prune.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl PLANS="reap reap+wrost"
    [ "$status" -ne 0 ]
    [[ $output == *"PLANS: wrost is none of worst, super, turns"* ]]
    run make -f examples/prune.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl BY=worstkl
    [ "$status" -ne 0 ]
    [[ $output == *"BY: 'worstkl' is none of category_mean, kl_mean, worst_kl"* ]]
}

@test "prune.mk: what is no number or criterion, and what does not fit, is told before anything is observed" {
    local prune=(make -f examples/prune.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl OUT=none)
    told() { # TEXT ARGUMENT...: it is, and nothing is begun
        run "${prune[@]}" "${@:2}"
        [ "$status" -ne 0 ]
        [[ $output == *"$1"* ]] || { echo "$output"; return 1; }
        [ ! -e none.work/run.stats ]
    }
    told "LIMIT: '0,5' is not a number" LIMIT=0,5
    told "LIMIT_CATEGORY: 'x' is not a number" LIMIT_CATEGORY=x
    told "RATIO: '25' is not a share" RATIO=25
    told "KEEP: '0' is not a number of experts" KEEP=0
    told 'KEEP, FIT: give one of them' KEEP=3 FIT=3MB
    told "unknown criterion 'reaap' (did you mean reap?)" CRITERION="gram reaap+worst"
    told 'does not fit into 1.00 kB' FIT=1KB
    for ok in LIMIT=.5 LIMIT=1e-3 RATIO=25% RATIO=0.125 CRITERION="reap_sum S(0,2,1)" KEEP=3; do
        make -n -f examples/prune.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl OUT=none "$ok"
    done
}

@test "prune.mk: names with spaces and text that is not there are told before anything is done" {
    local prune=(make -f examples/prune.mk BIN="")
    run "${prune[@]}" MODEL="my models/tune" DATA=calib.jsonl
    [ "$status" -ne 0 ]
    [[ $output == *"MODEL: 'my models/tune' is not one name (a name with a space?"* ]]
    run "${prune[@]}" MODEL=examples/tiny-gptoss DATA="calib.jsonl my text.jsonl"
    [ "$status" -ne 0 ]
    [[ $output == *"DATA, EVAL: there is no 'my' (a name with a space?"* ]]
    [ ! -e tiny-gptoss-pruned.work ]
}
