/*
 * test_tokenizer.c -- the tokenizer: rules on small tokenizers made here, refusals, threads, and the ids
 * that the reference tokenizers give (skipped where the reference data is absent).
 */
#include "tokenizing.h"

#include <pthread.h>

#include "base/json.h"

#define ABC                                                                                                  \
    "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"?\":5,\"<0xC3>\":6,\"<0xA9>\":7,\"bc\":8}"

static void test_bpe(void)
{
    struct tokenizer *t =
        open_text("{\"model\":{\"type\":\"BPE\",\"merges\":[\"a b\",\"b c\",\"ab c\"]," ABC "}}");

    CHECK_STR(encode(t, "abcab", false), "4 3");
    CHECK_STR(encode(t, "bcabc", false), "8 4");
    CHECK_STR(encode(t, "aab", false), "0 3");
    CHECK_STR(encode(t, "", false), "");
    CHECK_STR(encode(t, "axb", false), "3"); /* what is not in the vocabulary is dropped without unk_token */
    CHECK(tokenizer_id(t, "abc") == 4 && tokenizer_id(t, "x") == -1 && tokenizer_size(t) == 9);
    tokenizer_close(t);

    /* the other spelling of merges, another order: b c comes first now */
    t = open_text("{\"model\":{" ABC ",\"merges\":[[\"b\",\"c\"],[\"a\",\"b\"]]}}");
    CHECK_STR(encode(t, "abc", false), "0 8");
    tokenizer_close(t);
    t = open_text("{\"model\":{" ABC ",\"ignore_merges\":true,\"merges\":[[\"b\",\"c\"],[\"a\",\"b\"]]}}");
    CHECK_STR(encode(t, "abc", false), "4");
    CHECK_STR(encode(t, "abca", false), "0 8 0");
    tokenizer_close(t);

    t = open_text("{\"model\":{" ABC ",\"merges\":[],\"unk_token\":\"?\"}}");
    CHECK_STR(encode(t, "axyb", false), "0 5 5 1");
    tokenizer_close(t);
    t = open_text("{\"model\":{" ABC ",\"merges\":[],\"unk_token\":\"?\",\"fuse_unk\":true}}");
    CHECK_STR(encode(t, "axyb\xc3\xa9", false), "0 5 1 5");
    tokenizer_close(t);
    t = open_text("{\"model\":{" ABC ",\"merges\":[],\"unk_token\":\"?\",\"byte_fallback\":true}}");
    CHECK_STR(encode(t, "a\xc3\xa9\xc3\xa8", false), "0 6 7 5");
    tokenizer_close(t);
}

static void test_steps(void)
{
    struct tokenizer *t = open_text(
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"a\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"xy\"},\"content\":\"bc\"}]},\"model\":{" ABC
        ",\"merges\":[\"a b\"]}}");

    CHECK_STR(encode(t, "bxyxxy", false), "3 1 2 1 2"); /* abbcxbc */
    CHECK_STR(encode(t, "", false), "");
    tokenizer_close(t);
    t = open_text("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"c\"},\"behavior\":"
                  "\"Removed\",\"invert\":false},\"model\":{" ABC ",\"merges\":[\"a b\",\"b c\"]}}");
    CHECK_STR(encode(t, "abcbca", false), "3 1 0");
    tokenizer_close(t);
}

#define MARK "\xe2\x96\x81"
#define MARKS                                                                                                \
    "\"vocab\":{\"" MARK "\":0,\"a\":1,\"b\":2,\"" MARK "a\":3,\"ab\":4,\"" MARK MARK                        \
    "\":5,\"?\":6,\"a" MARK "\":7}"

