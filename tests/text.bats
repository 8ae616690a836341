# moe-inspect --tokenize: the text room from the command line.
load helper

setup() {
    D=$BATS_TEST_TMPDIR
}

@test "ids of a document" {
    printf '{"text":"Hello, world"}\n\n{"ids":[5,6]}\n' >"$D/x.jsonl"
    run moe-inspect --tokenize "$D/x.jsonl" "$TINY_QWEN3"
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[0]} =~ ^\{\"line\":0,\"ids\":\[[0-9,]+\]\}$ ]]
    [ "${lines[1]}" = '{"line":2,"ids":[5,6]}' ]
}

@test "rendering needs a chat template and no tokenizer" {
    mkdir "$D/alone"
    cp "$TINY_QWEN3/chat_template.jinja" "$D/alone"
    run -0 moe-inspect --tokenize - --render "$D/alone" <<<'{"messages":[{"role":"user","content":"Hi"}]}'
    [[ $output == *'user\nHi'* ]]
    run -1 moe-inspect --tokenize - "$D/alone" <<<'{"messages":[{"role":"user","content":"Hi"}]}'
    [[ $output == *tokenizer.json* ]]
}

@test "a rendered conversation, from standard input" {
    run moe-inspect --tokenize - --render "$TINY_GPTOSS" <<<'{"messages":[{"role":"user","content":"a\tb"}]}'
    [ "$status" -eq 0 ]
    [ "$output" = '{"line":0,"text":"<|start|>user<|message|>a\tb<|end|><|start|>assistant"}' ]
}

@test "a directory of data names the file" {
    mkdir "$D/data"
    echo text >"$D/data/b.txt"
    echo '{"text":"x"}' >"$D/data/a.jsonl"
    run moe-inspect --tokenize "$D/data" --render "$TINY_QWEN3"
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "{\"file\":\"$D/data/a.jsonl\",\"line\":0,\"text\":\"x\"}" ]
    [ "${lines[1]}" = "{\"file\":\"$D/data/b.txt\",\"line\":0,\"text\":\"text\\n\"}" ]
}

@test "what is about the data in a directory of it is no document, and that is told" {
    mkdir "$D/data"
    echo '{"ids":[1,2,3]}' >"$D/data/a.jsonl"
    moe-observe -q -o "$D/before" "$TINY_QWEN3" "$D/data" 2>"$D/said"
    [ ! -s "$D/said" ]
    printf 'not ids\n' | tee "$D/data/README.md" "$D/data/LICENSE" "$D/data/Notice.txt" >"$D/data/.gitattributes"
    moe-observe -o "$D/after" "$TINY_QWEN3" "$D/data" 2>"$D/said"
    grep -q "3 files in folders of data are about it and were not read ('.*/data/LICENSE', for example)" "$D/said"
    [ "$(grep -v '^#' "$D/before")" = "$(grep -v '^#' "$D/after")" ]
    # by its own name, and with another word, it is one
    moe-inspect --tokenize "$D/data/README.md" "$TINY_QWEN3" | grep -q '"ids"'
    mv "$D/data/LICENSE" "$D/data/LICENSES of software"
    run -0 moe-inspect --tokenize "$D/data" "$TINY_QWEN3"
    [ "${#lines[@]}" -eq 2 ]
}

@test "a directory with only a tokenizer will do" {
    mkdir "$D/model"
    cp "$TINY_QWEN3/tokenizer.json" "$D/model"
    echo '{"text":"x"}' >"$D/x.jsonl"
    run moe-inspect --tokenize "$D/x.jsonl" "$D/model"
    [ "$status" -eq 0 ]
    echo '{"messages":[{"role":"user","content":"x"}]}' >"$D/x.jsonl"
    fails_with 'x.jsonl line 1: is a conversation.*--chat' moe-inspect --tokenize "$D/x.jsonl" "$D/model"
    run moe-inspect --tokenize "$D/x.jsonl" --chat "$TINY_QWEN3/chat_template.jinja" "$D/model"
    [ "$status" -eq 0 ]
}

