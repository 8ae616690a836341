#!/usr/bin/env bats
# moe-score: plans, options, messages, and what is refused: each broken file is tests/score/good.stats, or the plan
# made from it, with one edit.
load helper

GOOD=$ROOT/tests/score/good.stats

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

# now FILE: the statistics, which are of the first edition, with the column of the second one: 8 - gf.
now() {
    sed 's/c0de\t/c0df\t/' "$GOOD" |
        awk -F'\t' -vOFS='\t' '/^#columns/ { $0 = $0 OFS "tgf:sum" } !/^#/ { $0 = $0 OFS ($5 ? 8 - $9 : 0) } { print }' >"$1"
    seal "$1"
}

# refuses PATTERN SED-ARGUMENT...: the statistics with this edit.
refuses() {
    local pattern=$1
    shift
    sed "$@" "$GOOD" >broken.stats
    ! cmp -s broken.stats "$GOOD" || { echo "the edit changes nothing"; return 1; }
    fails_with "^moe-score: broken.stats: .*$pattern" moe-score -o plan.tsv broken.stats
    [ ! -e plan.tsv ]
}

# refuses_plan PATTERN SED-ARGUMENT...: the plan with this edit.
refuses_plan() {
    local pattern=$1
    shift
    moe-score -q -c reap -o good.tsv "$GOOD"
    sed "$@" good.tsv >broken.tsv
    ! cmp -s broken.tsv good.tsv || { echo "the edit changes nothing"; return 1; }
    fails_with "^moe-score: broken.tsv: .*$pattern" moe-score --diff good.tsv broken.tsv
}

# usage PATTERN ARGUMENT...: exit status 2 and one line.
usage() {
    local pattern=$1
    shift
    run -2 --separate-stderr moe-score "$@"
    [ -z "$output" ]
    [[ $stderr =~ $pattern ]] || { echo "does not match /$pattern/: $stderr"; return 1; }
}

@test "a plan, byte by byte" {
    moe-score -q -c reap "$GOOD" >plan.tsv
    cat >want.tsv <<'END'
#moe-plan 1
#model	family=qwen3_moe	layers=4	experts=4	topk=2	hidden=8	digest=00112233445566778899aabbccddeeff
#criterion	reap	keep=3	ratio=0.25
#columns	layer	expert	keep	score	rank
1	0	1	0.5	3
1	1	1	1.5	2
1	2	1	2	1
1	3	0	0.5	4
3	0	1	0.5	3
3	1	1	2	1
3	2	1	1.5	2
3	3	0	0.5	4
#end	rows=8
END
    diff want.tsv plan.tsv
}

@test "-o writes the same bytes, and an existing plan only with --force" {
    moe-score -q "$GOOD" >a.tsv
    moe-score -q -o b.tsv "$GOOD"
    moe-score -q -o c.tsv - <"$GOOD"
    cmp a.tsv b.tsv
    cmp a.tsv c.tsv
    fails_with "'b.tsv' exists already" moe-score -q -o b.tsv -k 1 "$GOOD"
    cmp a.tsv b.tsv
    moe-score -q -f -o b.tsv -k 1 "$GOOD"
    run ! cmp -s a.tsv b.tsv
}

@test "sums of one text observed with two sets of options say so" {
    printf '{"ids":[%s]}\n' 1,2,3 4,5,6 >a.jsonl
    printf '{"ids":[%s]}\n' 1,2,3 4,5,7 >b.jsonl
    moe-observe -q -o a "$TINY_QWEN3" a.jsonl
    moe-observe -q -o one --samples-per-category 1 "$TINY_QWEN3" a.jsonl
    moe-observe -q -o b "$TINY_QWEN3" b.jsonl
    moe-observe -q -o a1 --shard 1/2 "$TINY_QWEN3" b.jsonl
    moe-observe -q -o a2 --shard 2/2 "$TINY_QWEN3" b.jsonl
    run --separate-stderr moe-score -r 0.5 -n a one
    [ "$status" -eq 0 ]
    [[ $stderr == *"the same data was observed twice with other options"*"of 2 documents"*"of 1"* ||
        $stderr == *"the same data was observed twice with other options"*"of 1 documents"*"of 2"* ]]
    run --separate-stderr moe-score -r 0.5 -n a b
    [[ $stderr != *"observed twice"* ]]
    run --separate-stderr moe-score -r 0.5 -n a1 a2
    [[ $stderr != *"observed twice"* ]]
}

