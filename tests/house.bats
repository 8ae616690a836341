#!/usr/bin/env bats
# The house around the programs: installation, completion, and that the README tells the truth.
load helper

PROGRAMS=$(sed -n 's/^PROGRAMS *= *//p' "$ROOT/Makefile")

# "PROGRAM" or "PROGRAM SUBCOMMAND": everything that has options and help of its own, a line each.
every_command() {
    local p s
    for p in $PROGRAMS; do
        echo "$p"
        "$p" --list-subcommands | while read -r s; do echo "$p $s"; done
    done
}

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
}

# In the checkout, with the BUILD of this run, which make wants relative.
make_here() {
    make -C "$ROOT" --no-print-directory BUILD="${BUILD#"$ROOT"/}" "$@"
}

@test "every program answers --help, --version and --list-options" {
    local p
    for p in $PROGRAMS; do
        "$p" --help | grep -q "^usage: $p"
        [ "$("$p" --version | head -n 1)" = "$p $(cat "$ROOT/VERSION")" ]
        "$p" --list-options | grep -qx -e --help
    done
}

@test "every program refuses an unknown option with status 2 and one line" {
    local p
    for p in $PROGRAMS; do
        run --separate-stderr "$p" --frobnicate
        [ "$status" -eq 2 ]
        [ -z "$output" ]
        [ "${#stderr_lines[@]}" -eq 1 ]
        [[ $stderr == *frobnicate* ]]
    done
}

@test "every program fails when its output cannot be written" {
    local p
    for p in $PROGRAMS; do
        run bash -c "$p --help >/dev/full"
        [ "$status" -eq 1 ]
        [[ $output == *"No space left"* ]]
    done
}

# Every option of a program, those of its subcommands too.
options() {
    local c
    every_command | grep "^$1\( \|\$\)" | while read -r c; do $c --list-options; done
}

# Options that --help does not list, but doc/ or a test uses.
HIDDEN=--states-on-host

@test "every option is in the manual page or in moe(7), and none is there that does not exist" {
    local p option page
    for p in $PROGRAMS; do
        page=$ROOT/man/$p.1
        options "$p" | sort -u >"$p.options"
        sed 's/^--//; s/^no-//' "$p.options" | while read -r option; do
            grep -q -E "(Fl|,|\|) -(\[no-\]|no-)?$option( |,|\$)|Cm $option\$" "$page" "$ROOT/man/moe.7" ||
                { echo "neither man/$p.1 nor man/moe.7 mentions --$option"; exit 1; }
        done
        # What follows "Nm moe-" is another program's.
        grep -v '^\.Nm moe-' "$page" | grep -oE '(Fl|,|\|) -[a-z][a-z-]+' | sed 's/.* -/--/' | sort -u >page.options
        run comm -13 "$p.options" page.options
        [ -z "$output" ] || { echo "man/$p.1 has, and $p has not: $output"; return 1; }
    done
    sort -u ./*.options >all
    run comm -13 all <(grep -oE '(Fl|,) -[a-z][a-z-]+' "$ROOT/man/moe.7" | sed 's/.* -/--/' | sort -u)
    [ -z "$output" ] || { echo "man/moe.7 has, and no program: $output"; return 1; }
    [ "$(wc -l <all)" -gt 60 ]
}

@test "commands in documentation, --help and examples have options that exist" {
    local p name rest option
    for p in $PROGRAMS; do options "$p" | sort -u >"$p.options"; done
    {
        cat "$ROOT"/README.md "$ROOT"/doc/*.md "$ROOT"/man/* "$ROOT"/examples/*.* "$ROOT"/examples/*/* | sed 's/\\-/-/g'
        every_command | while read -r p; do $p --help; done
    } | sed -e ':a' -e '/\\$/{N;s/\\\n//;ba}' | grep -oE '\bmoe-(inspect|observe|score|prune|quant|bench) [^|;&`]*' >commands
    while read -r name rest; do
        for option in $rest; do
            [[ $option =~ ^(--[a-z][a-z-]+) ]] || continue
            option=${BASH_REMATCH[1]}
            grep -q -x -e "$option" "$name.options" || [ "$option" = $HIDDEN ] ||
                { echo "$name has no $option: $name $rest"; return 1; }
        done
    done <commands
    [ "$(wc -l <commands)" -gt 100 ]
}