/* The ids are the reference's. */
static void test_metaspace(void)
{
    static const char *const text[] = {"ab a", "<x>ab  a", " a<x>ab", MARK "ab", "xya b"};
    static const struct {
        const char *scheme, *ids[5];
    } cases[] = {
        {"\"prepend_scheme\":\"first\"", {"3 2 3", "8 4 0 3", "3 8 4", "3 2", "0 6 1 0 2"}},
        {"\"prepend_scheme\":\"always\"", {"3 2 3", "8 3 2 0 3", "3 8 3 2", "3 2", "0 6 1 0 2"}},
        {"\"add_prefix_space\":true", {"3 2 3", "8 3 2 0 3", "3 8 3 2", "3 2", "0 6 1 0 2"}},
        {"\"prepend_scheme\":\"never\"", {"4 3", "8 4 0 3", "3 8 4", "3 2", "6 1 0 2"}},
        {"\"add_prefix_space\":false,\"prepend_scheme\":\"never\"",
         {"4 3", "8 4 0 3", "3 8 4", "3 2", "6 1 0 2"}},
    };
    static const char *const rest[][4] = {
        /* model, split, text, ids */
        {"\"unk_token\":null,\"merges\":[\"" MARK " a\",\"" MARK " " MARK "\"]", "false", " x a", "0 3"},
        {"\"unk_token\":null,\"merges\":[\"" MARK " a\",\"" MARK " " MARK "\"]", "false", " x ", "5"},
        {"\"unk_token\":\"?\",\"merges\":[\"a " MARK "\",\"" MARK " a\"]", "false", "a a", "7 1"},
        {"\"unk_token\":\"?\",\"merges\":[\"a " MARK "\",\"" MARK " a\"]", "true", "a a", "1 3"},
    };
    char json[1000];
    struct tokenizer *t;
    size_t i, k;
    int cuts;

    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        for (cuts = 0; cuts < 2; cuts++) {
            snprintf(json, sizeof json,
                     "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" MARK
                     "\",%s,\"split\":%s},\"added_tokens\":[{\"id\":8,\"content\":\"<x>\"}],\"model\":{" MARKS
                     ",\"unk_token\":\"?\",\"fuse_unk\":true,\"merges\":[\"" MARK " a\",\"a b\",\"" MARK
                     " " MARK "\"]}}",
                     cases[i].scheme, cuts ? "true" : "false");
            t = open_text(json);
            for (k = 0; k < 5; k++)
                CHECK_STR(encode(t, text[k], false), cases[i].ids[k]);
            tokenizer_close(t);
        }
    for (i = 0; i < sizeof rest / sizeof *rest; i++) {
        snprintf(json, sizeof json,
                 "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" MARK
                 "\",\"prepend_scheme\":\"never\",\"split\":%s},\"model\":{" MARKS ",%s}}",
                 rest[i][1], rest[i][0]);
        t = open_text(json);
        CHECK_STR(encode(t, rest[i][2], false), rest[i][3]);
        tokenizer_close(t);
    }
}

static void test_around(void)
{
    static const char with_template[] =
        "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"b\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"c\"}}],\"special_tokens\":{\"b\":{\"ids\":"
        "[1]},\"c\":{\"ids\":[2]}}},\"model\":{" ABC ",\"merges\":[]}}";
    static const char without[] = "{\"model\":{" ABC ",\"merges\":[]}}";
    static const char config[] = "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"b\"},\"add_eos_"
                                 "token\":false,\"eos_token\":\"c\"}";
    struct tokenizer *t = open_text(with_template);
    struct err e = {0};

    CHECK_STR(encode(t, "a", true), "1 0 2");
    CHECK_STR(encode(t, "a", false), "0");
    tokenizer_close(t);
    put_tmp("tokenizer_config.json", config);
    t = open_text(with_template); /* a BOS that both ask for is added once */
    CHECK_STR(encode(t, "a", true), "1 0 2");
    tokenizer_close(t);
    t = open_text(without);
    CHECK_STR(encode(t, "a", true), "1 0");
    tokenizer_close(t);
    put_tmp("tokenizer_config.json", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\"}}}");
    t = open_text(without); /* a token that only the configuration has */
    CHECK_STR(encode(t, "a<x>", true), "0 9");
    tokenizer_close(t);
    put_tmp("tokenizer_config.json", "{\"added_tokens_decoder\":[1]}");
    CHECK(open_folder(&t, tmp_dir, &e) == -1 && strstr(e.msg, "added_tokens_decoder"));
    unlink(in_tmp("tokenizer_config.json"));
}

/* examples/tiny-qwen3's tokenizer with a member replaced. */
static struct tokenizer *patched(const char *member, const char *value)
{
    const char *const path[] = {member, NULL};
    struct tokenizer *t;
    struct err e = {0};
    char *text;
    size_t n;