@test "ratios are decimals, and -k says the same" {
    moe-score -q -r 0.5 "$GOOD" | grep -v criterion >a.tsv
    moe-score -q -r 50% "$GOOD" | grep -v criterion >b.tsv
    moe-score -q -k 2 "$GOOD" | grep -v criterion >c.tsv
    cmp a.tsv b.tsv
    cmp a.tsv c.tsv
    [ "$(grep -c '^[13]	.	1	' a.tsv)" -eq 4 ]
    [ "$(moe-score -q -r 0.2 "$GOOD" | grep -c '^[13]	.	1	')" -eq 8 ]
}

@test "what is said on standard error" {
    run --separate-stderr moe-score -c reap -o a.tsv "$GOOD"
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [[ ${stderr_lines[0]} == "moe-score: reap: 3 of 4 experts stay in each of 2 layers" ]]
    [[ ${stderr_lines[1]} == *"by weighted_ean_sum 1 of the 6 experts that stay would be others; both agree on only 83% (chance: 75%)"* ]]
    [ "${#stderr_lines[@]}" -eq 2 ]
    run --separate-stderr moe-score -n -c freq -k 1 --weights code=1 --protect super "$GOOD"
    [ "$status" -eq 0 ]
    [[ $stderr == *"only because they are super experts: 1"* ]]
    [[ $stderr == *"no token was routed to: 2 of 8"* ]]
    [[ $stderr == *"KEEP is 1, less than the model's top-k"* ]]
    run --separate-stderr moe-score -q -n "$GOOD"
    [ -z "$stderr" ]
}

@test "a nearby count that serves better is named" {
    sed 's/experts=4/experts=32/' "$GOOD" | awk -F'\t' -vOFS='\t' '/^#end/ { $2 = "rows=256" } { print }
        !/^#/ && $4 == 3 { for (i = 4; i < 32; i++) print $1, $2, $3, i, 1, 1, 1, i, i, i, i, i, i, i }' >wide.stats
    run moe-score wide.stats
    digest=$(sed -n 's/.*contents is \([0-9a-f]*\),.*/\1/p' <<<"$output")
    sed -i "s/xxh3=.*/xxh3=$digest/" wide.stats
    run --separate-stderr moe-score -n -k 26 wide.stats
    [[ $stderr == *"-k 28 would serve better"* ]]
    run --separate-stderr moe-score -n -k 24 wide.stats
    [[ $stderr != *"would serve better"* ]]
}

@test "weights and protection end up in the plan" {
    run --separate-stderr moe-score -c reap -k 3 --weights 'text=2,*=1.5' --protect super,1 "$GOOD"
    [ "$status" -eq 0 ]
    [[ ${lines[2]} == "#criterion	reap	keep=3	weights=text=2,*=1.5	protect=super,1" ]]
    [ "$(grep '^1' <<<"$output" | cut -f2,3 | tr '\t\n' '=;')" = '0=1;1=0;2=1;3=1;' ]
}

@test "shards are merged" {
    sed 's/c0de\t/c0df\t/' "$GOOD" >other.stats
    run moe-score other.stats
    digest=$(sed -n 's/.*contents is \([0-9a-f]*\),.*/\1/p' <<<"$output")
    sed -i "s/xxh3=.*/xxh3=$digest/" other.stats
    moe-score -q -c freq "$GOOD" other.stats >both.tsv
    grep -q '^1	0	1	36	1$' both.tsv
    fails_with "$GOOD: .*shard 1/1 of data c0de.* twice" moe-score "$GOOD" "$GOOD"
}

