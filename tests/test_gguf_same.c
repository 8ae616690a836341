/*
 * test_gguf_same.c -- GGUF files that are made of the tokenizers of folders, as llama.cpp's converter makes
 * them, give every text the same ids.
 */
#include "gguf_file.h"

#include "base/json.h"
#include "base/map.h"
#include "text/token_pieces.h"

#define MARK "\xe2\x96\x81"

struct converting {
    struct map id; /* tokens by text, with their ids */
    char *type;    /* [size] of an id */
    char **text;
    int32_t size;
    struct str merges;
    size_t n_merges;
};

static int convert_token(void *ctx, const char *text, size_t n, double id, struct err *e)
{
    struct converting *c = ctx;

    if ((int32_t)id < c->size)
        c->type[(int32_t)id] = PIECE_NORMAL, c->text[(int32_t)id] = mem_strndup(text, n, e);
    return 0;
}

static int convert_merge(void *ctx, const char *left, size_t left_n, const char *right, size_t right_n,
                         struct err *e)
{
    struct converting *c = ctx;
    struct str m = {0};

    str_add(&m, left, left_n);
    str_addc(&m, ' ');
    str_add(&m, right, right_n);
    put_string(&c->merges, m.p, m.n);
    c->n_merges++;
    return str_ok(&m, e) ? -1 : (str_free(&m), 0);
}

/* Of sentencepiece: types by the texts of pieces, scores by their order, runs of spaces the least. */
static void put_scores(struct converting *c)
{
    struct str all = {0};
    int32_t i;

    for (i = 0; i < c->size; i++) {
        bool spaces = c->text[i] && strlen(c->text[i]) > 3 && !strncmp(c->text[i], MARK MARK, 6);
        float score = spaces ? -1e9f : (float)-i;
        uint32_t bits;

        if (c->text[i] && strncmp(c->text[i], "<0x", 3) == 0 && strlen(c->text[i]) == 6)
            c->type[i] = PIECE_BYTE;
        memcpy(&bits, &score, sizeof bits);
        put_uint(&all, bits, 4);
    }
    put_list("scores", GGUF_F32, (size_t)c->size, &all);
    str_free(&all);
}

static void put_tokens(struct converting *c)
{
    struct str texts = {0}, types = {0};
    char gap[32];
    int32_t i;

    for (i = 0; i < c->size; i++) {
        snprintf(gap, sizeof gap, "[PAD%d]", (int)i);
        put_string(&texts, c->text[i] ? c->text[i] : gap, strlen(c->text[i] ? c->text[i] : gap));
        put_uint(&types, (uint64_t)(c->text[i] ? c->type[i] : PIECE_UNUSED), 4);
        free(c->text[i]);
    }
    put_list("tokens", GGUF_STRING, (size_t)c->size, &texts);
    put_list("token_type", GGUF_I32, (size_t)c->size, &types);
    str_free(&texts);
    str_free(&types);
}

static void convert_added(struct converting *c, const cJSON *added, struct err *e)
{
    const cJSON *a;

    cJSON_ArrayForEach(a, added)
    {
        int32_t id = json_member(a, "id")->valueint;

        free(c->text[id]);
        c->text[id] = mem_strdup(json_member(a, "content")->valuestring, e);
        c->type[id] = cJSON_IsTrue(json_member(a, "special")) ? PIECE_CONTROL : PIECE_USER_DEFINED;
    }
}

/* More ids than there are tokens, as models have them. */
static struct tokenizer *convert(const char *folder, const struct tokenizer *like, const char *model,
                                 const char *pre)
{
    struct converting c = {.size = tokenizer_size(like) + 7};
    struct tokenizer_source s;
    struct tokenizer *t;
    struct err e = {0};
    const int32_t *bos;

    c.type = mem_new((size_t)c.size, 1, &e);
    c.text = mem_new((size_t)c.size, sizeof *c.text, &e);
    CHECK_MSG(tokenizer_folder(&s, folder, &e) == 0 && s.tokens(&s, convert_token, &c, &e) == 0 &&
                  s.merges(&s, convert_merge, &c, &e) == 0,
              "%s", e.msg);
    convert_added(&c, s.added, &e);
    if (s.unk)
        c.type[tokenizer_id(like, s.unk)] = PIECE_UNKNOWN;
    begin(model, pre);
    if (strcmp(model, "llama") == 0)
        put_scores(&c);
    else
        put_list("merges", GGUF_STRING, c.n_merges, &c.merges);
    put_tokens(&c);
    put_flag("add_bos_token", tokenizer_begin(like, &bos) > 0);
    if (tokenizer_begin(like, &bos))
        put_number("bos_token_id", (unsigned)*bos);
    t = open_file();
    s.close(&s);
    str_free(&c.merges);
    free(c.type);
    free(c.text);
    return t;
}

/* How many of the texts have other ids; says the first. */
static int compare(const struct tokenizer *a, const struct tokenizer *b, const char *text, size_t n,
                   const char *what, int wrong)
{
    struct ids x = {0}, y = {0};
    struct err e = {0};
    bool same = tokenizer_encode(a, text, n, true, &x, &e) == 0 &&
                tokenizer_encode(b, text, n, true, &y, &e) == 0 && x.n == y.n &&
                (!x.n || memcmp(x.id, y.id, x.n * sizeof *x.id) == 0);

    if (!same && !wrong)
        printf("%s: '%.80s': %s\n", what, text, e.msg);
    ids_free(&x);
    ids_free(&y);
    return wrong + !same;
}

