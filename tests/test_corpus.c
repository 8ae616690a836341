/*
 * test_corpus.c -- DATA to tokens: kinds of documents, categories, halves, sampling, the digest, and every
 * mistake with its file and line.
 */
#include "tmp.h"

#include "text/corpus.h"

/* Removes what was written, for tests that read the whole folder. */
static void unput(void)
{
    while (tmp_paths)
        unlink(tmp_path[--tmp_paths]);
}

static struct corpus read_data(const char *model, const char *data, const struct corpus_options *o)
{
    struct corpus c;
    struct err e = {0};

    CHECK_MSG(corpus_read(&c, model, &data, 1, o, &e) == 0, "%s", e.msg);
    return c;
}

static void test_ids(void)
{
    struct corpus_options o = {.max_len = 3, .vocab = 100};
    const char *path = put_tmp("two.jsonl", "{\"ids\":[1,2],\"category\":\"b\"}\n"
                                            "\n"
                                            "{\"ids\":[3,4,5,6]}\r\n"
                                            "{\"ids\":[],\"category\":\"b\"}\n"
                                            "{\"ids\":[],\"category\":\"empty\"}\n"
                                            "{\"ids\":[7],\"category\":\"b\"}");
    struct corpus c = read_data("/nonexistent", path, &o); /* no tokenizer is needed */

    CHECK(c.docs == 3 && c.tokens == 6 && c.empty == 2 && c.truncated == 1);
    CHECK(c.categories == 2 && c.files == 1);
    CHECK_STR(c.category[0], "b");
    CHECK_STR(c.category[1], "two"); /* the file's stem */
    CHECK_STR(c.file[0], path);
    CHECK_STR(c.chat, "-");
    CHECK(c.doc[0].category == 0 && c.doc[0].half == 0 && c.doc[0].line == 0 && c.doc[0].n == 2);
    CHECK(c.doc[1].category == 1 && c.doc[1].half == 0 && c.doc[1].line == 2 && c.doc[1].n == 3);
    /* the document without a token counts: the third of its category is even */
    CHECK(c.doc[2].category == 0 && c.doc[2].half == 0 && c.doc[2].line == 5 && c.doc[2].first == 5);
    CHECK(c.ids[0] == 1 && c.ids[4] == 5 && c.ids[5] == 7);
    CHECK(strlen(c.digest) == 32);
    corpus_free(&c);
    unput();
}

struct seen {
    struct str text;
    int n;
};

static int look(void *ctx, const struct corpus_item *item, struct err *e)
{
    struct seen *s = ctx;
    size_t i;

    (void)e;
    str_addf(&s->text, "%d %s ", item->line, item->category);
    for (i = 0; item->ids && i < item->ids->n; i++)
        str_addf(&s->text, "%d,", item->ids->id[i]);
    if (item->text)
        str_adds(&s->text, item->text->p ? item->text->p : "");
    str_adds(&s->text, "|");
    return ++s->n == 7 ? 5 : 0;
}

static void test_kinds(void)
{
    struct corpus_options o = {.max_len = 0};
    struct seen seen = {{0}, 0};
    struct err e = {0};
    const char *path =
        put_tmp("kinds.json",
                "{\"text\":\"t\"}\n{\"prompt\":\"p\",\"category\":null}\n{\"ids\":[4,2]}\n"
                "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n"
                "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":"
                "\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}]}\n"
                "{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\"}\n"
                "{\"instruction\":\"i\",\"input\":\"n\",\"output\":\"o\"}\n{\"text\":\"not reached\"}\n");

    CHECK(corpus_each("examples/tiny-gptoss", &path, 1, &o, true, look, &seen, &e) == 5);
    CHECK_STR(seen.text.p,
              "0 kinds t|1 kinds p|2 kinds 4,2,|"
              "3 kinds <|start|>user<|message|>q<|end|><|start|>assistant|"
              "4 kinds <|start|>system<|message|>s<|end|><|start|>user<|message|>q<|end|>"
              "<|start|>assistant<|message|>a<|end|>|"
              "5 kinds <|start|>user<|message|>i<|end|><|start|>assistant<|message|>o<|end|>|"
              "6 kinds <|start|>user<|message|>i\n\nn<|end|><|start|>assistant<|message|>o<|end|>|");
    str_free(&seen.text);
    unput();
}