@test "documentation refers to pages and files that exist" {
    local p s f link
    for p in $PROGRAMS; do [ -f "$ROOT/man/$p.1" ]; done
    every_command | while read -r p s; do
        [ -z "$s" ] || grep -qx "\.Ss $s" "$ROOT/man/$p.1" || { echo "man/$p.1 has no section $s"; exit 1; }
    done
    for f in stats plan scores matrices reservoir logprobs repair; do [ -f "$ROOT/man/moe-$f.5" ]; done
    sed -n 's/^\.Xr \(moe[a-z-]*\) \([1-8]\).*/\1.\2/p' "$ROOT"/man/* | sort -u | while read -r f; do
        [ -f "$ROOT/man/$f" ] || { echo "there is no man/$f"; exit 1; }
    done
    for f in "$ROOT"/*.md "$ROOT"/*/*.md "$ROOT"/*/*/README.md; do
        grep -oE '\]\([^):#]+\)' "$f" | tr -d ']()' | while read -r link; do
            [ -e "${f%/*}/$link" ] || { echo "$f: there is no $link"; exit 1; }
        done
    done
}

@test "tests: no line that cannot fail as it looks" {
    local bad
    awk -f "$ROOT/tests/chains.awk" "$ROOT"/tests/*.bats "$ROOT"/tests/*.bash >found
    diff /dev/null found
    for bad in '[ a = b ] && [ c ]' '[[ $x == y ]] && [ c ]' 'cmp a b && true' '! grep x y' 'if a; then b && c; fi' \
        'a || b && c' '[ "$(cat "a b")" = c ] &&'$'\n''[ d ]' 'f() { a && b; }'; do
        printf '@test "x" {\n%s\nend\n}\n' "$bad" >bad.bats
        [ -n "$(awk -f "$ROOT/tests/chains.awk" bad.bats)" ] || { echo "not found: $bad"; return 1; }
    done
    cat >good.bats <<'END'
x() {
    a && b || return
    if a && b; then c; fi
    while [ a ] && [ b ]; do c; done
    [[ a && b ]]
    run ! grep x y
    (cd a && b)
    [ "$(cd a && b)" = 'c && d' ] # e && f
    awk '$1 && $2 {
        print $3 && $4
    }' "$x"
    cat <<END2
a && b
END2
}
END
    awk -f "$ROOT/tests/chains.awk" good.bats >found
    diff /dev/null found
}

@test "CONTRIBUTING: the rooms of lib/ include only themselves and those below them" {
    local order room below f
    order=$(tr '\n' ' ' <"$ROOT/CONTRIBUTING.md" | sed -n 's/.*only call those below them: \([a-z, ]*\)\..*/\1/p' | tr -d ,)
    [ "$(tr ' ' '\n' <<<"$order" | sort)" = "$(cd "$ROOT/lib" && printf '%s\n' * | sort)" ]
    below=" $order "
    for room in $order; do
        find "$ROOT/lib/$room" -name '*.[ch]' -exec sed -n 's|^#include "\([a-z]*\)/.*|\1|p' {} + | sort -u | while read -r f; do
            [[ $below == *" $f "* ]] || { echo "lib/$room includes $f, which is above it"; exit 1; }
        done
        below=${below/" $room "/ }
    done
}

@test "doc/engine.md and CONTRIBUTING: the files, functions and types that they name are there" {
    local word
    cat "$ROOT"/doc/engine.md "$ROOT"/CONTRIBUTING.md >pages
    grep -oE '[a-zX_/]+[.](c|h|cu|bats|py)\b' pages | grep -v X | sort -u >names
    [ "$(wc -l <names)" -gt 60 ]
    (cd "$ROOT" && find cmd kernels lib tests tools -type f) >files
    while read -r word; do
        grep -qE "(^|/)$word\$" files || { echo "there is no $word"; return 1; }
    done <names
    {
        grep -oE '`(struct|enum) [a-z_]+' pages | tr -d '`'
        sed -n '/^    moe-observe /,/^## /p' "$ROOT/doc/engine.md" | grep -oE '\b[a-z]+_[a-z_]+\b' # calls
    } | sort -u >names
    [ "$(wc -l <names)" -gt 40 ]
    find "$ROOT"/{cmd,kernels,lib} -name '*.[ch]*' -exec cat {} + >sources
    while read -r word; do
        grep -qE "\b$word( \{|\()" sources || { echo "there is no $word"; return 1; }
    done <names
}