    if (file_read("examples/tiny-qwen3/tokenizer.json", 1 << 20, &text, &n, &e) ||
        json_set(&text, &n, "tokenizer.json", path, value, &e) < 0) {
        CHECK_MSG(false, "%s", e.msg);
        return NULL;
    }
    t = open_text(text);
    free(text);
    return t;
}

/* The ids are the reference's for this file. */
static void test_added(void)
{
    static const char tokens[] = "["
                                 "{\"id\":2045,\"content\":\"foo\",\"single_word\":true},"
                                 "{\"id\":2046,\"content\":\"foobar\",\"lstrip\":true},"
                                 "{\"id\":2047,\"content\":\"<a>\",\"lstrip\":true,\"rstrip\":true},"
                                 "{\"id\":2048,\"content\":\"<a><b>\"},"
                                 "{\"id\":2049,\"content\":\"e\\u0301x\",\"normalized\":true},"
                                 "{\"id\":2050,\"content\":\"  \",\"normalized\":true}]";
    static const char *const cases[][2] = {
        {"foo", "2045"},
        {"a foo b", "64 220 2045 297"},
        {"afoo", "64 69 683"},
        {"foo_", "69 683 62"},
        {"foobar", "2046"},
        {" \n foobar", "2046"},
        {"x <a> \t y", "87 2047 88"},
        {"<a><b><a>", "2048 2047"},
        {"\xc3\xa9x e\xcc\x81x", "2049 220 2049"},
        {"a  b", "64 2050 65"},
        {"foo foo", "2045 220 2045"},
        {"<a> <a>", "2047 2047"},
    };
    struct tokenizer *t = patched("added_tokens", tokens);
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_STR(encode(t, cases[i][0], false), cases[i][1]);
    CHECK(tokenizer_id(t, "<a>") == 2047);
    tokenizer_close(t);
}

/* Ids are counted as the tokenizers library counts them, whatever is written: a token of the vocabulary keeps
 * its own, any other gets the next. The last of two with one content gives the flags. */
static void test_added_ids(void)
{
    struct tokenizer *t = open_text(
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<y>\"},{\"id\":0,\"content\":\"<x>\"},{\"id\":1,"
        "\"content\":\"ab\"},"
        "{\"id\":12,\"content\":\"<y>\",\"lstrip\":true},{\"id\":13,\"content\":\"<z>\"}],\"model\":{" ABC
        ",\"merges\":[]}}");

    CHECK_STR(encode(t, "<x>a  <y>abb<z>", false), "10 0 9 3 1 11");
    CHECK(tokenizer_size(t) == 12);
    tokenizer_close(t);
    /* the next after the number of tokens, not after the largest id */
    t = open_text("{\"added_tokens\":[{\"id\":9,\"content\":\"<x>\"}],\"model\":{\"vocab\":{\"a\":0,\"b\":7},"
                  "\"merges\":[]}}");
    CHECK_STR(encode(t, "a<x>b", false), "0 2 7");
    tokenizer_close(t);
    /* an unk_token that the vocabulary lacks refuses what needs it */
    t = open_text("{\"model\":{" ABC ",\"unk_token\":\"<u>\",\"merges\":[]}}");
    CHECK_STR(encode(t, "ab", false), "0 1");
    CHECK_STR(encode(t, "axb", false), "failed");
    tokenizer_close(t);
}

static void test_text(void)
{
    struct tokenizer *t;
    struct err e = {0};
    struct ids ids = {0};
    char *run = malloc(1 << 20);
    size_t i;

    CHECK_MSG(open_folder(&t, "examples/tiny-qwen3", &e) == 0, "%s", e.msg);
    CHECK_STR(encode(t, "a\xcc\x81\xe1\xb7\xb6\xcc\xa3 x", true), "789 157 115 114 136 96 508");
    CHECK_STR(encode(t, "Cafe\xcc\x81", true), "34 64 69 340");
    CHECK_STR(encode(t, "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", true), "169 243 250");
    CHECK_STR(encode(t,
                     "a\xe1\xa0\x8e"
                     "b \xe3\x80\x80"
                     "c",
                     true),
              "64 157 254 236 65 220 323 222 66");
    /* the marks are sorted by class, those of one class keep their order */
    /* runs that a backtracking matcher could choke on, and marks that are sorted */
    for (i = 0; i < 1 << 18; i++)
        memcpy(run + 4 * i, "\xcc\xa3\xcc\x81", 4);
    CHECK_MSG(tokenizer_encode(t, run, 1 << 20, true, &ids, &e) == 0, "%s", e.msg);
    ids.n = 0;
    memset(run, ' ', 1 << 20);
    run[(1 << 20) - 1] = 'x';
    CHECK_MSG(tokenizer_encode(t, run, 1 << 20, true, &ids, &e) == 0, "%s", e.msg);
    CHECK(ids.n > 1000);
    ids.n = 0;
    memset(run, 'a', 1 << 20);
    CHECK_MSG(tokenizer_encode(t, run, 1 << 20, true, &ids, &e) == 0, "%s", e.msg);
    CHECK(ids.n > 1000);
    ids_free(&ids);
    free(run);
    tokenizer_close(t);
}