@test "a template that prints the date needs one, and a date must be one" {
    echo '{"messages":[{"role":"user","content":"x"}]}' >"$D/x.jsonl"
    echo "{{ strftime_now('%d %B %Y') }} {{ messages[0].content }}" >"$D/t.jinja"
    run --separate-stderr moe-inspect --tokenize "$D/x.jsonl" --chat "$D/t.jinja" "$TINY_GPTOSS"
    [ "$status" -eq 2 ]
    [[ $stderr == *--date* ]]
    run --separate-stderr moe-inspect --tokenize "$D/x.jsonl" --chat "$D/t.jinja" --date 2025-13-01 "$TINY_GPTOSS"
    [ "$status" -eq 2 ]
    run --separate-stderr moe-inspect --tokenize "$D/x.jsonl" --chat "$D/t.jinja" --date 2025-02-30 "$TINY_GPTOSS"
    [ "$status" -eq 2 ]
    [[ $stderr == *"--date: '2025-02-30' is not a date like"* ]]
    run moe-inspect --tokenize "$D/x.jsonl" --render --chat "$D/t.jinja" --date 2025-12-01 "$TINY_GPTOSS"
    [ "$status" -eq 0 ]
    [ "$output" = '{"line":0,"text":"01 December 2025 x"}' ]
}

@test "what a template refuses or does not print is told, and counted by moe-observe" {
    cat >"$D/x.jsonl" <<'END'
{"messages":[{"role":"user","content":"one"}]}
{"messages":[{"role":"user","content":"two"},{"role":"assistant","content":"three","reasoning":"four"}]}
{"messages":[{"role":"tool","content":"five"}]}
END
    cat >"$D/t.jinja" <<'END'
{%- for m in messages %}
    {%- if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}
    {{- m.content }}
{%- endfor %}
END
    run moe-inspect --tokenize "$D/x.jsonl" --render --chat "$D/t.jinja" "$TINY_QWEN3"
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = '{"line":0,"text":"one"}' ]
    [ "${lines[1]}" = '{"line":1,"text":"twothree","lost":["reasoning"]}' ]
    [ "${lines[2]}" = '{"line":2,"refused":"line 2: TemplateError: no tools here"}' ]
    run --separate-stderr moe-observe -n --chat "$D/t.jinja" -o "$D/x.stats" "$TINY_QWEN3" "$D/x.jsonl"
    [ "$status" -eq 0 ]
    [[ $stderr == *"1 of 3 conversations are left out"*"x.jsonl line 3: line 2: TemplateError: no tools here"* ]]
    [[ $stderr == *"all reasoning of 1 of 3 conversations"*"x.jsonl line 2"* ]]
    sed -i 1,2d "$D/x.jsonl"
    fails_with 'refuses every conversation.*line 2: TemplateError' moe-observe -n --chat "$D/t.jinja" -o "$D/x.stats" "$TINY_QWEN3" "$D/x.jsonl"
}

@test "variables that data give to the chat template are used, and told" {
    echo '{"messages":[{"role":"user","content":"x"}],"enable_thinking":false}' >"$D/x.jsonl"
    echo '{{ messages[0].content }}{% if enable_thinking is false %}no{% endif %}' >"$D/t.jinja"
    run --separate-stderr moe-inspect --tokenize "$D/x.jsonl" --render --chat "$D/t.jinja" "$TINY_QWEN3"
    [ "$output" = '{"line":0,"text":"xno"}' ]
    run --separate-stderr moe-observe -n --chat "$D/t.jinja" "$TINY_QWEN3" "$D/x.jsonl"
    [ "$status" -eq 0 ]
    [[ $stderr == *"1 of 1 conversations give the chat template variables"*"('enable_thinking' in "*"x.jsonl line 1, "* ]]
}

@test "bad data names file and line" {
    printf '{"text":"x"}\n{"text":"\\u0000"}\n' >"$D/x.jsonl"
    fails_with 'x.jsonl line 2: .*U\+0000' moe-inspect --tokenize "$D/x.jsonl" "$TINY_QWEN3"
    printf '{"text":"x"}\n{"text":"\377"}\n' >"$D/x.jsonl"
    fails_with 'x.jsonl line 2: .*UTF-8' moe-inspect --tokenize "$D/x.jsonl" "$TINY_QWEN3"
    fails_with 'nonexistent' moe-inspect --tokenize "$D/nonexistent" "$TINY_QWEN3"
}