@test "what a file of an earlier version does not have is named; the rest of it serves" {
    now now.stats
    moe-score -q -c easy_ep -k 2 now.stats >plan.tsv
    grep -q '^1	3	0	12	4$' plan.tsv
    fails_with "easy_ep needs the column 'tgf', which these statistics do not have: an earlier version made them.*observe again" \
        moe-score -c easy_ep "$GOOD"
    cp "$GOOD" old.stats # its own path may have spaces
    for order in "old.stats now.stats" "now.stats old.stats"; do
        # shellcheck disable=SC2086 # two files
        run --separate-stderr moe-score -c freq -o - $order
        [ "$status" -eq 0 ]
        [[ $stderr == *"not all of these files have tgf: an earlier version made some; it is left out of the sum"* ]]
        [[ $output == *$'\n1\t0\t1\t36\t1\n'* ]]
        # shellcheck disable=SC2086
        fails_with "needs the column 'tgf'.*or some of them" moe-score -q -c easy_ep $order
    done
    run --separate-stderr moe-score -n -c freq now.stats
    [[ $stderr != *tgf* ]]
}

@test "--dry-run writes nothing; --json sums up" {
    run --separate-stderr moe-score -q -n -o plan.tsv "$GOOD"
    [ "$output" = "would write plan.tsv: 8 rows, 3 of 4 experts kept in each of 2 layers" ]
    [ ! -e plan.tsv ]
    run --separate-stderr moe-score -q --json -c reap -o plan.tsv "$GOOD"
    [ -e plan.tsv ]
    [ "$output" = '{"version":1,"plan":"plan.tsv","criterion":"reap","select":"all","budget":"uniform","layers":2,"experts":4,"topk":2,"keep":3,"keep_min":3,"keep_max":3,"better_keep":null,"protected_super":0,"protected_top":0,"protected_turns":0,"unused":0,"swaps":0,"gained":0,"lost":0.1111111111111111,"worst":null,"worst_lost":null,"twin":"weighted_ean_sum","differ":1,"overlap":0.8333333333333334,"disagree":true}' ]
}

@test "--list names every criterion, and each of the names works" {
    run moe-score --list
    [[ ${lines[1]} == "gate_squared_ean_sum (default) (0,2,1)"* ]]
    [[ ${lines[2]} == "reap "*"(1,1,1)"* ]]
    "$BUILD/tests/test_select" --matrices run.matrices
    now now.stats
    for name in $(moe-score --list --json | jq -r '.criteria[] | select(.matrices | not) | .name'); do
        moe-score -q -c "$name" now.stats | grep -q "^#criterion	$name	keep=3"
    done
    for name in $(moe-score --list --json | jq -r '.criteria[] | select(.matrices) | .name'); do
        moe-score -q -c "$name" --matrices run.matrices | grep -q "^#criterion	$name	keep=3"
    done
    [ "$(moe-score --list --json | jq '[.criteria[] | select(.formula == "" or .source == "")] | length')" -eq 0 ]
    moe-score -q -c S\(0,2,1\) "$GOOD" | cmp - <(moe-score -q -c 0,2,1 "$GOOD")
    run moe-score --list --json
    [[ ${lines[2]} == '{"name":"reap","aliases":[],"b":1,"a":1,"c":1,"default":false,"matrices":false,"column":null,"formula":"'* ]]
    [ "$(moe-score --list --json | jq -r '[.criteria[].column | select(.)] | join(" ")')" = "max tgf" ]
}

@test "the default is S(0,2,1), and marked" {
    moe-score -q "$GOOD" >a.tsv
    moe-score -q -c 0,2,1 "$GOOD" | cmp - a.tsv
    grep -q "^#criterion	$(moe-score --list --json | jq -r '.criteria[] | select(.default) | .name')	" a.tsv
    [ "$(moe-score --list --json | jq '[.criteria[] | select(.default)] | length')" -eq 1 ]
}

@test "--diff" {
    moe-score -q -c reap -o a.tsv "$GOOD"
    moe-score -q -c freq -o b.tsv "$GOOD"
    run moe-score --diff a.tsv b.tsv
    [ "$status" -eq 0 ]
    [ "${lines[1]}" = "    1      3      3      2   0.5000   0.0000  -0.4000" ]
    [ "${lines[3]}" = "total      6      6      4   0.5000   0.0000  -0.7000" ]
    run moe-score --diff --json a.tsv a.tsv
    [[ $output == *'"total":{"kept_a":6,"kept_b":6,"both":6,"jaccard":1,"removed":1,"spearman":1}}' ]]
    sed 's/digest=0/digest=1/' a.tsv >c.tsv
    fails_with 'another model than .*routers differ' moe-score --diff a.tsv c.tsv
    sed '/^3/d; s/rows=8/rows=4/' a.tsv >c.tsv
    fails_with 'rows for different layers' moe-score --diff a.tsv c.tsv
}