static void test_refused(void)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"{\"normalizer\":{\"type\":\"Lowercase\"},\"model\":{" ABC ",\"merges\":[]}}",
         "normalizer 'Lowercase'"},
        {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{" ABC ",\"merges\":[]}}", "'Whitespace'"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{" ABC
         ",\"merges\":[]}}",
         "add_prefix_space"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
         "\"MergedWithNext\"},\"model\":{" ABC ",\"merges\":[]}}",
         "MergedWithNext"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":"
         "\"Isolated\"},\"model\":{" ABC ",\"merges\":[]}}",
         "pattern '(a'"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"},\"model\":{" ABC
         ",\"merges\":[]}}",
         "not one character"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"},"
         "\"model\":{" ABC ",\"merges\":[]}}",
         "prepend_scheme 'last'"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false},"
         "\"model\":{" ABC ",\"merges\":[]}}",
         "add_prefix_space is false"},
        {"{\"post_processor\":{\"type\":\"BertProcessing\"},\"model\":{" ABC ",\"merges\":[]}}",
         "BertProcessing"},
        {"{\"model\":{\"type\":\"Unigram\"," ABC ",\"merges\":[]}}", "model type 'Unigram'"},
        {"{\"model\":{\"dropout\":0.1," ABC ",\"merges\":[]}}", "dropout"},
        {"{\"model\":{\"continuing_subword_prefix\":\"##\"," ABC ",\"merges\":[]}}",
         "continuing_subword_prefix"},
        {"{\"model\":{\"novelty\":1," ABC ",\"merges\":[]}}", "'novelty'"},
        {"{\"novelty\":1,\"model\":{" ABC ",\"merges\":[]}}", "'novelty'"},
        {"{\"model\":{" ABC ",\"merges\":[\"a b\",\"a x\"]}}", "merge 1"},
        {"{\"model\":{" ABC ",\"merges\":[\"a b c\"]}}", "not two tokens"},
        {"{\"model\":{" ABC ",\"merges\":[[\"a\"]]}}", "two strings"},
        {"{\"model\":{" ABC ",\"merges\":[[\"a\",\"b\",\"c\"]]}}", "two strings"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "whole number"},
        {"{\"model\":{\"vocab\":{\"a\":3000000000},\"merges\":[]}}", "impossible id"},
        {"{\"model\":{" ABC "}}", "no merges"},
        {"{\"model\":{\"merges\":[]}}", "no vocab"},
        {"{\"version\":\"1.0\"}", "no model"},
        {"{\"added_tokens\":[{\"content\":\"x\"}],\"model\":{" ABC ",\"merges\":[]}}", "without an id"},
        {"{\"added_tokens\":[{\"id\":9}],\"model\":{" ABC ",\"merges\":[]}}", "without content"},
        {"{\"model\":{" ABC ",\"merges\":[]}", "tokenizer.json: byte"},
        {"{\"model\":{" ABC ",\"merges\":[]}}x", "after the value"},
        {"[]", "expected '{'"},
        {"{\"model\":{\"vocab\":{\"\xff\":0},\"merges\":[]}}", "not UTF-8"},
    };
    struct tokenizer *t;
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};

        put_tmp("tokenizer.json", cases[i].json);
        CHECK_MSG(open_folder(&t, tmp_dir, &e) == -1 && !t, "case %zu was accepted", i);
        CHECK_MSG(strstr(e.msg, cases[i].why), "case %zu: '%s' does not say '%s'", i, e.msg, cases[i].why);
    }
}

/* ---- the reference's ids ---- */

