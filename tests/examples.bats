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
    [ "$(jq -r .category go.jsonl | uniq -c | tr -s ' ')" = ' 12 go' ] && [ "$(wc -l <held.jsonl)" -eq 4 ]
    [ "$(cat go.jsonl held.jsonl | sort -u | wc -l)" -eq 16 ]
    [ "$(jq -r '.text[:22]' go.jsonl | sed -n '1p;$p')" = $'package a10 // "quoted\npackage a80 // "quoted' ]
    [ "$("$ROOT/examples/calibration/package-text" german | jq -r '.text[:22]')" = $'NAME\nschl-afe \\n und ä' ]
    # What cannot be had stops it: half a set would look like a whole one.
    mkdir bin && printf '#!/bin/sh\nexit 100\n' >bin/apt-get && chmod +x bin/apt-get
    PATH=$PWD/bin:$PATH run "$ROOT/examples/calibration/package-text" french
    [ "$status" -eq 1 ] && [[ $output == *'cannot download the package manpages-fr'* ]]
}

@test "prune.mk: a checked pruned model; another ratio observes nothing again; nothing changed, nothing done" {
    local prune=(make -f examples/prune.mk BIN="" MODEL="examples/tiny-gptoss" DATA=calib.jsonl OUT=small OBSERVE="--max-len 256")
    "${prune[@]}" RATIO=0.25
    [[ $(moe-inspect --json small) == *'"experts": 12'* ]]

    touch mark
    sleep 0.02
    "${prune[@]}" RATIO=0.25
    [ -z "$(written)" ]

    "${prune[@]}" RATIO=0.5
    [[ $(moe-inspect --json small) == *'"experts": 8'* ]]
    run written
    [[ $output != *run.stats* ]]
    [[ $output == *gate_squared_ean_sum-0.5.tsv* ]]

    # Back to the first ratio: its plan is there already, the model is made again.
    "${prune[@]}" RATIO=0.25
    [[ $(moe-inspect --json small) == *'"experts": 12'* ]]
}

@test "prune.mk: an interrupted observation goes on; an OUT that was there before is not replaced" {
    local pid prune=(make -f examples/prune.mk BIN="" MODEL=examples/tiny-qwen3 DATA=long.jsonl OUT=small)
    cat calib.jsonl calib.jsonl calib.jsonl calib.jsonl | awk '{ sub(/"text":"/, "&" NR " "); print }' >long.jsonl
    "${prune[@]}" OBSERVE="--mem-max 1MB --threads 1" &
    pid=$!
    while [ ! -e small.work/run.stats.partial ] && kill -0 $pid; do sleep 0.02; done
    # make and what it runs
    pkill -TERM -P $pid || true
    wait $pid || true
    [ -e small.work/run.stats.partial ] || skip "the run was over too soon"
    run "${prune[@]}" OBSERVE="--mem-max 1MB --threads 1"
    [ "$status" -eq 0 ]
    [[ $output == *'were finished before'* ]]
    # other options are no beginning for each other
    "${prune[@]}" OBSERVE="--max-len 32"
    mkdir -p other
    touch other/mine
    run "${prune[@]}" OUT=other WORK=small.work OBSERVE="--max-len 32"
    [ "$status" -ne 0 ]
    [ -e other/mine ]
    # statistics that the makefile did not make
    mkdir foreign
    echo mine >foreign/run.stats
    run "${prune[@]}" WORK=foreign
    [ "$status" -ne 0 ]
    [[ $output == *'was not made by this makefile'* ]]
    [ "$(cat foreign/run.stats)" = mine ]
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

@test "portfolio.mk: many plans from one observation, the best kept; another aim chooses anew and judges nothing again" {
    cat calib.jsonl held-out.jsonl >all.jsonl
    local portfolio=(make -f examples/portfolio.mk BIN="" MODEL=examples/tiny-gptoss DATA=all.jsonl RATIO=0.5 OBSERVE="--max-len 128")
    "${portfolio[@]}"
    [ "$(wc -l <portfolio/table.txt)" -eq 13 ]
    # no document on both sides, none lost
    cat portfolio/observed.jsonl portfolio/held-back.jsonl | sort | diff - <(sort all.jsonl)
    awk 'NR > 2 && $2 < last { exit 1 } NR > 1 { last = $2 }' portfolio/table.txt
    cmp portfolio/best.tsv "portfolio/$(awk 'NR == 2 { print $1 }' portfolio/table.txt).tsv"

    touch mark
    sleep 0.02
    "${portfolio[@]}"
    [ -z "$(written)" ]
    "${portfolio[@]}" BY=worst_kl
    awk 'NR > 2 && $4 < last { exit 1 } NR > 1 { last = $4 }' portfolio/table.txt
    run written
    [[ $output != *run.stats* && $output != *compare.json* ]]
    # Pairs of experts are observed only where a criterion needs them.
    "${portfolio[@]}" WORK=scalars PLANS="reap ean_sum+turns"
    [ ! -e scalars/run.matrices ]
    [ "$(wc -l <scalars/table.txt)" -eq 3 ]
    "${portfolio[@]}" WORK=scalars PLANS="reap ean_sum+turns" REFINE=1 REFINE_OPTS="--max-len 64 --candidates 2"
    grep -q '^#criterion.*refine=' scalars/best.tsv
    "${portfolio[@]}" WORK=measured PLANS="reap cut" OBSERVE="--max-len 64"
    [ "$(awk 'NR == 2 { print $1 }' measured/table.txt)" = cut ]
    grep -q '^#criterion.*cut=8.*refine=' measured/best.tsv
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

@test "portfolio.mk: a way to select that there is not is named" {
    run make -f examples/portfolio.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl PLANS="reap reap+wrost"
    [ "$status" -ne 0 ]
    [[ $output == *"PLANS: wrost is none of worst, super, turns"* ]]
    run make -f examples/portfolio.mk BIN="" MODEL=examples/tiny-gptoss DATA=calib.jsonl BY=worstkl
    [ "$status" -ne 0 ]
    [[ $output == *"BY: 'worstkl' is none of category_mean, kl_mean, worst_kl"* ]]
}