@test "criteria of pairs" {
    "$BUILD/tests/test_select" --matrices run.matrices
    moe-score -q -k 2 -c gram --matrices run.matrices >a.tsv
    [ "$(grep '^1' a.tsv | cut -f2- | tr '\t\n' ',;')" = '0,0,3,4;1,1,10,2;2,0,10,3;3,1,21,1;' ]
    run --separate-stderr moe-score -k 2 -c gram --matrices run.matrices "$GOOD"
    [ "$status" -eq 0 ]
    [ "$output" = "$(cat a.tsv)" ]
    [[ $stderr != *different\ data* ]]
    sed 's/c0de\t/c0df\t/' "$GOOD" >other.stats
    run moe-score other.stats
    digest=$(sed -n 's/.*contents is \([0-9a-f]*\),.*/\1/p' <<<"$output")
    sed -i "s/xxh3=.*/xxh3=$digest/" other.stats
    run --separate-stderr moe-score -k 2 -c gram --matrices run.matrices other.stats
    [[ $stderr == *"the statistics and the matrices were made of different data"* ]]
    run --separate-stderr moe-score -k 2 -c gram --select worst --matrices run.matrices
    [[ $stderr == *"category 'code' loses most: 52.38% of its own; all together lose 29.55%"* ]]
    moe-score -q -c hope_sum --weights code=1 --protect super,1,turns=1 --matrices run.matrices "$GOOD" |
        grep -q '^#criterion	hope_sum	keep=3	ratio=0.25	weights=code=1	protect=super,1,turns=1$'
    run -2 moe-score -c gram --protect 1 --matrices run.matrices
    [[ $output == *"--protect super and --protect N need STATS"* ]]
    run -2 moe-score --stability -c gram --matrices run.matrices
    [[ $output == *"does not tell the halves of the data apart"* ]]
    fails_with 'run.matrices: .* twice' moe-score -c gram --matrices run.matrices --matrices run.matrices
    head -c 500 run.matrices >cut.matrices
    fails_with 'cut.matrices' moe-score -c gram --matrices cut.matrices
}

@test "a criterion file" {
    { echo '#moe-scores 1'; grep '^#model' "$GOOD"; echo '# by hand'
        printf '%s\n' '3 0 0' '3 1 -1e3' '3 2 2' '3 3 1' '1 0 4' '1 1 3' '1 2 2' '1 3 1' '#end rows=8'; } >by.tsv
    moe-score -q -k 2 -c file:by.tsv >a.tsv
    grep -q '^#criterion	file	keep=2$' a.tsv
    [ "$(grep -v '^#' a.tsv | cut -f3,5 | tr '\t\n' ',;')" = '1,1;1,2;0,3;0,4;0,3;0,4;1,1;1,2;' ]
    moe-score -q -k 2 -c file:- <by.tsv | cmp - a.tsv
    moe-score -q -k 2 -c file:by.tsv --protect 1 "$GOOD" | grep -q '^1	3	1	1	2$'
    run -2 moe-score -c file:by.tsv --weights code=1 "$GOOD"
    [[ $output == *"does not tell categories apart"* ]]
    sed 's/1 1 3/1 1 nan/' by.tsv >bad.tsv
    fails_with 'bad.tsv: line 9: score: nan' moe-score -c file:bad.tsv
    sed '4d; s/rows=8/rows=7/' by.tsv >bad.tsv
    fails_with 'bad.tsv: layer 3: expert 0 has no row' moe-score -c file:bad.tsv
    sed 's/$/ 1/; 1s/ 1$//' by.tsv >bad.tsv
    fails_with "bad.tsv: line 2: topk: '2 1'|bad.tsv: line" moe-score -c file:bad.tsv
    fails_with 'line 1: not a criterion file' moe-score -c "file:$GOOD"
    sed 's/digest=0/digest=1/' by.tsv >other.tsv
    fails_with 'the criterion file was made from another model' moe-score -c file:other.tsv "$GOOD"
}