static cJSON *read_lines(const char *path, int *n)
{
    cJSON *all = cJSON_CreateArray(), *row;
    struct err e = {0};
    char *text, *p, *end;
    size_t size;

    *n = 0;
    if (file_read(path, 1u << 30, &text, &size, &e)) {
        CHECK_MSG(false, "%s", e.msg);
        return all;
    }
    for (p = text; p < text + size; p = end + 1, ++*n) {
        end = memchr(p, '\n', (size_t)(text + size - p));
        end = end ? end : text + size;
        if (json_parse(p, (size_t)(end - p), path, &row, &e)) {
            CHECK_MSG(false, "%s", e.msg);
            break;
        }
        cJSON_AddItemToArray(all, row);
    }
    free(text);
    return all;
}

/* skip: how many of our leading ids the golden file leaves out. */
static void same_ids(const struct tokenizer *t, const char *text, bool special, int skip, const cJSON *ids,
                     const char *what, int row)
{
    struct ids out = {0};
    struct err e = {0};
    const cJSON *v = ids->child;
    size_t i = (size_t)skip;

    if (tokenizer_encode(t, text, strlen(text), special, &out, &e)) {
        CHECK_MSG(false, "%s row %d: %s", what, row, e.msg);
        return;
    }
    while (v && i < out.n && v->valueint == out.id[i]) {
        v = v->next;
        i++;
    }
    CHECK_MSG(!v && i == out.n, "%s row %d: differs at token %zu", what, row, i);
    ids_free(&out);
}

static void golden_rows(const struct tokenizer *t, const char *path, const cJSON *eval, int skip)
{
    int n, i = 0;
    cJSON *rows = read_lines(path, &n);
    const cJSON *r;

    cJSON_ArrayForEach(r, rows)
    {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(r, "text"));
        bool of_eval = !text;

        if (of_eval)
            text = cJSON_GetStringValue(cJSON_GetObjectItem(
                cJSON_GetArrayItem(eval, cJSON_GetObjectItem(r, "line")->valueint), "text"));
        same_ids(t, text, of_eval, of_eval ? skip : 0, cJSON_GetObjectItem(r, "ids"), path, i++);
    }
    CHECK(i > 60);
    cJSON_Delete(rows);
}

static void golden_chktxt(const struct tokenizer *t, const char *folder)
{
    char path[500];
    struct err e = {0};
    cJSON *ids;
    char *text;
    size_t n;

    snprintf(path, sizeof path, "%s/chktxt.ids", folder);
    if (!path_exists(path))
        return;
    CHECK_MSG(json_read(path, 1 << 20, &ids, &e) == 0, "%s", e.msg);
    snprintf(path, sizeof path, "%s/tokenizers/chktxt.bin", shared_dir());
    CHECK_MSG(file_read(path, 1 << 20, &text, &n, &e) == 0, "%s", e.msg);
    same_ids(t, text, true, 0, ids, folder, 0);
    cJSON_Delete(ids);
    free(text);
}

static void test_reference(const char *name, const cJSON *eval)
{
    char folder[400], command[2000], golden[500];
    struct tokenizer *t;
    struct err e = {0};
    int skip;

    snprintf(folder, sizeof folder, "%s/tokenizers/%s", shared_dir(), name);
    snprintf(command, sizeof command,
             "xz -dc '%s/tokenizer.json.xz' >'%s/tokenizer.json' && cat '%s/tokenizer_config.json' "
             ">'%s/tokenizer_config.json'",
             folder, tmp_dir, folder, tmp_dir);
    if (system(command) != 0) {
        printf("cannot unpack %s (is xz there?)\n", folder);
        return;
    }
    CHECK_MSG(open_folder(&t, tmp_dir, &e) == 0, "%s", e.msg);
    if (!t)
        return;
    /* the golden rows have only the special tokens of tokenizer.json itself */
    skip = strcmp(name, "deepseek_v3") == 0;
    snprintf(golden, sizeof golden, "%s/golden.jsonl", folder);
    golden_rows(t, golden, eval, skip);
    golden_chktxt(t, folder);
    tokenizer_close(t);
    unlink(in_tmp("tokenizer_config.json"));
}

