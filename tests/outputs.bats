#!/usr/bin/env bats
# What outputs never replace: files that were read, files of a model, folders that are no model's; --force or not.
load helper

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    for i in 1 2 3 4; do
        jq -cn --argjson i $i '{category: "c\($i % 2)", ids: [range(20) | (. * 7 + $i * 13) % 63 + 1]}'
    done >docs.jsonl
    moe-observe -q -o run.stats "$TINY_QWEN3" docs.jsonl
    moe-score -q -r 0.5 -o half.plan run.stats
}

setup() {
    mkdir "$BATS_TEST_TMPDIR/work" && cd "$BATS_TEST_TMPDIR/work" || return
    cp "$BATS_FILE_TMPDIR"/{docs.jsonl,run.stats,half.plan} .
    cp -r "$TINY_QWEN3" model
}

# keeps FILE COMMAND...: status 2, one line that names it, and everything here is as it was.
keeps() {
    local file=$1
    shift
    find . -type f -exec sha256sum {} + | sort >"$BATS_TEST_TMPDIR/before"
    run -2 --separate-stderr "$@"
    [ "${stderr_lines[0]}" = "${stderr%$'\n'*}" ] || { echo "not one line: $stderr"; return 1; }
    [[ $stderr == *"'$file' is one of the inputs: choose another name"* ]] || { echo "$*: $stderr"; return 1; }
    find . -type f -exec sha256sum {} + | sort | diff "$BATS_TEST_TMPDIR/before" -
}

@test "no output takes the place of a file of the model" {
    local f
    echo 'MIT' >model/LICENSE
    mkdir model/original
    echo '{}' >model/original/params.json
    for f in config.json model.safetensors tokenizer.json chat_template.jinja generation_config.json LICENSE original/params.json; do
        keeps "model/$f" moe-observe -q -f -o "model/$f" model docs.jsonl
        keeps "./model/$f" moe-observe -q -f -o s --matrices "./model/$f" model docs.jsonl
        keeps "model/$f" moe-observe -q -f -o s --reservoir "model/$f" model docs.jsonl
        keeps "model/$f" moe-inspect -q -f --aimer -o "model/$f" model
        keeps "model/$f" moe-bench perplexity -q -f -o "model/$f" model docs.jsonl
        keeps "model/$f" moe-bench compare -q -f --cache "model/$f" --plan half.plan model docs.jsonl
        keeps "model/$f" moe-bench compare -q -f -o "model/$f" --plan half.plan model docs.jsonl
        keeps "model/$f" moe-bench refine -q -f -o "model/$f" --plan half.plan model docs.jsonl
        keeps "model/$f" moe-bench repair -q -f -o "model/$f" --plan half.plan model docs.jsonl
    done
}

@test "nor of a candidate's, nor of what the links of a model lead to" {
    cp -r model other
    keeps other/config.json moe-bench compare -q -f -o other/config.json other model docs.jsonl
    keeps other/model.safetensors moe-bench compare -q -f --cache other/model.safetensors --model other model docs.jsonl
    mkdir blobs
    mv model/model.safetensors blobs/weights
    mv model/tokenizer_config.json blobs/words
    ln -s ../blobs/weights model/model.safetensors
    ln -s ../blobs/words model/tokenizer_config.json
    keeps blobs/weights moe-observe -q -f -o blobs/weights model docs.jsonl
    keeps blobs/words moe-inspect -q -f --aimer -o blobs/words model
}

@test "nor of a file that was read, whatever its name" {
    mkdir texts
    cp docs.jsonl texts/a.jsonl
    ln docs.jsonl same.jsonl
    keeps docs.jsonl moe-observe -q -f -o docs.jsonl model docs.jsonl
    keeps same.jsonl moe-observe -q -f -o same.jsonl model docs.jsonl
    keeps texts/a.jsonl moe-observe -q -f -o texts/a.jsonl model texts
    keeps docs.jsonl bash -c 'moe-observe -q -f -o docs.jsonl model - <docs.jsonl'
    keeps run.stats moe-score -q -f -o run.stats run.stats
    keeps half.plan moe-bench refine -q -f -o half.plan --plan half.plan model docs.jsonl
    keeps ./half.plan moe-bench repair -q -f -o ./half.plan --plan half.plan model docs.jsonl
    moe-inspect -q --aimer -o aimer model
    keeps aimer moe-score -q -f -c file:aimer -o aimer run.stats
    keeps half.plan moe-bench compare -q -f --cache half.plan --plan half.plan model docs.jsonl
}

@test "an output of its own is replaced with --force, wherever it is" {
    moe-observe -q -o model/run.stats model docs.jsonl # beside the model's files, not one of them yet
    moe-bench compare -q --cache cache --plan half.plan model docs.jsonl
    head -n 2 docs.jsonl >fewer.jsonl
    moe-bench compare -q -f --cache cache --plan half.plan model fewer.jsonl
    moe-bench compare -q --cache cache --plan half.plan model fewer.jsonl
    moe-score -q -f -o half.plan run.stats
}