@test "worst category, turns, budgets end up in the plan" {
    run --separate-stderr moe-score -k 2 -c reap_sum --select worst "$GOOD"
    [[ ${lines[2]} == "#criterion	weighted_ean_sum	keep=2	select=worst" ]]
    [[ $stderr == *"loses most: "*"% of its own; all together lose "* ]]
    run --separate-stderr moe-score -k 2 -c reap --budget global --min-keep 1 "$GOOD"
    [[ ${lines[2]} == "#criterion	reap	keep=2	budget=global	min=1" ]]
    [ "$(cut -f3 <<<"$output" | grep -c '^1$')" -eq 4 ]
    run --separate-stderr moe-score -n -k 3 --budget global "$GOOD"
    if [[ $stderr == *"2 to 4 in each"* ]]; then
        [[ $stderr == *"no runtime loads this family"*"compare --plan"* ]]
    fi
}

@test "--stability" {
    run --separate-stderr moe-score --stability -c freq "$GOOD" # both halves are alike
    [ "$status" -eq 0 ]
    [ "${lines[3]}" = "total      6      6      6   1.0000   1.0000   1.0000" ]
    [ "${lines[4]}" = "halves: 9 and 9 tokens; correlation of their scores about 1.000" ]
    [ "${lines[6]}" = "for 0.95 about 0 tokens each are needed" ]
    moe-score --stability --json --min-jaccard 0.9 "$GOOD" | jq -e '.total.jaccard == 1 and .needed == 0 and .wanted == 0.9'
    awk -F'\t' -vOFS='\t' '$1 == 1 && $3 == 0 && $4 == 2 { for (i = 5; i < 15; i++) $i = 90 } { print }' "$GOOD" >odd.stats
    run moe-score odd.stats
    digest=$(sed -n 's/.*contents is \([0-9a-f]*\),.*/\1/p' <<<"$output")
    sed -i "s/xxh3=.*/xxh3=$digest/" odd.stats
    run -3 moe-score --stability -k 2 -c freq --min-jaccard 0.9 odd.stats
    [[ $output == *"for 0.9 about 1,700 tokens each"* ]] # two digits: it is an estimate
    run -0 moe-score --stability -k 2 -c freq odd.stats
}

@test "--coverage" {
    run moe-score --coverage "$GOOD"
    [ "$status" -eq 0 ]
    [ "${lines[1]}" = "code               11        8        2        8        0        3.0" ]
    [ "${lines[3]}" = "total              19        8        0        8        4        8.0" ]
    run -3 moe-score --coverage --min-tokens 5 "$GOOD"
    run -0 moe-score --coverage --min-tokens 4 "$GOOD"
    moe-score --coverage --json --min-tokens 4 "$GOOD" | jq -e '.few == [] and .category[0].none == 2 and .total.smallest == 4'
    run -3 moe-score --coverage --json --min-tokens 5 "$GOOD"
    jq -e '.few == [{"layer":1,"expert":2,"n":4},{"layer":3,"expert":1,"n":4}]' <<<"$output"
}

@test "an edited plan is still a plan" {
    moe-score -q -o a.tsv "$GOOD"
    (sed -n 1p a.tsv; echo; echo '# expert 0 by hand'; sed '1d; $d; s/\t/  /g; /^#columns/d' a.tsv | sort -r | sed 's/$/\r/'
        echo '# Z'; printf '#end rows=8') | sed 's/^\(#model\|#criterion\)  /\1 /' >b.tsv
    grep '^#model' b.tsv >m; grep -v '^#model' b.tsv | sed '1r m' >c.tsv
    run moe-score --diff --json a.tsv c.tsv
    [ "$status" -eq 0 ]
    [[ $output == *'"both":6,"jaccard":1,"removed":1,"spearman":1}}' ]]
}