@test "the reference's ids and renderings of the small models" {
    need_shared
    for m in tiny-qwen3 tiny-gptoss pico-qwen3 pico-gptoss; do
        moe-inspect --tokenize "$SHARED/data/prompts.jsonl" "$SHARED/models/$m" >"$D/got"
        # the golden rows: {"file": "prompts", "line": 0, "text": ..., "ids": [1, 2]}
        grep '"file": "prompts"' "$SHARED/models/$m/golden/tokens.jsonl" |
            sed -E 's/.*"line": ([0-9]+),.*"ids": \[(.*)\]\}$/{"line":\1,"ids":[\2]}/; s/, /,/g' >"$D/want"
        [ -s "$D/want" ]
        cmp "$D/got" "$D/want"
    done
}

@test "--chat: one of the templates that the model has by name" {
    echo '{"messages":[{"role":"user","content":"x"}]}' >"$D/x.jsonl"
    run moe-inspect --tokenize "$D/x.jsonl" --chat nonesuch "$TINY_QWEN3"
    [ "$status" -eq 2 ]
    [[ $output == *"'nonesuch', but 'default'"* ]]
    mkdir -p "$D/model/additional_chat_templates"
    cp "$TINY_QWEN3"/{tokenizer.json,chat_template.jinja} "$D/model"
    echo 'rag: {{ messages[0].content }}' >"$D/model/additional_chat_templates/rag.jinja"
    run moe-inspect --tokenize "$D/x.jsonl" --render --chat rag "$D/model"
    [ "$output" = '{"line":0,"text":"rag: x"}' ]
}

@test "DATA is read as what it holds: under any name, packed, or through a pipe; its digest and categories are the same" {
    local rows='{"text":"Hello world"}\n{"text":"Good bye"}\n' name want
    printf '%b' "$rows" >"$D/x.jsonl"
    moe-observe -q -o "$D/want" "$TINY_QWEN3" "$D/x.jsonl"
    want=$(grep -c $'\tx\t' "$D/want")
    printf '%b' "$rows" | tee "$D/x.ndjson" "$D/x.JSONL" "$D/x" | gzip >"$D/x.jsonl.gz"
    for name in x.ndjson x.JSONL x x.jsonl.gz; do
        run --separate-stderr moe-observe -f -o "$D/got" "$TINY_QWEN3" "$D/$name"
        [ "$status" -eq 0 ]
        [ "$(grep -c $'\tx\t' "$D/got")" -eq "$want" ]
        grep -v '^#part' "$D/got" | cmp - <(grep -v '^#part' "$D/want")
        [[ $name != *.gz || $stderr == *'1 of 1 files of data were compressed'* ]]
    done
    # a pipe's number is no category
    printf '%b' "$rows" | moe-observe -q -o "$D/pipe1" "$TINY_QWEN3" /dev/stdin
    printf '%b' "$rows" | moe-observe -q -o "$D/pipe2" "$TINY_QWEN3" -
    cmp "$D/pipe1" "$D/pipe2"
    grep -q $'\t-\t' "$D/pipe1"
    printf 'PAR1\025\004\025\0' >"$D/x.parquet"
    fails_with "is Parquet, a table; .*duckdb -c .*TO 'x.jsonl' .FORMAT json." moe-inspect --tokenize "$D/x.parquet" "$TINY_QWEN3"
}

@test "a document that is there twice is told" {
    printf '{"text":"Hello world"}\n{"text":"Good bye"}\n{"text":"Hello world"}\n' >"$D/x.jsonl"
    run --separate-stderr moe-observe -o "$D/s" "$TINY_QWEN3" "$D/x.jsonl"
    [ "$status" -eq 0 ]
    [[ $stderr == *"1 documents have the tokens of another, and count again ($D/x.jsonl line 3 is $D/x.jsonl line 1"* ]]
    fails_with '--category-field catgory: no document' moe-observe -o "$D/t" --category-field catgory "$TINY_QWEN3" "$D/x.jsonl"
}
