/*
 * test_gguf_tokens.c -- tokenizers and chat templates of GGUF files: rules by name, what is in small files,
 * and what is refused.
 */
#include "gguf_file.h"

#include "text/chat.h"
#include "text/split.h"
#include "text/tokenizer_rules.h"

#define MARK "\xe2\x96\x81"

/* ---- rules by name ---- */

static int tell_piece(void *ctx, const char *piece, size_t n, struct err *e)
{
    (void)piece, (void)e;
    str_addf(ctx, "%s%zu", ((struct str *)ctx)->n ? " " : "", n);
    return 0;
}

/* How long the pieces of a text are; as the tokenizers library (0.23) cuts it with the patterns of models
 * that have each, and regex for Kimi's. */
static void test_rules(void)
{
    static const char text[] = "He's HeLLO'LL caf\xc3\xa9"
                               "e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae a1234 \xd0\x96\xd0\xb6! "
                               "x=/y;\r\n\n  'T\xef\xac\x81\xe0\xb8\x81 \xe2\x80\x98q\xe2\x80\x99..\n 5";
    static const char *const all[][2] = {
        {"qwen2", "2 2 6 3 7 2 10 2 1 1 1 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"qwen35", "2 2 6 3 9 10 2 1 1 1 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"llama4", "4 3 6 9 10 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"minimax-m2", "4 3 6 9 10 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"glm4", "2 2 6 3 7 2 10 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"dbrx", "2 2 6 3 7 2 10 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"deepseek-v3", "2 2 6 3 9 1 9 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"deepseek-llm", "2 1 1 6 1 2 4 2 1 3 9 2 1 1 1 1 5 1 2 2 1 1 1 1 1 1 2 1 3 3 1 3 1 3 2 1 1 1"},
        {"deepseek-coder", "2 1 1 6 1 2 7 2 1 9 2 1 1 1 1 5 1 2 1 1 1 1 1 1 1 1 2 4 3 1 3 1 3 2 1 1 1"},
        {"olmo", "2 2 6 1 2 7 2 10 2 4 5 1 2 2 1 1 4 2 7 4 1 5 1 2"},
        {"gpt-2", "2 2 6 1 2 7 2 10 2 4 5 1 2 2 1 1 4 2 7 4 1 5 1 2"},
        {"starcoder", "2 2 6 1 2 7 2 10 2 1 1 1 1 5 1 2 2 1 1 4 2 7 4 1 5 2 1"},
        {"bailingmoe2", "2 2 6 3 7 2 10 2 1 1 1 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"seed-coder", "2 2 6 3 7 2 10 2 1 1 1 1 5 1 2 2 1 1 3 1 2 7 4 1 5 1 1 1"},
        {"tekken", "2 2 3 3 3 9 10 2 1 1 1 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
        {"default", "2 1 1 6 1 2 7 2 10 2 3 1 5 1 2 2 1 1 5 1 7 1 3 1 5 1 1 1"},
        {"kimi-k2", "4 3 6 9 1 6 3 2 3 1 5 1 2 2 1 4 1 2 7 4 1 6 1 1"},
    };
    size_t i;

    for (i = 0; i < sizeof all / sizeof *all; i++) {
        const struct tokenizer_rules *r = tokenizer_rules(all[i][0], strlen(all[i][0]));
        struct splitter s = {0};
        struct split_work w = {0};
        struct str told = {0};
        struct err e = {0};
        cJSON *json;

        CHECK_MSG(r, "no rules of the name %s", all[i][0]);
        if (!r)
            continue;
        json = tokenizer_rules_splitter(r);
        CHECK_MSG(splitter_read(&s, json, "rules", &e) == 0 && split_work_init(&w, &s, &e) == 0 &&
                      split(&s, &w, text, sizeof text - 1, true, tell_piece, &told, &e) == 0,
                  "%s", e.msg);
        CHECK_MSG(told.p && strcmp(told.p, all[i][1]) == 0, "%s: %s", all[i][0], told.p ? told.p : "");
        str_free(&told);
        split_work_free(&w);
        splitter_free(&s);
        cJSON_Delete(json);
    }
    CHECK(!tokenizer_rules("qwen", 4) && !tokenizer_rules("", 0));
}

/* ---- small files ---- */

struct small_token {
    const char *text;
    int type; /* 0 behind the last */
    float score;
};

static void put_small(const struct small_token *t, bool scores)
{
    struct str texts = {0}, types = {0}, all = {0};
    uint32_t bits;
    size_t n;

    for (n = 0; t[n].type; n++) {
        put_string(&texts, t[n].text, strlen(t[n].text));
        put_uint(&types, (uint64_t)t[n].type, 4);
        memcpy(&bits, &t[n].score, sizeof bits);
        put_uint(&all, bits, 4);
    }
    put_list("tokens", GGUF_STRING, n, &texts);
    put_list("token_type", GGUF_I32, n, &types);
    if (scores)
        put_list("scores", GGUF_F32, n, &all);
    str_free(&texts);
    str_free(&types);
    str_free(&all);
}

/* One to a line. */
static void put_merges(const char *lines)
{
    struct str all = {0};
    size_t n;

    for (n = 0; *lines; n++, lines += strcspn(lines, "\n") + 1)
        put_string(&all, lines, strcspn(lines, "\n"));
    put_list("merges", GGUF_STRING, n, &all);
    str_free(&all);
}

static void check_small(const char *const (*ids)[2])
{
    struct tokenizer *t = open_file();

    for (; t && (*ids)[0]; ids++)
        CHECK_MSG(strcmp(encode(t, (*ids)[0], true), (*ids)[1]) == 0, "'%s': %s", (*ids)[0],
                  encode(t, (*ids)[0], true));
    tokenizer_close(t);
}

static const struct small_token letters[] = {
    {"a", 1, 0}, {"b", 1, 0},        {"ab", 1, 0}, {"<|x|>", 3, 0}, {"<y>", 4, 0}, {"[PAD5]", 5, 0},
    {"", 1, 0},  {"\xc4\xa0", 1, 0}, {"<", 1, 0},  {"aba", 99, 0},  {NULL, 0, 0}};

/* Merges of what is no token, tokens of types that text cannot have, gaps; a BOS as the rules or the file
 * say. */
static void test_bytes(void)
{
    static const char *const ids[][2] = {
        {"ab a", "2 7 0"}, {"aba", "2 0"}, {"<|x|>b<y>ab", "3 1 4 2"}, {"[PAD5]<", "8"}, {NULL, NULL}};
    static const char *const begun[][2] = {{"ab", "3 2"}, {NULL, NULL}};

    begin("gpt2", "gpt-2");
    put_small(letters, false);
    put_merges("a b\nb <\nab a\n");
    check_small(ids);
    begin("gpt2", "llama-bpe");
    put_small(letters, false);
    put_merges("a b\n");
    put_number("bos_token_id", 3);
    check_small(begun);
    put_flag("add_bos_token", false);
    check_small(begun + 1);
    begin("gpt2", "qwen2");
    put_small(letters, false);
    put_merges("a b\n");
    put_number("bos_token_id", 3);
    check_small(ids);
    put_flag("add_bos_token", true);
    check_small(begun);
}

/* Of a run of 25,000 characters and "bc" behind it the "bc" alone is left. */
static void check_cut(void)
{
    struct tokenizer *t = open_file();
    struct ids all = {0};
    struct str text = {0};
    struct err e = {0};

    while (text.n < 25000)
        str_addc(&text, 'a');
    str_adds(&text, "bc");
    CHECK(t && tokenizer_encode(t, text.p, text.n, false, &all, &e) == 0 && all.id[all.n - 1] == 10);
    ids_free(&all);
    str_free(&text);
    tokenizer_close(t);
}

/* Of tiktoken: the ids are its own, as in test_kinds.c. */
static void test_ranks(void)
{
    static const struct small_token tokens[] = {{"a", 1, 0},
                                                {"b", 1, 0},
                                                {"c", 1, 0},
                                                {"\xc4\xa0", 1, 0},
                                                {"'", 1, 0},
                                                {"s", 1, 0},
                                                {"1", 1, 0},
                                                {"\xc3\xa4", 1, 0},
                                                {"\xc2\xb8", 1, 0},
                                                {"\xc5\x83", 1, 0},
                                                {"bc", 1, 0},
                                                {"ab", 1, 0},
                                                {"abc", 1, 0},
                                                {"\xc4\xa0"
                                                 "a",
                                                 1, 0},
                                                {"\xc3\xa4\xc2\xb8", 1, 0},
                                                {"\xc2\xb8\xc5\x83", 1, 0},
                                                {"'s", 1, 0},
                                                {"aa", 1, 0},
                                                {"11", 1, 0},
                                                {"[BOS]", 3, 0},
                                                {NULL, 0, 0}};
    static const char *const ids[][2] = {{"abc", "12"},
                                         {"abcbc abc", "12 10 3 12"},
                                         {"aaa", "17 0"},
                                         {"a\xe4\xb8\xad"
                                          "b's",
                                          "0 14 9 1 16"},
                                         {"1111", "18 6 6"},
                                         {"[BOS] a", "19 13"},
                                         {"x", "failed"},
                                         {NULL, NULL}};

    begin("gpt2", "kimi-k2");
    put_small(tokens, false);
    check_small(ids);
    check_cut();
}

static void test_characters(void)
{
    static const struct small_token tokens[] = {{"<unk>", 2, 0},     {"<s>", 3, 0},    {"</s>", 3, 0},
                                                {MARK, 1, -1},       {"a", 1, -2},     {"b", 1, -3},
                                                {MARK "a", 1, -.5f}, {"ab", 1, -.25f}, {MARK "ab", 5, 0},
                                                {MARK MARK, 4, 0},   {"<u >", 4, 0},   {NULL, 0, 0}};
    static const struct small_token fallback[] = {{"<unk>", 2, 0},  {"<0x0A>", 6, 0}, {"<0xC3>", 6, 0},
                                                  {"<0xA9>", 6, 0}, {MARK, 1, 0},     {"a", 1, 0},
                                                  {MARK "a", 1, 0}, {NULL, 0, 0}};
    static const char *const ids[][2] = {{"ab a", "1 3 7 6"}, {"z", "1 3 0"},      {"a<s>a", "1 6 1 6"},
                                         {"a  b", "1 6 9 5"}, {"<u >a", "1 10 6"}, {"<unk>", "1 0"},
                                         {NULL, NULL}};
    static const char *const plain[][2] = {{"ab a", "1 7 6"}, {NULL, NULL}};
    static const char *const bytes[][2] = {{"a a\n\xc3\xa9z", "5 6 1 2 3 0"}, {NULL, NULL}};

    begin("llama", NULL);
    put_small(tokens, true);
    put_number("bos_token_id", 1);
    check_small(ids);
    put_flag("add_space_prefix", false);
    check_small(plain);
    begin("gemma4", NULL);
    put_small(fallback, false);
    put_merges(MARK " a\n");
    check_small(bytes);
}

static void refused(const char *why)
{
    struct tokenizer *t;
    struct err e = {0};

    CHECK_MSG(open_folder(&t, write_file(), &e) == -1 && strstr(e.msg, why), "'%s' does not say '%s'", e.msg,
              why);
}

static void test_refused(void)
{
    static const struct small_token damaged[] = {{"a", 1, 0}, {"\xff", 1, 0}, {NULL, 0, 0}};
    struct str one = {0};

    begin("gpt2", "qwen2");
    refused("has no tokenizer");
    put_small(letters, false);
    refused("tokenizer.ggml.merges is missing");
    put_merges("ab\n");
    refused("the merge 'ab' is not two tokens");
    begin("gpt2", "no-such");
    put_small(letters, false);
    refused("tokenizer.ggml.pre is 'no-such'");
    begin("gpt2", NULL);
    put_small(letters, false);
    refused("tokenizer.ggml.pre is missing");
    begin("t5", NULL);
    put_small(letters, false);
    refused("the tokenizer 't5' is not understood");
    begin("llama", NULL);
    put_small(letters, true);
    put_text("precompiled_charsmap", "x");
    refused("maps characters");
    begin("gpt2", "qwen2");
    put_small(damaged, false);
    refused("token 1 is damaged");
    begin("gpt2", "qwen2");
    put_small(letters, false);
    put_merges("a b\n");
    put_number("bos_token_id", 100);
    tokenizer_close(open_file()); /* it is not asked for */
    put_flag("add_bos_token", true);
    refused("add_bos_token is true, but bos_token is not a token");
    begin("gpt2", "qwen2");
    put_small(letters, false);
    put_uint(&one, 1, 4);
    put_list("scores", GGUF_I32, 1, &one);
    refused("scores does not have a number for each token");
    begin("gpt2", "llama-bpe");
    put_small(letters, false);
    put_merges("a b\n");
    refused("add_bos_token is true, but bos_token is not a token");
    str_free(&one);
}

static void check_problem(int vocab, const char *want)
{
    struct err e = {0};
    char *problem;

    CHECK(tokenizer_problem(&problem, write_file(), vocab, &e) == 0);
    CHECK_MSG(want ? problem && strstr(problem, want) : !problem, "%s", problem ? problem : "none");
    free(problem);
}

/* What moe-inspect --check says of it: padding counts as little as a kind that is not understood. */
static void test_problems(void)
{
    begin("gpt2", "qwen2");
    put_small(letters, false);
    check_problem(100, "tokenizer.ggml.merges is missing");
    put_merges("a b\n");
    check_problem(9, NULL);
    check_problem(8, "the tokenizer has ids up to 8, the model's vocabulary ends at 7");
    begin("gpt2", "no-such");
    put_small(letters, false);
    check_problem(1, NULL);
}

/* ---- chat templates ---- */

static void check_render(const char *name, const char *tools, const char *want)
{
    struct chat_options o = {name, NULL};
    struct chat *c;
    struct chat_result result;
    struct str why = {0}, out = {0};
    struct err e = {0};
    cJSON *messages = cJSON_Parse("[{\"role\": \"user\", \"content\": \"hi\"}]"), *t = cJSON_Parse(tools);

    CHECK_MSG(chat_open(&c, &why, in_tmp("model.gguf"), &o, &e) == 0 && c, "%s%s", e.msg, why.p ? why.p : "");
    if (c) {
        CHECK_MSG(chat_render(c, messages, t, NULL, "here", &out, &result, &e) == 0, "%s", e.msg);
        CHECK_MSG(out.p && strcmp(out.p, want) == 0, "'%s'", out.p ? out.p : "");
    }
    chat_close(c);
    cJSON_Delete(messages);
    cJSON_Delete(t);
    str_free(&why);
    str_free(&out);
}

static void test_templates(void)
{
    struct chat_options o = {NULL, NULL};
    struct str why = {0};
    struct err e = {0};
    struct chat *c;

    begin("gpt2", "gpt-2");
    put_small(letters, false);
    put_number("bos_token_id", 3);
    put_text(".chat_template", "{{ bos_token }}{{ messages[0].content }}");
    put_text(".chat_template.tool_use", "{{ tools|length }}{{ messages[0].content }}");
    write_file();
    check_render(NULL, "null", "<|x|>hi");
    check_render(NULL, "[{}]", "1hi");
    check_render("tool_use", "[{}, {}]", "2hi");
    begin("gpt2", "gpt-2");
    put_small(letters, false);
    write_file();
    CHECK(chat_open(&c, &why, in_tmp("model.gguf"), &o, &e) == 0 && !c && strstr(why.p, "no chat template"));
    str_free(&why);
}

int main(void)
{
    tmp_open();
    test_rules();
    test_bytes();
    test_ranks();
    test_characters();
    test_refused();
    test_problems();
    test_templates();
    str_free(&values);
    CHECK_END();
}
