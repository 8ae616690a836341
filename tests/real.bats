#!/usr/bin/env bats
# make check-real and the page that make compatibility writes (tests/check-real, tests/real.c), on small files of
# our own in the layouts in which people have theirs.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    hub=have/models--some--model-7B/snapshots/0123abc
    mkdir -p "$hub" have/models--other--thing/snapshots/77 have/flat
    cp "$ROOT/tests/fixtures/qwen3-yarn/config.json" "$hub"
    echo '{"architectures": ["NobodyForCausalLM"], "model_type": "nobody"}' >have/models--other--thing/snapshots/77/config.json
    echo '{"bos_token": "<b>", "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"}' \
        >"$hub/tokenizer_config.json"
    jq '.quantization_config = {"quant_method": "nothing-known"}' "$ROOT/tests/fixtures/qwen3-yarn/config.json" >have/flat/ab12.json
    printf 'architecture\tfile\tsource\nx\tab12\tlab/zoo:models/lab--small_config.json\n' >have/flat/index.tsv
    echo '{{ messages[0].content' >have/flat/broken.jinja
    echo "{{ raise_exception('no') }}" >have/flat/never.jinja
    echo '{{ messages | tojson }}{{ tools | tojson }}{{ bos_token }}' >have/flat/all.jinja
    echo '{"other": 1}' >have/flat/vocab.json
    echo '{"architectures": [' >have/flat/half_config.json
    ln -s .. have/flat/loop
    mkdir -p b
    ln -sfn "$BUILD/tests" b/tests
}

row() { awk -F '\t' -v kind="$1" -v name="$2" '$1 == kind && $2 == name { print $3 "|" $4 "|" $5 "|" $6 }' b/real.tsv; }

@test "configs and templates of any layout: what is taken, by the model's name" {
    BUILD=b "$ROOT/tests/check-real" have >out
    "$BUILD/tests/mkrandom" sparse=1 "$ROOT/tests/fixtures/qwen3-yarn/config.json" model
    n=$(moe-inspect --json model | jq .parameters)
    [ "$(row config some/model-7B)" = "Qwen3MoeForCausalLM|run|$n|" ]
    row config other/thing | grep -q "NobodyForCausalLM|refused|-|the architecture 'NobodyForCausalLM' is not known"
    row config lab/zoo:models/lab--small_config.json | grep -q "Qwen3MoeForCausalLM|cut|$n|the quantization 'nothing-known' is not read"
    row config flat/half_config.json | grep -q '^-|refused|-|..*'
    row template some/model-7B | grep -q '^-|part|9/9|reasoning not printed; tools not printed; calls not printed;'
    row template flat/broken.jinja | grep -q '^-|refused|0/9|.*TemplateSyntaxError'
    row template flat/never.jinja | grep -q '^-|raises|0/9|line 1: TemplateError: no'
    [ "$(row template flat/all.jinja)" = '-|renders|9/9|' ]
    [ "$(wc -l <b/real.tsv)" -eq 9 ]
    grep -q '^Qwen3MoeForCausalLM  *1  *1  *0$' out
    grep -q '^all  *1  *1  *2$' out
    grep -q '^templates: 4, of which 1 print everything, 1 in part; 1 only raise errors, 1 are no templates$' out
}

@test "nothing to read is an error" {
    mkdir empty
    run ! env BUILD=b "$ROOT/tests/check-real" empty
    [[ $output == *"no config.json and no chat template"* ]]
    run ! env BUILD=b "$ROOT/tests/check-real"
    [[ $output == *REAL=DIR* ]]
}

@test "the page has a row for each model, and no text of theirs" {
    BUILD=b PAGE=page.md "$ROOT/tests/check-real" have >/dev/null
    grep -q '^| Qwen3MoeForCausalLM | model-7B | run | 0.00 |  |$' page.md
    grep -q "^| Qwen3MoeForCausalLM | lab/small | cut | 0.00 | the quantization 'nothing-known' is not read |$" page.md
    grep -q "^$(cat "$ROOT/VERSION") on [0-9-]*; " page.md
    run ! grep bos_token page.md
}