@test "CONTRIBUTING: makers of devices include device/, quant/ and base/ only" {
    local f
    for f in "$ROOT"/lib/device/*.[ch] "$ROOT"/lib/cpu/*.[ch] "$ROOT"/kernels/cuda/*.{h,cu}; do
        sed -n 's|^#include "\(.*\)".*|\1|p' "$f"
    done | sort -u >included
    [ "$(wc -l <included)" -gt 10 ]
    # Their own, without a folder in kernels/cuda, and what the Makefile writes.
    run ! grep -vxE "(device|quant|base|cpu)/[a-z0-9_]+\.h|[a-z_]+\.h" included
}

@test "sources: each says first what it is for, no two files have one name, no static function is in three" {
    local f
    (cd "$ROOT" && find cmd kernels lib tests -name '*.[ch]' -o -name '*.cu') >files
    [ "$(wc -l <files)" -gt 300 ]
    run uniq -d < <(sed 's,.*/,,' files | sort)
    [ -z "$output" ]
    while read -r f; do
        head -n 2 "$ROOT/$f" | grep -qF "* ${f##*/} -- " || { echo "$f does not begin with /* ${f##*/} -- what it is for */"; return 1; }
    done <files
    # A name that is looked for has one place, two at most; tests, which see only their own file, are left out.
    while read -r f; do
        sed -nE "s,^(static|INLINE) [^;=(]*[ *]([a-z][a-z0-9_]*)\(.*,\2,p" "$ROOT/$f" | sort -u
    done < <(grep -v '^tests/' files) | sort | uniq -c | awk '$1 > 2 { print "static in " $1 " files: " $2 }' >found
    diff /dev/null found
}

@test "install puts everything under DESTDIR and PREFIX, uninstall takes it away" {
    make_here install DESTDIR="$PWD/a dir" PREFIX=/opt/moe
    local root="$PWD/a dir/opt/moe" p
    for p in $PROGRAMS; do
        [ -x "$root/bin/$p" ]
        [ -f "$root/share/man/man1/$p.1" ]
        [ -f "$root/share/bash-completion/completions/$p" ]
    done
    [ -f "$root/share/man/man7/moe.7" ]
    [ -x "$root/share/moe-tools/examples/calibration/own-text" ]
    "$root/bin/moe-inspect" "$root/share/moe-tools/examples/tiny-qwen3"
    make_here uninstall DESTDIR="$PWD/a dir" PREFIX=/opt/moe
    [ -z "$(find "a dir" -type f)" ]
}