static size_t utf8_put(unsigned c, char *p)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

    for (i = n; i > 1; i--, c >>= 6)
        p[i - 1] = (char)(0x80 | (c & 63));
    p[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
    return n;
}

/* Every code point, alone among others, at the beginning and end of words, and after spaces and digits. */
static void compare_all(const struct tokenizer *a, const struct tokenizer *b, const char *what, unsigned step)
{
    char text[64];
    int wrong = 0;
    unsigned c;

    for (c = 1; c < 0x110000; c += c < 0x3000 ? 1 : step) {
        size_t n = 0;

        if (c >= 0xd800 && c < 0xe000)
            continue;
        memcpy(text, "a", n = 1);
        n += utf8_put(c, text + n);
        memcpy(text + n, "b 1", 3);
        n += utf8_put(c, text + n + 3) + 3;
        text[n++] = '\n';
        n += utf8_put(c, text + n);
        n += utf8_put(c, text + n);
        memcpy(text + n, "'s  ", 4);
        text[n + 4] = 0;
        wrong = compare(a, b, text, n + 4, what, wrong);
    }
    CHECK_MSG(wrong == 0, "%s: %d texts with one code point have other ids", what, wrong);
}

static void compare_lines(const struct tokenizer *a, const struct tokenizer *b, const char *path,
                          const char *what)
{
    struct err e = {0};
    char *text, *p;
    size_t n;
    int wrong = 0, lines = 0;

    if (file_read(path, 1u << 30, &text, &n, &e)) {
        CHECK_MSG(false, "%s", e.msg);
        return;
    }
    wrong = compare(a, b, text, n, what, 0);
    for (p = text; *p; lines++) {
        size_t len = strcspn(p, "\n");

        wrong = compare(a, b, p, len, what, wrong);
        p += len + (p[len] == '\n');
    }
    CHECK_MSG(wrong == 0, "%s: %d of %d lines of %s have other ids", what, wrong, lines, path);
    free(text);
}

/* Tokens of the tokenizer's own in a text, with spaces around them and without. */
static const char own_tokens[] = "<|im_start|>user\nHi<|im_end|> <|endoftext|><think> x </think>\n"
                                 "<|start|>system<|message|>a <|end|>  <s> </s><unk> x<|begin_of_text|>y";

static void check_folder(const char *folder, const char *model, const char *pre, unsigned step)
{
    struct tokenizer *a, *b;
    char path[600];
    struct err e = {0};

    CHECK_MSG(open_folder(&a, folder, &e) == 0, "%s", e.msg);
    if (!a)
        return;
    b = convert(folder, a, model, pre);
    CHECK(b && tokenizer_size(b) == tokenizer_size(a));
    /* but for DeepSeek's, where which tokens are found in normalized text is lost: it normalizes nothing */
    CHECK_MSG(tokenizer_same(folder, in_tmp("model.gguf"), &e) == 1 ||
                  strcmp(pre ? pre : "", "deepseek-v3") == 0,
              "%s, %s: not the same; %s", folder, pre, e.msg);
    if (b) {
        CHECK(compare(a, b, own_tokens, strlen(own_tokens), folder, 0) == 0);
        CHECK(compare(a, b, "", 0, folder, 0) == 0);
        compare_lines(a, b, "CONTRIBUTING.md", folder);
        compare_lines(a, b, "lib/text/tokenizer_rules.c", folder);
        compare_all(a, b, folder, step);
        snprintf(path, sizeof path, "%s/data/eval.jsonl", shared_dir());
        if (path_exists(path))
            compare_lines(a, b, path, folder);
        snprintf(path, sizeof path, "%s/tokenizers/chktxt.bin", shared_dir());
        if (path_exists(path))
            compare_lines(a, b, path, folder);
    }
    tokenizer_close(a);
    tokenizer_close(b);
}

static void test_shared(void)
{
    static const struct {
        const char *name, *model, *pre;
    } all[] = {{"qwen3", "gpt2", "qwen2"},
               {"gptoss", "gpt2", "gpt-4o"},
               {"deepseek_v3", "gpt2", "deepseek-v3"},
               {"llama3_1", "gpt2", "llama-bpe"},
               {"llama2", "llama", NULL}};
    char command[2000], folder[400];
    size_t i;

    for (i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(folder, sizeof folder, "%s/tokenizers/%s", shared_dir(), all[i].name);
        if (!path_exists(folder)) {
            printf("skip: tests/test_gguf_same.c: no %s\n", folder);
            continue;
        }
        snprintf(command, sizeof command,
                 "xz -dc '%s/tokenizer.json.xz' >'%s/tokenizer.json' && cat '%s/tokenizer_config.json' "
                 ">'%s/tokenizer_config.json'",
                 folder, tmp_dir, folder, tmp_dir);
        if (system(command) != 0)
            printf("skip: cannot unpack %s (is xz there?)\n", folder);
        else
            check_folder(tmp_dir, all[i].model, all[i].pre, 31);
    }
}

int main(void)
{
    tmp_open();
    check_folder("examples/tiny-gptoss", "gpt2", "gpt-4o", 31);
    check_folder("examples/tiny-qwen3", "gpt2", "qwen2", 31);
    test_shared();
    str_free(&values);
    CHECK_END();
}