/* What the template refuses is left out and counted, what it does not print is counted. */
static void test_told(void)
{
    struct corpus_options o = {0};
    const char *path =
        put_tmp("told.jsonl",
                "{\"messages\":[{\"role\":\"user\"}]}\n"
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"name\":\"far\"}]}\n"
                "{\"messages\":[{\"role\":\"user\",\"content\":\"y\"}]}\n{\"text\":\"z\"}\n"
                "{\"messages\":[{\"role\":\"tool\"}]}\n");
    struct corpus c = read_data("examples/tiny-qwen3", path, &o);

    CHECK(c.docs == 3 && c.told.conversations == 4 && c.told.refused == 2 && c.told.lost[2] == 1);
    CHECK(!c.told.lost[0] && !c.told.lost[1] && !c.told.lost[3] && !c.told.lost_first[0]);
    CHECK(strstr(c.told.refused_first, "told.jsonl line 1: line ") &&
          strstr(c.told.lost_first[2], "told.jsonl line 2"));
    CHECK(c.doc[0].line == 1 && c.doc[0].half == 1); /* the one left out counts for the halves */
    corpus_free(&c);
    unput();
}

static void test_special(void)
{
    static const char model[] = "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"<s>\":2},\"merges\":[]}}";
    struct corpus_options o = {.chat.name = "examples/tiny-qwen3/chat_template.jinja"};
    const char *data;
    struct corpus c, d;
    int i;

    put_tmp("tokenizer.json", model);
    put_tmp("tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
    data = put_tmp("x.jsonl", "{\"text\":\"ab\"}\n{\"messages\":[{\"role\":\"b\",\"content\":\"a\"}]}\n");
    c = read_data(tmp_dir, data, &o);
    /* a template that prints no BOS gets the tokenizer's: <|im_start|>b\na...assistant */
    CHECK(c.docs == 2 && c.doc[0].n == 3 && c.ids[0] == 2 && c.ids[3] == 2 && c.ids[4] == 0);
    CHECK_STR(c.chat, "a98fa0f8cbc47ef7"); /* sha256sum of the file */
    o.no_special = true;
    d = read_data(tmp_dir, data, &o);
    CHECK(d.docs == 2 && d.doc[0].n == 2 && d.ids[0] == 0 && d.ids[2] == 0);
    CHECK(d.doc[1].n == c.doc[1].n - 1);
    CHECK(strcmp(c.digest, d.digest) != 0);
    corpus_free(&d);
    o.no_special = false;
    o.rules_only = true; /* which add nothing: what the configuration asks for is passed over */
    d = read_data(tmp_dir, data, &o);
    CHECK(d.docs == 2 && d.doc[0].n == 2 && d.ids[0] == 0 && d.doc[1].n == c.doc[1].n - 1);
    CHECK(strcmp(c.digest, d.digest) != 0);
    o.rules_only = false;
    corpus_free(&c);
    corpus_free(&d);
    /* one that does is not given a second: <s>a */
    put_tmp("tokenizer.json",
            "{\"added_tokens\":[{\"id\":2,\"content\":\"<s>\"}],\"model\":{\"vocab\":{\"a\":0,"
            "\"b\":1},\"merges\":[]}}");
    data = put_tmp("x.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n");
    put_tmp("bos.jinja", "{{ bos_token + messages[0].content }}");
    for (o.chat.name = in_tmp("bos.jinja"), i = 0; i < 2; i++, o.no_special = !o.no_special) {
        c = read_data(tmp_dir, data, &o);
        CHECK(c.docs == 1 && c.doc[0].n == 2 && c.ids[0] == 2 && c.ids[1] == 0);
        corpus_free(&c);
    }
    /* text that has one gets a second, as from the reference, and that is counted */
    o.no_special = false;
    data = put_tmp("x.jsonl", "{\"text\":\"<s>ab\"}\n{\"text\":\"ab\"}\n");
    c = read_data(tmp_dir, data, &o);
    CHECK(c.docs == 2 && c.doc[0].n == 4 && c.ids[0] == 2 && c.ids[1] == 2 && c.doc[1].n == 3);
    CHECK(c.doubled == 1);
    corpus_free(&c);
    unput();
}

static void test_text(void)
{
    struct corpus_options o = {.max_len = 0};
    struct corpus c;
    struct err e = {0};
    const char *data[2];

    put_tmp("b.txt", "plain text\nof two lines\n");
    put_tmp("a.jsonl", "{\"text\":\"x\"}\n{\"text\":\"\"}\n");
    put_tmp(".hidden", "no");
    data[0] = tmp_dir;
    CHECK_MSG(corpus_read(&c, "examples/tiny-qwen3", data, 1, &o, &e) == 0, "%s", e.msg);
    CHECK(c.files == 2 && c.docs == 2 && c.empty == 1 && c.categories == 2);
    CHECK_STR(path_base(c.file[0]), "a.jsonl");
    CHECK_STR(c.category[1], "b");
    CHECK(c.doc[1].file == 1 && c.doc[1].line == 0);
    corpus_free(&c);
    data[0] = put_tmp("b.txt", "x");
    data[1] = put_tmp("a.jsonl", "{\"text\":\"x\"}");
    CHECK_MSG(corpus_read(&c, "examples/tiny-qwen3", data, 2, &o, &e) == 0, "%s", e.msg);
    CHECK(c.docs == 2 && c.doc[0].category == 1 && c.doc[1].category == 0);
    corpus_free(&c);
    unput();
}

/* The lines of the documents of category k, "0 3 4 ". */
static const char *lines(const struct corpus *c, int k)
{
    static char out[400];
    size_t n = 0;
    int64_t i;

    *out = 0;
    for (i = 0; i < c->docs && n < sizeof out - 12; i++)
        if (c->doc[i].category == k)
            n += (size_t)snprintf(out + n, sizeof out - n, "%d ", c->doc[i].line);
    return out;
}

static void test_samples(void)
{
    struct corpus_options o = {.samples_per_category = 3};
    char text[3000] = "", kept[400];
    int i, seed, count[20] = {0};
    struct corpus c;
    size_t n = 0;

    for (i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"ids\":[%d],\"lang\":\"%s\"}\n", i,
                              i % 2 ? "odd" : "even");
    o.category_field = "lang";
    c = read_data("/", put_tmp("x.jsonl", text), &o);
    CHECK_STR(lines(&c, 0), "0 2 4 ");
    CHECK_STR(lines(&c, 1), "1 3 5 ");
    CHECK(c.doc[2].half == 1 && c.doc[2].line == 2);
    corpus_free(&c);

    o.draw = true;
    o.seed = 7;
    c = read_data("/", put_tmp("x.jsonl", text), &o);
    CHECK(c.docs == 6);
    snprintf(kept, sizeof kept, "%s", lines(&c, 1));
    for (i = 0; i < 6; i++) /* halves are those of the whole input */
        CHECK(c.doc[i].half == c.doc[i].line / 2 % 2);
    corpus_free(&c);
    c = read_data("/", put_tmp("x.jsonl", text), &o);
    CHECK_STR(lines(&c, 1), kept);
    corpus_free(&c);
    /* a category's draw does not depend on the others */
    for (n = 0, i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"ids\":[%d],\"lang\":\"%s\"}\n", i,
                              i % 2 ? "odd" : "more");
    c = read_data("/", put_tmp("x.jsonl", text), &o);
    CHECK_STR(lines(&c, 1), kept);
    corpus_free(&c);
    for (seed = 0; seed < 300; seed++) {
        o.seed = (uint64_t)seed;
        c = read_data("/", in_tmp("x.jsonl"), &o);
        for (i = 0; i < c.docs; i++)
            count[c.doc[i].line]++;
        corpus_free(&c);
    }
    for (i = 0; i < 20; i++) /* 300 x 3/10 = 90 each; four standard deviations are 32 */
        CHECK_MSG(count[i] > 58 && count[i] < 122, "line %d drawn %d times", i, count[i]);
    unput();
}

/* Every third of each category apart: both parts together are the whole, and halves count what is there. */
static void test_hold_out(void)
{
    struct corpus_options o = {.hold_out = 3, .category_field = "lang"};
    char text[1000] = "", digest[HASH_HEX];
    struct corpus c;
    struct err e = {0};
    const char *path;
    size_t n = 0;
    static const int half[12] = {0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1};
    int i;

    for (i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"ids\":[%d],\"lang\":\"%s\"}\n", i,
                              i == 4  ? "rare"
                              : i % 2 ? "odd"
                                      : "even");
    path = put_tmp("x.jsonl", text);
    c = read_data("/", path, &o);
    CHECK(c.categories == 3);
    CHECK_STR(lines(&c, 0), "0 2 8 10 14 ");
    CHECK_STR(lines(&c, 1), "1 3 7 9 13 15 ");
    CHECK(c.docs == 12);
    for (i = 0; i < 12; i++)
        CHECK(c.doc[i].half == half[i]);
    memcpy(digest, c.digest, HASH_HEX);
    corpus_free(&c);
    o.held_out = true;
    c = read_data("/", path, &o);
    CHECK(c.categories == 2 && strcmp(c.digest, digest) != 0);
    CHECK_STR(lines(&c, 0), "6 12 ");
    CHECK_STR(lines(&c, 1), "5 11 ");
    corpus_free(&c);
    o.samples_per_category = 1;
    c = read_data("/", path, &o);
    CHECK(c.docs == 2);
    CHECK_STR(lines(&c, 1), "5 ");
    corpus_free(&c);
    o.hold_out = 17;
    CHECK(corpus_read(&c, "/", &path, 1, &o, &e) == -1 && strstr(e.msg, "no category has 17 documents"));
    unput();
}

static void digest_of(const char *data, const struct corpus_options *o, char out[HASH_HEX])
{
    struct corpus c = read_data("examples/tiny-qwen3", data, o);

    memcpy(out, c.digest, HASH_HEX);
    corpus_free(&c);
}

static void test_digest(void)
{
    struct corpus_options o = {.max_len = 9}, other;
    char a[HASH_HEX], b[HASH_HEX];
    const char *x = put_tmp("x.jsonl", "{\"text\":\"abc\",\"kind\":\"k\"}\n");

    digest_of(x, &o, a);
    digest_of(x, &o, b);
    CHECK_STR(a, b);
    other = o;
    other.max_len = 8;
    digest_of(x, &other, b);
    CHECK(strcmp(a, b) != 0 && memcmp(a, b, HASH_DATA) == 0);
    other = o;
    other.category_field = "kind";
    digest_of(x, &other, b);
    CHECK(strcmp(a, b) != 0);
    other = o;
    other.samples_per_category = 1;
    digest_of(x, &other, b);
    CHECK(strcmp(a, b) != 0);
    other = o;
    other.seed = 3; /* without draw it chooses nothing */
    other.vocab = 5000;
    digest_of(x, &other, b);
    CHECK_STR(a, b);
    digest_of(put_tmp("x.jsonl", "{\"text\":\"abd\"}\n"), &o, b);
    CHECK(memcmp(a, b, HASH_DATA) != 0);
    put_tmp("x.jsonl", "{\"text\":\"abc\",\"kind\":\"k\"}\n");
    digest_of(tmp_dir, &o, b); /* the same file through its directory */
    CHECK_STR(a, b);
    unput();
}

#define CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

/* What stands beside messages is the template's, as keywords of apply_chat_template are, if it looks at it.
 */
static void test_variables(void)
{
    static const struct {
        const char *template, *more, *want; /* the text, or the refusal */
        int given;
    } cases[] = {
        {"{{ enable_thinking|default('unset') }}", "", "unset", 0},
        {"{{ enable_thinking|default('unset') }}", ",\"enable_thinking\":false", "False", 1},
        {"{{ enable_thinking|default('unset') }}", ",\"enable_thinking\":null", "unset", 0},
        {"{{ enable_thinking is defined }}", ",\"enable_thinking\":false", "True", 1},
        {"{{ thinking_budget + 1 }}", ",\"thinking_budget\":18446744073709551615", "18446744073709551616", 1},
        {"{{ documents[0].a }}", ",\"documents\":[{\"a\":\"b\"}]", "b", 1},
        {"{{ reasoning_effort }}", ",\"reasoning_effort\":\"high\"", "high", 1},
        {"{{ kind }}", ",\"source\":\"s\",\"kind\":{\"k\":1}", "{'k': 1}", 1},
        {"x", ",\"enable_thinking\":false", "x", 0},
        {"x", ",\"reasoning_effort\":\"high\"", "'reasoning_effort' beside 'messages' is not understood", 0},
        {"x", ",\"documents\":[{}]", "'documents' beside 'messages' is not understood", 0},
        {"{% set system = 'own' %}{{ system }}", ",\"system\":\"s\"", "'system' beside 'messages'", 0},
        {"x", ",\"continue_final_message\":true", "'continue_final_message' beside 'messages'", 0},
        {"{{ a }}", ",\"a\":1,\"a\":2", "the member 'a' occurs twice", 0},
        {"{{ add_generation_prompt }}", ",\"add_generation_prompt\":false",
         "'add_generation_prompt' is not for the document to give", 0},
        {"{{ eos_token }}", ",\"eos_token\":\"e\"", "'eos_token' is not for the document to give", 0},
        {"{{ max_length }}", ",\"max_length\":1", "'max_length' is not for the document to give", 0},
    };
    struct corpus_options o = {.max_len = 99};
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen seen = {.n = 0};
        struct corpus c = {0};
        struct err e = {0};
        char line[400];
        const char *data;
        bool bad;

        o.chat.name = put_tmp("beside.jinja", cases[i].template);
        snprintf(line, sizeof line, CHAT "%s}\n", cases[i].more);
        data = put_tmp("x.jsonl", line);
        bad = corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) != 0;
        if (bad)
            CHECK_MSG(strstr(e.msg, cases[i].want), "case %zu: '%s'", i, e.msg);
        else
            CHECK_MSG(c.told.given == cases[i].given && !c.told.given_first == !cases[i].given, "case %zu",
                      i);
        corpus_free(&c);
        if (bad)
            continue;
        CHECK(corpus_each("examples/tiny-qwen3", &data, 1, &o, true, look, &seen, &e) == 0);
        CHECK_MSG(strstr(seen.text.p, cases[i].want), "case %zu: '%s'", i, seen.text.p);
        str_free(&seen.text);
    }
    unput();
}