static void test_models(const cJSON *eval)
{
    static const char *const name[] = {"tiny-qwen3", "tiny-gptoss", "pico-qwen3", "pico-gptoss"};
    char model[400], golden[500];
    size_t i;

    for (i = 0; i < 4; i++) {
        struct tokenizer *t;
        struct err e = {0};

        snprintf(model, sizeof model, "%s/models/%s", shared_dir(), name[i]);
        snprintf(golden, sizeof golden, "%s/golden/tokens.jsonl", model);
        CHECK_MSG(open_folder(&t, model, &e) == 0, "%s", e.msg);
        if (t)
            golden_rows(t, golden, eval, 0);
        tokenizer_close(t);
    }
}

/* ---- threads ---- */

static const struct tokenizer *shared;
static const char *const words[] = {"the same", "  words\n", "in four threads",
                                    "caf\xc3\xa9 \xe2\x82\xac 12"};

static void *worker(void *arg)
{
    struct ids *out = arg;
    struct err e = {0};
    int i;

    for (i = 0; i < 400; i++)
        if (tokenizer_encode(shared, words[i % 4], strlen(words[i % 4]), true, out, &e))
            return "failed";
    return NULL;
}

static void test_threads(void)
{
    struct ids out[4] = {{0}};
    pthread_t thread[4];
    struct tokenizer *t;
    struct err e = {0};
    int i;

    CHECK_MSG(open_folder(&t, "examples/tiny-gptoss", &e) == 0, "%s", e.msg);
    shared = t;
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&thread[i], NULL, worker, &out[i]) == 0);
    for (i = 0; i < 4; i++) {
        void *failed;

        CHECK(pthread_join(thread[i], &failed) == 0 && !failed);
        CHECK(out[i].n == out[0].n && memcmp(out[i].id, out[0].id, out[0].n * sizeof *out[0].id) == 0);
    }
    for (i = 0; i < 4; i++)
        ids_free(&out[i]);
    tokenizer_close(t);
}

/* A vocabulary whose ids are places in a list, as other files than tokenizer.json have it. */
static int listed_tokens(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    const char *const *list = s->own;
    int i;

    for (i = 0; list[i]; i++)
        if (fn(ctx, list[i], strlen(list[i]), i, e))
            return -1;
    return 0;
}

static int listed_merges(const struct tokenizer_source *s, merge_fn *fn, void *ctx, struct err *e)
{
    (void)s;
    return fn(ctx, "a", 1, "b", 1, e) || fn(ctx, "ab", 2, "c", 1, e) ? -1 : 0;
}

static void test_source(void)
{
    static const char *list[] = {"a", "b", "c", "ab", "abc", "<s>", NULL};
    struct tokenizer_source s = {
        .name = "a list", .digest = "5", .tokens = listed_tokens, .merges = listed_merges, .own = list};
    struct tokenizer *t = NULL;
    struct err e = {0};

    s.config_name = "its keys";
    s.config = cJSON_Parse("{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
    CHECK_MSG(tokenizer_open(&t, &s, &e) == 0, "%s", e.msg);
    cJSON_Delete(s.config);
    CHECK_STR(encode(t, "abcab", true), "5 4 3");
    CHECK_STR(tokenizer_digest(t), "5");
    CHECK(tokenizer_size(t) == 6);
    tokenizer_close(t);
    s.config = cJSON_Parse("{\"add_bos_token\":true}");
    CHECK(tokenizer_open(&t, &s, &e) == -1 && strstr(e.msg, "its keys: add_bos_token is true"));
    cJSON_Delete(s.config);
}

int main(void)
{
    static const char *const reference[] = {"qwen3", "gptoss", "deepseek_v3", "llama3_1", "llama2"};
    char eval_path[400];
    cJSON *eval;
    size_t i;
    int n;

    tmp_open();
    test_source();
    test_bpe();
    test_steps();
    test_metaspace();
    test_around();
    test_added();
    test_added_ids();
    test_text();
    test_refused();
    test_threads();
    snprintf(eval_path, sizeof eval_path, "%s/data/eval.jsonl", shared_dir());
    if (path_exists(eval_path)) {
        eval = read_lines(eval_path, &n);
        for (i = 0; i < sizeof reference / sizeof *reference; i++)
            test_reference(reference[i], eval);
        test_models(eval);
        cJSON_Delete(eval);
    } else {
        printf("skip: tests/test_tokenizer.c: the reference's ids: no reference data in %s\n", shared_dir());
    }
    CHECK_END();
}