@test "what --resume keeps is replaced in a model's directory too, and never an input" {
    local run=(moe-observe -q --precision f32 --threads 1 --mem-max 11kB --resume) pid
    [ "$(moe-observe -n -q --json --precision f32 --mem-max 11kB model docs.jsonl | jq .passes)" -gt 2 ]
    "${run[@]}" -o model/s --matrices model/m model docs.jsonl
    run ls model
    [[ $output != *partial* ]]
    cp docs.jsonl m.partial
    cp docs.jsonl m.partial.next
    cp docs.jsonl s.partial
    keeps m.partial "${run[@]}" -o t --matrices m model m.partial
    keeps m.partial.next "${run[@]}" -o t --matrices m model docs.jsonl m.partial.next
    fails_with "s.partial" "${run[@]}" -o s model docs.jsonl
    cmp s.partial docs.jsonl
    # what an earlier run left there
    "${run[@]}" -o model/t --matrices model/n model docs.jsonl &
    pid=$!
    while [ ! -e model/n.partial ] && kill -0 $pid 2>/dev/null; do :; done
    kill -KILL $pid 2>/dev/null || true
    wait $pid || true
    [ -e model/n.partial ] || skip "the run was over too soon"
    cp model/n.partial first.matrices
    "${run[@]}" -o model/t --matrices model/n model docs.jsonl
    cmp model/s model/t
    cmp model/m model/n
    # killed after the matrices of a pass and before its statistics: nothing belongs to them, and they are ours
    rm model/t model/n
    cp first.matrices model/n.partial.next
    "${run[@]}" -o model/t --matrices model/n model docs.jsonl
    cmp model/s model/t
    cmp model/m model/n
    run ls model
    [[ $output != *partial* ]]
}

# stays DIR MESSAGE: moe-prune and moe-quant do not replace it.
stays() {
    local dir=$1
    find . | sort >"$BATS_TEST_TMPDIR/before"
    fails_with "$2" moe-prune -q -f model half.plan "$dir"
    fails_with "$2" moe-quant -q -f -t mxfp4 model "$dir"
    find . | sort | diff "$BATS_TEST_TMPDIR/before" -
}

@test "a folder that is no model's is not replaced" {
    mkdir -p empty models/one project made/notes
    echo notes >models/README.md
    stays models "'models' holds 'one', which is no file of a model"
    rm -r models/one
    stays models "'models' is not a model's directory and not empty"
    echo '{"name": "an npm package"}' >project/config.json
    echo x >project/x.bin
    stays project "is not a model's directory"
    moe-prune -q -f model half.plan empty
    moe-prune -q -f model half.plan empty
    [ -f empty/model.safetensors ]
    for f in thesis.tex thesis.txt run.stats; do
        cp -r empty "with-$f"
        echo work >"with-$f/$f"
        stays "with-$f" "holds '$f', which is no file of a model"
    done
    cp empty/* made
    stays made "holds 'notes', which is no file"
}

@test "a folder that holds an input is not replaced" {
    moe-prune -q model half.plan out
    cp half.plan out/plan.json # by its name a file of a model
    run -2 --separate-stderr moe-prune -q -f model out/plan.json out
    [[ $stderr == *"'out' holds one of the inputs"* ]]
    cmp half.plan out/plan.json
    # the model's weights by way of a link
    cp -r out store
    mv model/model.safetensors store/blob.safetensors
    ln -s ../store/blob.safetensors model/model.safetensors
    run -2 --separate-stderr moe-quant -q -f -t mxfp4 model store
    [[ $stderr == *"'store' holds one of the inputs"* ]]
    [ -f store/blob.safetensors ]
    # and a file that is only carried along
    mv model/tokenizer.json out/words.json
    ln -s ../out/words.json model/tokenizer.json
    run -2 --separate-stderr moe-quant -q -f -t mxfp4 model out
    [[ $stderr == *"'out' holds one of the inputs"* ]]
    [ -f out/words.json ]
}

@test "what a killed run left, or somebody planted, under the temporary name is not in the way" {
    # the shell's number is that of the program it becomes
    echo secret >victim
    # shellcheck disable=SC2016 # $$ is the inner shell's
    bash -c 'ln -s "$PWD/victim" ".new.partial-$$"; exec moe-score -q -o new run.stats'
    [ "$(cat victim)" = secret ]
    [ ! -L new ]
    # shellcheck disable=SC2016
    bash -c 'mkdir "out.partial-$$"; echo old >"out.partial-$$/part"; exec moe-prune -q model half.plan out'
    [ -f out/config.json ]
    [ ! -e out/part ]
    [ "$(cat out.partial-*/part)" = old ]
}

@test "a dry run fails where the run would: there is no folder for the output" {
    local said="cannot be written: there is no folder 'nodir'"
    fails_with "$said" moe-observe -n -o nodir/s model docs.jsonl
    fails_with "$said" moe-observe -n -o s --matrices nodir/m model docs.jsonl
    fails_with "$said" moe-score -n -r 0.5 -o nodir/p run.stats
    fails_with "'nodir/out' as the output: No such file" moe-prune -n model half.plan nodir/out
    fails_with "'nodir/out' as the output: No such file" moe-quant -n -t mxfp4 model nodir/out
    fails_with "$said" moe-bench perplexity -n -o nodir/p model docs.jsonl
    moe-score -q -n -r 0.5 -o p run.stats
    [ ! -e p ]
    [ ! -e nodir ]
}