static void test_mistakes(void)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{\"text\":\"x\"}\n{\"text\":\"\xff\"}\n", "x.jsonl line 2: byte"},
        {"{\"text\":\"a\\u0000\"}\n", "line 1: contains the character U+0000"},
        {"{\"text\":\"x\"\n", "line 1: not JSON"},
        {"[1]\n", "line 1: is not a JSON object"},
        {"[{\"text\":\"x\"}\n", "line 1: the JSON array is cut off"},
        {"[{\"text\":\"x\"}\n{\"text\":\"y\"}]\n", "line 1: the JSON array is cut off, or lacks a comma"},
        {"[{\"text\":\"x\"}]\n{\"text\":\"y\"}\n", "line 1: the JSON array is followed by something else"},
        {"[\n{\"text\":\"x\"},\n{}]\n", "line 3: has none of messages"},
        {"[]", "no document"},
        {"\n\n{}\n", "line 3: has none of messages"},
        {"{\"text\":\"x\",\"ids\":[1]}\n", "has both 'text' and 'ids'"},
        {"{\"text\":1}\n", "'text' is not a string"},
        {"{\"prompt\":[]}\n", "'prompt' is not a string"},
        {"{\"prompt\":\"p\",\"completion\":\"c\"}\n", "'completion' beside 'prompt'"},
        {"{\"text\":\"x\",\"text\":\"y\"}\n", "has 'text' twice"},
        {"{\"ids\":[1,0],\"attention_mask\":[1,0]}\n", "'attention_mask' hides ids"},
        {"{\"prompt\":\"p\",\"Answer\":5}\n",
         "'Answer' beside 'prompt' is not understood and would be left out"},
        {"{\"prompt\":\"p\",\"canonical_solution\":\"c\"}\n", "'canonical_solution' beside 'prompt'"},
        {"{\"prompt\":\"p\",\"tools\":[{}]}\n", "'tools' beside 'prompt'"},
        {"{\"text\":\"p\",\"output\":\"c\"}\n", "'output' beside 'text'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"functions\":[{}]}\n",
         "'functions' beside 'messages'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"images\":[\"x\"]}\n",
         "'images' beside 'messages'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"high\"}\n",
         "'reasoning_effort' beside 'messages'"},
        {"{\"instruction\":\"i\",\"context\":\"c\",\"output\":\"o\"}\n", "'context' beside 'instruction'"},
        {"{\"conversations\":[{\"from\":\"gpt\",\"value\":\"x\",\"reasoning\":\"r\"}]}\n",
         "turn 1: 'reasoning' is not understood"},
        {"{\"text\":\"x\",\"category\":1.5}\n", "'category' is neither a string with something"},
        {"{\"text\":\"x\",\"category\":true}\n", "'category' is neither a string with something"},
        {"{\"text\":\"x\",\"category\":\"\"}\n", "'category' is neither a string with something"},
        {"{\"ids\":{}}\n", "'ids' is not a list"},
        {"{\"ids\":[1,-1]}\n", "line 1: id 1 is not a whole number"},
        {"{\"ids\":[1.5]}\n", "id 0 is not a whole number"},
        {"{\"ids\":[\"1\"]}\n", "id 0 is not a whole number"},
        {"{\"ids\":[4000000000]}\n", "id 0 is not a whole number"},
        {"{\"ids\":[2100]}\n", "outside the model's vocabulary of 2048"},
        {"{\"conversations\":{}}\n", "'conversations' is not a list"},
        {"{\"conversations\":[{\"from\":\"bing\",\"value\":\"x\"}]}\n", "turn 1: 'from' is 'bing'"},
        {"{\"conversations\":[{\"from\":\"gpt\"}]}\n", "turn 1: 'value'"},
        {"{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"}],\"system\":\"s\"}\n",
         "'system' beside 'conversations'"},
        {"{\"instruction\":\"i\"}\n", "'output' is not a string"},
        {"{\"instruction\":\"i\",\"output\":\"o\",\"response\":\"r\"}\n", "'response' beside"},
        {"{\"messages\":[{\"role\":\"user\"}]}\n", "refuses every conversation, and there is nothing else: "},
        {"{\"messages\":[{\"role\":\"user\"}]}\n",
         "x.jsonl line 1: line 2: UndefinedError: 'dict object' has no attribute"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[1]}\n", "tool 1 is not an object"},
        {"", "no document"},
        {"{\"text\":\"\"}\n", "only documents without a token"},
    };
    struct corpus_options o = {.vocab = 2048};
    const char *data;
    struct corpus c;
    struct err e;
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        data = put_tmp("x.jsonl", cases[i].text);
        err_clear(&e);
        CHECK_MSG(corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) == -1, "case %zu was accepted", i);
        CHECK_MSG(strstr(e.msg, cases[i].why), "case %zu: '%s' does not say '%s'", i, e.msg, cases[i].why);
    }
    err_clear(&e);
    data = put_tmp("x.txt", "a\xc3");
    CHECK(corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) == -1 && strstr(e.msg, "x.txt: byte 1"));
    err_clear(&e);
    data = "/nonexistent.jsonl";
    CHECK(corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) == -1 &&
          strstr(e.msg, "/nonexistent.jsonl"));
    err_clear(&e);
    o.vocab = 100; /* a tokenizer of another model */
    data = put_tmp("x.txt", "some text that needs more than the first hundred tokens");
    CHECK(corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) == -1 &&
          strstr(e.msg, "do not belong together"));
    err_clear(&e);
    data = put_tmp("x.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n");
    CHECK(corpus_read(&c, tmp_dir, &data, 1, &o, &e) == -1 && strstr(e.msg, "has no chat template"));
    err_clear(&e);
    o.chat.name = "nonesuch"; /* the model has one template only */
    data = put_tmp("x.jsonl", "{\"text\":\"x\"}\n");
    CHECK(corpus_read(&c, "examples/tiny-qwen3", &data, 1, &o, &e) == -1 && e.kind == ERR_USAGE);
    unput();
}