@test "completion offers options and values" {
    # shellcheck source=/dev/null
    source "$ROOT/tools/completion.bash"
    COMP_WORDS=(moe-observe --dev) COMP_CWORD=1
    _moe_tools
    [ "${COMPREPLY[*]}" = --device ]
    COMP_WORDS=(moe-score -c weighted_ean) COMP_CWORD=2
    _moe_tools
    [[ " ${COMPREPLY[*]} " == *" weighted_ean_sum "* ]]
    COMP_WORDS=(moe-bench comp) COMP_CWORD=1
    _moe_tools
    [ "${COMPREPLY[*]}" = compare ]
    COMP_WORDS=(moe-bench compare --max-k) COMP_CWORD=2
    _moe_tools
    [ "${COMPREPLY[*]}" = '--max-kl --max-kl-category' ]
    COMP_WORDS=(moe-bench '') COMP_CWORD=1
    _moe_tools
    [ "${COMPREPLY[*]}" = "$(moe-bench --list-subcommands | paste -sd ' ')" ]
    [ ${#COMPREPLY[@]} -ge 5 ]
    COMP_WORDS=(moe-bench --vers) COMP_CWORD=1
    _moe_tools
    [ "${COMPREPLY[*]}" = --version ]
    COMP_WORDS=(moe-prune --mtp '') COMP_CWORD=2
    _moe_tools
    [ "${COMPREPLY[*]}" = 'drop refuse' ]
    COMP_WORDS=(moe-quant -t m) COMP_CWORD=2
    _moe_tools
    [ "${COMPREPLY[*]}" = mxfp4 ]
    COMP_WORDS=(moe-bench speed --device c) COMP_CWORD=3
    _moe_tools
    [[ " ${COMPREPLY[*]} " == *" cpu "* ]]
    COMP_WORDS=(moe-observe --precision '') COMP_CWORD=2
    _moe_tools
    [ "${COMPREPLY[*]}" = 'auto bf16 f32' ]
    COMP_WORDS=(moe-inspect mod) COMP_CWORD=1
    _moe_tools
    [ -z "${COMPREPLY[*]}" ] # bash's own: files
}

# The README's transcript: each command that follows "$ ", and exactly what it prints on a terminal.
@test "README: the transcript for gpt-oss-20b is what the programs print" {
    "$BUILD/tests/mkmodel" gpt-oss-20b gpt-oss-20b
    sed -n '/^    \$ /,/^[^ ]/{s/^    //p;}' "$ROOT/README.md" | sed '/^$/d' >expected
    [ "$(grep -c '^\$ ' expected)" -ge 3 ]
    local command
    while IFS= read -r command; do
        printf '$ %s\n' "$command"
        script -qec "$command" /dev/null </dev/null | tr -d '\r' | sed '/^$/d'
    done < <(sed -n 's/^\$ //p' expected) >printed
    diff expected printed
}

@test "README: the commands from start to end work" {
    local cache=$PWD/hub/models--openai--gpt-oss-20b revision=0123456789abcdef0123456789abcdef01234567
    mkdir -p "$cache/refs" "$cache/snapshots"
    printf %s $revision >"$cache/refs/main"
    ln -s "$TINY_GPTOSS" "$cache/snapshots/$revision"
    mkdir prompts
    "$ROOT/examples/calibration/own-text" "$ROOT"/lib/base/*.c >prompts/c.jsonl
    sed -n '/^From start to end/,/^#/s/^    //p' "$ROOT/README.md" >commands
    [ "$(wc -l <commands)" -eq 9 ]
    ln -s "$ROOT/examples" examples
    HF_HUB_CACHE=$PWD/hub BIN='' bash -e commands
    moe-inspect --check gpt-oss-20b-pruned
    cmp <(moe-inspect --json gpt-oss-20b-pruned | grep bytes) <(moe-inspect --json gpt-oss-pruned | grep bytes)
    # by hand: the same observation, so the same plan of the default criterion
    cmp gate_squared_ean_sum.tsv gpt-oss-20b-pruned.work/0.25/gate_squared_ean_sum.tsv
}

# packages: with a compiler that lacks the header named in the file "lacks", an apt-cache that knows make and what is
# in the file "packaged", and an apt-get, sudo and id that only say that they were called.
fake_system() {
    mkdir fake
    printf '#!/bin/sh\n! grep -q -f lacks\n' >fake/cc
    printf '#!/bin/sh\n[ "$3" = "^make$" ] && echo make || cat packaged\n' >fake/apt-cache
    printf '#!/bin/sh\necho "apt-get $*" >>called\n' >fake/apt-get
    printf '#!/bin/sh\necho "sudo $*" >>called; [ -e may-sudo ] || exit 1; [ "$1" = -n ] || "$@"\n' >fake/sudo
    printf '#!/bin/sh\n[ -e is-root ] && echo 0 || echo 1000\n' >fake/id
    chmod +x fake/*
    PATH=$PWD/fake:$PATH
    echo cjson >lacks
    : >packaged
    : >called
    unset BLAS CC
}

@test "packages: where nothing is missing, nothing is called" {
    fake_system
    : >lacks
    touch is-root
    run "$ROOT/tools/packages" build test
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [ ! -s called ]
}

@test "packages: root, or sudo without a password, installs exactly what is missing" {
    fake_system
    touch is-root
    "$ROOT/tools/packages" build
    [ "$(cat called)" = "apt-get update -qq
apt-get install -y -qq --no-install-recommends libcjson-dev" ]
    rm is-root
    touch may-sudo
    "$ROOT/tools/packages" build
    grep -q '^sudo env .*apt-get install .* libcjson-dev$' called
}

@test "packages: otherwise the one line to type, and a stop" {
    fake_system
    run "$ROOT/tools/packages" build
    [ "$status" -eq 1 ]
    [ "${lines[1]}" = "    sudo apt-get install libcjson-dev" ]
    run ! grep -q apt-get called
}

@test "packages: oneDNN is installed where it is packaged, and not missed where it is not" {
    fake_system
    echo dnnl >lacks
    touch is-root
    "$ROOT/tools/packages" build
    [ ! -s called ]
    echo libdnnl-dev >packaged
    "$ROOT/tools/packages" build
    grep -q 'install .* libdnnl-dev$' called
}

# wrong_usage PATTERN COMMAND...: status 2, one line.
wrong_usage() {
    local pattern=$1
    shift
    run -2 --separate-stderr "$@"
    [ -z "$output" ]
    [ "$(wc -l <<<"$stderr")" -eq 1 ]
    [[ $stderr =~ $pattern ]] || { echo "does not match /$pattern/: $stderr"; return 1; }
}

@test "an option that would have no effect is an error" {
    local o
    for o in --render --no-special --ignore-add-bos '--chat=qwen3' '--date=2025-01-31'; do
        wrong_usage 'goes with --tokenize' moe-inspect "$o" "$TINY_QWEN3"
    done
    wrong_usage '--context goes with --fit' moe-inspect --context 4096 "$TINY_QWEN3"
    wrong_usage "--fit: '0' is no size" moe-inspect --fit 0 "$TINY_QWEN3"
    wrong_usage "--mem-max: '0GB' is no size" moe-observe -o never --mem-max 0GB "$TINY_QWEN3" README.md
}

@test "options may be cut short where that leaves no doubt, and a misspelt word is answered with what was meant" {
    diff <(moe-inspect --fam) <(moe-inspect --families)
    moe-score --li --js | jq -e '.criteria | length > 10'
    moe-inspect --no-prog --che "$TINY_QWEN3"
    wrong_usage "'--t' may be --tensors or --tokenize;" moe-inspect --t "$TINY_QWEN3"
    wrong_usage "'--no' may be --no-special or --no-progress;" moe-inspect --no "$TINY_QWEN3"
    wrong_usage "unknown option '--tensros' \(did you mean --tensors\?\);" moe-inspect --tensros "$TINY_QWEN3"
    wrong_usage "unknown option '--states-on-h';" moe-bench speed --states-on-h # hidden
    wrong_usage "unknown option '--xyzzy';" moe-inspect --xyzzy
    wrong_usage "unknown subcommand 'comapre' \(did you mean compare\?\)" moe-bench comapre a b
    wrong_usage "unknown criterion 'raep' \(did you mean reap\?\)" moe-score -c raep run.stats
    wrong_usage "unknown criterion 'xyzzy': " moe-score -c xyzzy run.stats
}

@test "operands and options that are missing, too many, or do not go together" {
    wrong_usage 'MODEL, PLAN and OUT are missing' moe-prune
    wrong_usage 'PLAN and OUT are missing after MODEL' moe-prune a
    wrong_usage "'d' is too many: MODEL, PLAN and OUT are all it takes" moe-prune a b c d
    wrong_usage 'MODEL is missing' moe-inspect --check
    wrong_usage '--families takes no operand' moe-inspect --families x
    wrong_usage 'no OTHER-PLAN after PLAN' moe-score --diff a
    wrong_usage '--to is missing: the number format to convert to, ' moe-quant a b
    wrong_usage '--ratio does not go with --keep' moe-score -k 3 -r 0.5 run.stats
    wrong_usage '--min-keep goes with --budget global' moe-score --min-keep 3 --budget uniform run.stats
    wrong_usage '--min-jaccard goes with --stability' moe-score --min-jaccard 0.5 --coverage run.stats
    wrong_usage '--min-jaccard: 2 is outside 0 to 1' moe-score --stability --min-jaccard 2 run.stats
    wrong_usage '--output does not go with --list' moe-score --list -o x
    wrong_usage 'one question at a time: --diff or --coverage' moe-score --coverage --diff a b
    wrong_usage '--resume does not go with --reservoir, which' moe-observe --resume --reservoir r -o s model data
    wrong_usage '--seed goes with --samples-per-category, which' moe-bench perplexity --seed 1 model data
    wrong_usage 'no DATA after REF' moe-bench compare --plan p ref
    wrong_usage 'no DATA after MODEL and REF' moe-bench compare model ref
}

@test "an output is never a device, a pipe, a link or nothing, --force or not" {
    local dir=$BATS_TEST_TMPDIR o
    mkfifo "$dir/pipe"
    echo data >"$dir/file"
    ln -s file "$dir/link"
    for o in pipe link; do
        fails_with "$o' exists and is not a regular file" \
            moe-bench perplexity -f -o "$dir/$o" "$TINY_QWEN3" "$ROOT/README.md"
        fails_with "$o' exists and is not a directory" moe-quant -f -t bf16 "$TINY_GPTOSS" "$dir/$o"
    done
    [ -p "$dir/pipe" ]
    [ -L "$dir/link" ]
    [ "$(cat "$dir/file")" = data ]
    wrong_usage 'name of the output is empty' moe-quant -t bf16 "$TINY_GPTOSS" ''
}

@test "names with control characters stay on their line" {
    cd "$BATS_TEST_TMPDIR" || return
    printf '{"text":"so much and more","category":"a\\nb\\u001b[1mü"}\n' >text.jsonl
    run -0 --separate-stderr moe-observe -o - "$TINY_QWEN3" text.jsonl
    [[ $stderr == *"fewest: 'a?b?[1mü'"* ]]
    [[ $output == *$'\ta\\nb\e[1mü\t'* ]] # files keep the name
    run -0 moe-observe -q --dry-run "$TINY_QWEN3" text.jsonl
    [[ ${lines[0]} == 'category  '* && ${lines[1]} == 'a?b?[1mü  '* ]]
    run -0 moe-bench perplexity -q "$TINY_QWEN3" text.jsonl
    [[ ${lines[1]} == 'a?b?[1mü  '* ]]
    fails_with "no model 'no\?such'" moe-inspect $'no\nsuch'
}

@test "every quantity of the statistics is in the page of its file, a column with its rule" {
    local name rule n=0
    while read -r name rule; do
        grep -q "^\.It Cm .*\b$name\b" "$ROOT/man/moe-stats.5"
        sed -n '/^\.Ss How columns are merged/,/^\.El/p' "$ROOT/man/moe-stats.5" | grep -Eq "^\.It (.*, )?$name(,.*)? Ta ${rule,,}\$"
        n=$((n + 1))
    done < <(sed -n 's/.*COLUMN(M_[A-Z0-9]*, "\([a-z0-9_]*\)", MERGE_\([A-Z]*\).*/\1 \2/p' "$ROOT/lib/stats/statistic.h")
    [ "$n" = 10 ]
    while read -r name; do
        grep -q "^\.It Cm $name Pq" "$ROOT/man/moe-matrices.5"
        n=$((n + 1))
    done < <(sed -n 's/^    {"\([a-z_]*\)", PER_.*/\1/p' "$ROOT/lib/stats/statistic.c")
    [ "$n" = 24 ]
}

@test "make clean removes what make built, and no folder that the environment calls BUILD" {
    mkdir "$BATS_TEST_TMPDIR/src" "$BATS_TEST_TMPDIR/mine" "$BATS_TEST_TMPDIR/src/build"
    cp "$ROOT/Makefile" "$ROOT/VERSION" "$BATS_TEST_TMPDIR/src"
    touch "$BATS_TEST_TMPDIR/mine/thesis" "$BATS_TEST_TMPDIR/src/build/version.h"
    unset MAKEFLAGS MAKEOVERRIDES MFLAGS # of a make that runs the tests: its BUILD is not this one's
    BUILD=$BATS_TEST_TMPDIR/mine make -s -C "$BATS_TEST_TMPDIR/src" clean
    [ -e "$BATS_TEST_TMPDIR/mine/thesis" ]
    [ ! -e "$BATS_TEST_TMPDIR/src/build" ]
    make -s -C "$BATS_TEST_TMPDIR/src" clean BUILD=../mine
    [ -e "$BATS_TEST_TMPDIR/mine/thesis" ]
}

@test "tests/run: a line for each file as it ends, what failed, what took longest, and the counts" {
    mkdir -p "tree of tests/tests" "tree of tests/build"
    cd "tree of tests"
    cp "$ROOT/tests/run" tests/
    for f in a b c d e; do echo '@test "good" { :; }' >tests/$f.bats; done
    printf '@test "good" { sleep 0.2; }\n@test "%s" { %s; }\n' left 'skip "no reason"' >tests/slow.bats
    tests/run build >said
    [ "$(grep -cE '^ +[1-6]/6  [a-z]+\.bats +[0-9]+\.[0-9] s  1 passed(, 1 skipped)?$' said)" = 6 ]
    grep -qx '    slow.bats: left: no reason' said
    [ "$(grep -A 5 '^slowest:$' said | grep -cE '^ +[0-9]+\.[0-9] s  [a-z]+\.bats$')" = 5 ]
    [ "$(tail -n 1 said)" = '6 passed, 0 failed, 1 skipped' ]
    echo '@test "bad" { echo seen; false; }' >tests/e.bats
    run -1 tests/run build e
    grep -qE '^ +1/1  e\.bats .* 0 passed, 1 FAILED$' <<<"$output"
    grep -q '^FAILED e.bats (exit status 1)$' <<<"$output"
    grep -q '^    # seen$' <<<"$output"
    run ! grep -q slowest <<<"$output"
}

# asked PID FILE: SIGUSR1, as soon as it is caught; returns when the answer is in FILE.
asked() {
    for _ in {1..1000}; do
        # A shell before it becomes the program catches it too, and the program does not at first (bit 9).
        [[ $(readlink "/proc/$1/exe") != */moe-* ]] || ! grep -q '^SigCgt:.*[2367abef]..$' "/proc/$1/status" || break
        sleep 0.01
    done
    kill -USR1 "$1"
    for _ in {1..1000}; do
        [ ! -s "$2" ] || return 0
        sleep 0.01
    done
    echo "$1 does not answer"
    return 1
}

@test "SIGUSR1 is answered with one line, with -q too, and changes nothing" {
    local pid line='[0-9]+ s$' t='([0-9]+ s|[0-9]+m[0-9]{2}s)' # a busy machine says minutes
    mkfifo pipe
    moe-observe -q -o asked.stats "$TINY_QWEN3" pipe 2>said &
    pid=$!
    asked $pid said
    for _ in {1..60}; do cat "$ROOT/README.md"; done | tr '\n' ' ' | fold -s -w 6000 | jq -Rc '{text: .}' >long.jsonl
    cat long.jsonl >pipe
    while kill -USR1 $pid 2>/dev/null; do sleep 0.05; done
    wait $pid
    grep -qE "^moe-observe: (working|opening the model|reading the text), $line" said
    grep -qE "^moe-observe: observing +[0-9]+%, layer [1-4] of 4, [0-9]+ tokens/s, $t, $t left\$" said
    run ! grep -vE "^moe-observe: (working|opening the model|reading the text|observing +[0-9]+%, layer [1-4] of 4(, [0-9.]+ tokens/s)?), $t(, $t left)?\$" said
    cat long.jsonl >pipe &
    moe-observe -q -o quiet.stats "$TINY_QWEN3" pipe
    cmp quiet.stats asked.stats

    # The others, while they wait for an input.
    moe-prune -q "$TINY_QWEN3" pipe out 2>said.prune &
    pid=$!
    asked $pid said.prune
    kill -KILL $pid
    grep -qxE "moe-prune: working, $line" said.prune
    cp -r "$TINY_QWEN3" model
    rm model/config.json
    mkfifo model/config.json
    moe-quant -q -t mxfp4 model out 2>said.quant &
    pid=$!
    asked $pid said.quant
    cat "$TINY_QWEN3/config.json" >model/config.json
    wait $pid
    grep -qxE "moe-quant: working, $line" said.quant
    [ -f out/config.json ]
    moe-bench perplexity -q "$TINY_QWEN3" pipe 2>said.bench >table &
    pid=$!
    asked $pid said.bench
    head -n 3 long.jsonl >pipe
    wait $pid
    grep -qE "^moe-bench perplexity: (working|opening the model|reading the text), $line" said.bench
}