# statistics: the frame
@test "refused: empty file" { refuses 'line 1: not a statistics file' -n ''; }
@test "refused: a plan as statistics" { refuses 'line 1: not a statistics file' 1s/stats/plan/; }
@test "refused: another version" { refuses "line 1: '#moe-stats 2' is another version" '1s/1$/2/'; }
@test "refused: no end line" { refuses 'truncated' '$d'; }
@test "refused: cut in the last line" { refuses 'truncated' '$s/c7$//'$'\n''$!b'$'\n''$s/#end/#en/'; }
@test "refused: text after the end line" { refuses 'truncated' '$a 3'; }
@test "refused: a last line without its newline" {
    printf %s "$(cat "$GOOD")" >cut.stats
    fails_with 'cut.stats: truncated' moe-score cut.stats
}
@test "refused: another digest" { refuses 'the digest of the contents is 5c60.*changed or damaged' '$s/xxh3=5/xxh3=6/'; }
@test "refused: a changed value" { refuses 'changed or damaged' '6s/\t4\t/\t5\t/'; }
@test "refused: CRLF" { refuses "line 1: '#moe-stats 1.' is another version" 's/$/\r/; $s/\r//'; }
@test "refused: a digest that is none" { refuses 'xxh3=.* is not 32 lower-case' '$s/xxh3=5/xxh3=G/'; }
@test "refused: fewer rows than counted" { refuses 'says rows=33, but there are fewer' '$s/=32/=33/'; }
@test "refused: more rows than counted" { refuses 'line 37: .*says rows=31, but there are more' '$s/=32/=31/'; }
@test "refused: a count of rows that cannot be" { refuses 'rows=99999999999999999 cannot be' '$s/=32/=99999999999999999/'; }

# statistics: the header
@test "refused: no model line" { refuses 'line 2: expected #model' 2d; }
@test "refused: no run line" { refuses 'line 3: expected #run' 3d; }
@test "refused: no columns line" { refuses 'line 5: expected #part or #columns' 5d; }
@test "refused: other columns" { refuses 'line 5: .*not those of this version' '5s/g2f2/x/'; }
@test "refused: an unknown field" { refuses "line 2: unknown field 'colour=red'" '2s/$/\tcolour=red/'; }
@test "refused: a field twice" { refuses 'line 2: topk stands twice' '2s/$/\ttopk=2/'; }
@test "refused: a missing field" { refuses 'line 2: hidden= is missing' '2s/\thidden=8//'; }
@test "refused: no experts" { refuses 'line 2: experts: 0 is outside' '2s/experts=4/experts=0/'; }
@test "refused: top-k above experts" { refuses 'line 2: topk: 5 is outside 1 to 4' '2s/topk=2/topk=5/'; }
@test "refused: a short digest" { refuses 'line 2: digest .* is not 32' '2s/ff$//'; }
@test "refused: shard 2 of 1" { refuses 'line 4: .*2 is outside 1 to 1' '4s/1.1/2\/1/'; }
@test "refused: a part twice" { refuses 'line 5: shard 1/1 .* twice' 4p; }