/* What stands beside content and is no part of it. */
static void test_beside(void)
{
    struct corpus_options o = {.category_field = "kind"};
    const char *path =
        put_tmp("x.jsonl", "{\"prompt\":\"p\",\"kind\":\"k\",\"task_id\":\"HumanEval/1\",\"answer\":null,"
                           "\"source\":\"s\",\"score\":0.5,\"output\":\"\",\"tools\":[],\"n\":7}\n"
                           "{\"text\":\"t\",\"summary\":\"s\"}\n");
    struct corpus c = read_data("examples/tiny-qwen3", path, &o);

    CHECK(c.docs == 2 && c.categories == 2);
    corpus_free(&c);
    unput();
}

/* A ClassLabel is a number in its table. */
static void test_category_number(void)
{
    struct corpus_options o = {.max_len = 9};
    struct corpus c = read_data("/",
                                put_tmp("x.jsonl", "{\"ids\":[1],\"category\":3}\n{\"ids\":[2],\"category\":"
                                                   "\"3\"}\n{\"ids\":[2],\"category\":-1}\n"),
                                &o);

    CHECK(c.categories == 2);
    CHECK_STR(c.category[0], "-1");
    CHECK_STR(c.category[1], "3");
    corpus_free(&c);
    unput();
}

static void test_category_field(void)
{
    struct corpus_options o = {.category_field = "kidn"};
    struct err e = {0};
    struct corpus c;
    const char *data = put_tmp("x.jsonl", "{\"ids\":[1],\"kind\":\"k\"}\n{\"ids\":[2]}\n");

    CHECK(corpus_read(&c, "/", &data, 1, &o, &e) == -1 &&
          strstr(e.msg, "--category-field kidn: no document"));
    o.category_field = "kind"; /* one has it: the others are of their file's */
    c = read_data("/", data, &o);
    CHECK(c.categories == 2);
    corpus_free(&c);
    unput();
}

static void test_repeats(void)
{
    struct corpus_options o = {.max_len = 2};
    struct corpus c =
        read_data("/",
                  put_tmp("x.jsonl", "{\"ids\":[1,2,3]}\n{\"ids\":[1,2,4]}\n{\"ids\":[]}\n{\"ids\":[]}\n"
                                     "{\"ids\":[1,2,3]}\n{\"ids\":[1,2,3]}\n"),
                  &o);

    CHECK(c.docs == 4 && c.repeated == 2); /* what a cut makes alike is no repeat */
    CHECK(c.repeat[0].line == 4 && c.repeat[1].line == 0);
    corpus_free(&c);
    unput();
}

int main(void)
{
    tmp_open();
    test_variables();
    test_category_number();
    test_category_field();
    test_repeats();
    test_ids();
    test_kinds();
    test_told();
    test_special();
    test_text();
    test_samples();
    test_hold_out();
    test_digest();
    test_beside();
    test_mistakes();
    CHECK_END();
}