# statistics: the rows
@test "refused: a missing row" { refuses "line 8: expected .*'1	code	0	2', found '1	code	0	3'" 8d; }
@test "refused: a row twice" { refuses "line 9: expected .*'1	code	0	3', found '1	code	0	2'" 8p; }
@test "refused: rows out of order" { refuses 'line 7: expected' '7{h;d};8G'; }
@test "refused: a category missing" { refuses 'line 30: rows are missing before the #end line' '/^3\ttext/d;$s/32/24/'; }
@test "refused: a category missing in the second layer" { refuses "line 22: expected category 'code'" '/^3\tcode/d'; }
@test "refused: a category more in the second layer" { refuses "line 22: category 'text' is not expected" '/^1\ttext/{h;d}'; }
@test "refused: categories out of order" { refuses "line 14: category 'text' is not expected" 's/\tcode\t/\tz\t/'; }
@test "refused: layers out of order" { refuses 'line 22: layer 0 after layer 1' 's/^3\t/0\t/'; }
@test "refused: a layer that the model does not have" { refuses 'line 22: layer 4 in a model of 4' 's/^3\t/4\t/'; }
@test "refused: a bad escape" { refuses 'line 6: the category is empty or has an unknown escape' 's/code/co\\de/'; }
@test "refused: an empty category" { refuses 'line 6: the category is empty' 's/code//'; }
@test "refused: NaN" { refuses "line 7: column f: 'nan' is not a finite" '7s/8/nan/'; }
@test "refused: infinity" { refuses "line 7: column f: '1e999' is not a finite" '7s/8/1e999/'; }
@test "refused: a negative sum" { refuses "line 7: column f: '-8' is not a finite" '7s/8/-8/'; }
@test "refused: a word for a number" { refuses "line 7: column f: '8x' is not" '7s/8/8x/'; }
@test "refused: an empty value" { refuses "line 7: column f: '' is not" '7s/8//'; }
@test "refused: a fraction of a token" { refuses "line 6: column n: '8.5' is not a whole" '6s/8/8.5/'; }
@test "refused: more tokens than 64 bits" { refuses 'line 6: column n' '6s/8/18446744073709551616/'; }
@test "refused: too few columns" { refuses 'line 6: too few columns' '6s/\t1$//'; }
@test "refused: too many columns" { refuses 'line 6: too many columns' '6s/$/\t1/'; }
@test "refused: sums without tokens" { refuses 'line 9: sums over no tokens' '9s/0$/1/'; }
@test "refused: a comment between the rows" { refuses 'line 8: expected' '7a # hello'; }
@test "refused: an empty line" { refuses 'line 8: expected' '7G'; }
@test "refused: a file that is not there" { fails_with "cannot open 'none.stats'" moe-score none.stats; }

# plans
@test "refused plan: empty" { refuses_plan 'it is empty' -n ''; }
@test "refused plan: statistics" { refuses_plan 'line 1: not a plan' 1s/plan/stats/; }
@test "refused plan: another version" { refuses_plan 'line 1: another version' '1s/1$/12/'; }
@test "refused plan: no end line" { refuses_plan 'truncated' '$d'; }
@test "refused plan: a row after the end line" { refuses_plan 'line 14: a row after the #end' '5{p;h;d};$G'; }
@test "refused plan: no model line" { refuses_plan 'line 4: a row before the #model line' 2d; }
@test "refused plan: two model lines" { refuses_plan 'line 3: a second #model line' 2p; }
@test "refused plan: other columns" { refuses_plan 'line 4: the columns of a plan are' '4s/score\trank/rank\tscore/'; }
@test "refused plan: another count" { refuses_plan 'line 13: the #end line says rows=9, but 8' '$s/8/9/'; }
@test "refused plan: a row missing" { refuses_plan 'layer 1: expert 2 has no row' '7d;$s/8/7/'; }
@test "refused plan: the last expert missing" { refuses_plan 'layer 1: expert 3 has no row' '8d'; }
@test "refused plan: the first expert missing" { refuses_plan 'layer 3: expert 0 has no row' '9d'; }
@test "refused plan: the very last row missing" { refuses_plan 'layer 3: expert 3 has no row' '12d'; }
@test "refused plan: a row twice" { refuses_plan 'line 7: layer 1, expert 1 stands twice .first in line 6' '6p'; }
@test "refused plan: an expert too many" { refuses_plan 'line 8: expert: 4 is outside 0 to 3' '8s/3/4/'; }
@test "refused plan: a layer too many" { refuses_plan 'line 9: layer: 4 is outside 0 to 3' '9s/3/4/'; }
@test "refused plan: keep is 2" { refuses_plan 'line 6: keep: 2 is outside 0 to 1' '6s/\t1\t1\t/\t1\t2\t/'; }
@test "refused plan: keep is yes" { refuses_plan "line 6: keep: 'yes' is not" '6s/\t1\t1\t/\t1\tyes\t/'; }
@test "refused plan: a score that is NaN" { refuses_plan 'line 6: score: nan is outside' '6s/1.5/nan/'; }
@test "refused plan: rank 0" { refuses_plan 'line 6: rank: 0 is outside 1 to 4' '6s/2$/0/'; }
@test "refused plan: four columns" { refuses_plan 'line 6: a row has the 5 columns' '6s/\t2$//'; }
@test "refused plan: six columns" { refuses_plan 'line 6: a row has the 5 columns' '6s/$/\t1/'; }
@test "refused plan: a second plan behind it" {
    moe-score -q -o good.tsv "$GOOD"
    cat good.tsv good.tsv >broken.tsv
    fails_with 'broken.tsv: line 14: a second plan begins here' moe-score --diff good.tsv broken.tsv
}

@test "wrong usage" {
    usage "neither 'super', nor a number .* nor turns=N" --protect turns=x "$GOOD"
    usage "--select takes all or worst, not 'best'" --select best "$GOOD"
    usage "--budget takes uniform or global, not 'all'" --budget all "$GOOD"
    usage '--min-keep goes with --budget global' --min-keep 2 "$GOOD"
    usage "'gram' is a criterion of pairs: add --matrices" -c gram "$GOOD"
    usage "'gate_squared_ean_sum' is not" --matrices x "$GOOD"
    usage "unknown criterion 'file'" -c file "$GOOD"
    usage 'one question at a time' --stability --coverage "$GOOD"
    usage 'goes with --stability' --min-jaccard 0.5 "$GOOD"
    usage 'goes with --coverage' --min-tokens 5 "$GOOD"
    usage 'not above chance, which is 0.6 here' --stability --min-jaccard 0.5 "$GOOD"
    usage '--min-jaccard: 2 is outside 0 to 1' --stability --min-jaccard 2 "$GOOD"
    usage 'STATS is missing'
    usage "unknown criterion 'rep'" -c rep "$GOOD"
    usage "unknown criterion '1,0,0'" -c 1,0,0 "$GOOD"
    usage '--ratio does not go with --keep' -r 0.5 -k 2 "$GOOD"
    usage 'would remove everything' -r 1 "$GOOD"
    usage 'cannot keep 5 of 4 experts' -k 5 "$GOOD"
    usage "is not CATEGORY=WEIGHT" --weights code "$GOOD"
    usage "--weights: -1 is outside" --weights code=-1 "$GOOD"
    usage "'code' stands twice" --weights code=1,code=2 "$GOOD"
    usage "no category 'cod' in the statistics: there are 'code', 'text'" --weights cod=1 "$GOOD"
    usage 'no category weighs more than 0' --weights code=0 "$GOOD"
    usage "neither 'super', nor a number" --protect supper "$GOOD"
    usage 'layer 1: 2 experts are protected, but only 1 stay' -k 1 --protect 1 "$GOOD"
    usage 'no OTHER-PLAN after PLAN' --diff "$GOOD"
    usage 'add -o PLAN or --dry-run' --json "$GOOD"
    usage '--output does not go with --coverage' --coverage -o x "$GOOD"
    usage 'more than a number can hold' --weights 'code=1e308,*=1e308' "$GOOD"
    cp "$GOOD" mine.stats
    usage "'./mine.stats' is one of the inputs" -f -o ./mine.stats mine.stats
    cmp mine.stats "$GOOD"
}

@test "numbers that overflow" {
    sed 's/^1\tcode\t\([01]\)\t0\t.*/1\tcode\t\1\t0\t9\t1e308\t1\t1\t1e308\t1\t1\t1\t1\t1/' "$GOOD" >large.stats
    seal large.stats
    fails_with 'layer 1, expert 0: the sums are too large' moe-score -q -c reap_sum -o plan.tsv large.stats
    [ ! -e plan.tsv ]
    sed 's/^1\tcode\t0\t\([01]\)\t[0-9]*/1\tcode\t0\t\1\t18446744073709551615/' "$GOOD" >many.stats
    seal many.stats
    run -0 --separate-stderr moe-score --stability many.stats
    [[ $output == *"halves: 9,223,372,036,854,775,807 and "* ]]
}

@test "a full disk is an error" {
    [ -e /dev/full ] || skip "no /dev/full here"
    run bash -c "moe-score -q '$GOOD' >/dev/full"
    [ "$status" -eq 1 ]
    [[ $output == *"cannot write '<stdout>'"* ]]
}

@test "75 MB of statistics to a plan" {
    "$BUILD/tests/test_stats" --big big.stats
    [ "$(wc -c <big.stats)" -gt 70000000 ]
    moe-score -q -f -o big.tsv big.stats
    rm big.stats
    [ "$(grep -vc '^#' big.tsv)" -eq $((64 * 256)) ]
}
