/*
 * test_reservoir.c -- the reservoir: how its tokens are chosen (so many of each category, the same whatever
 * else there is), what becomes of rows, and the file.
 */
#include "tmp.h"

#include "model/safetensors.h"
#include "observe/reservoir.h"
#include "quant/bf16.h"

enum { DOCS = 40, HIDDEN = 3, TOPK = 2 };

static char *categories[] = {"code", "law", "maths"};
static struct err err;

/* Documents from .. from+docs-1 of an endless corpus; those of category 2 are of one token. */
static void corpus_make(struct corpus *c, int from, int docs)
{
    int d, i;

    *c = (struct corpus){.docs = docs, .category = categories, .categories = 3, .chat = "-", .digest = "0"};
    c->doc = calloc((size_t)docs, sizeof *c->doc);
    c->ids = calloc((size_t)docs * 64, sizeof *c->ids);
    for (d = 0; d < docs; d++) {
        int number = from + d;

        c->doc[d] = (struct doc){.first = c->tokens,
                                 .n = number % 3 == 2 ? 1 : 20 + number,
                                 .category = number % 3,
                                 .half = number / 3 % 2};
        for (i = 0; i < c->doc[d].n; i++)
            c->ids[c->tokens++] = (number * 7 + i * i) % 1000;
    }
}

static void corpus_drop(struct corpus *c)
{
    free(c->doc);
    free(c->ids);
}

static struct arch arch(void)
{
    return (struct arch){.hidden = HIDDEN, .topk = TOPK, .moe_layers = 2};
}

static void sample(struct reservoir *r, const struct corpus *c, bool bf16, int64_t tokens)
{
    const struct arch a = arch();

    CHECK_MSG(reservoir_new(r, c, &a, bf16, tokens, &err) == 0, "%s", err.msg);
}

static const struct doc *doc_of(const struct corpus *c, int64_t token)
{
    const struct doc *d = c->doc;

    while (token >= d->first + d->n)
        d++;
    return d;
}

/* Is this token of c in the other sample, by its hash? */
static bool has_hash(const struct reservoir *r, uint64_t hash)
{
    int64_t i;

    for (i = 0; i < r->tokens && r->hash[i] != hash; i++)
        ;
    return i < r->tokens;
}

static void test_choice(void)
{
    struct corpus c;
    struct reservoir r, again;
    int n[3] = {0};
    int64_t i;

    corpus_make(&c, 0, DOCS);
    sample(&r, &c, false, 95);
    sample(&again, &c, false, 95);
    for (i = 0; i < r.tokens; i++) {
        n[doc_of(&c, r.token[i])->category]++;
        CHECK(i == 0 || r.token[i] > r.token[i - 1]);
        CHECK(r.token[i] == again.token[i]);
    }
    CHECK(n[0] == 31 && n[1] == 31 && n[2] == 13); /* all there are of the last */
    reservoir_free(&again);
    sample(&again, &c, false, 1 << 30);
    CHECK(again.tokens == c.tokens); /* asking for more takes nothing from the larger categories */
    reservoir_free(&again);
    {
        const struct arch a = arch();

        CHECK(reservoir_new(&again, &c, &a, false, 2, &err) == -1 && strstr(err.msg, "3 categories"));
        err_clear(&err);
    }
    reservoir_free(&r);
    corpus_drop(&c);
}

/* What the whole corpus has chosen, its parts choose too. */
static void test_parts(void)
{
    struct corpus c, part[2];
    struct reservoir r, of[2];
    int64_t i, cut;
    int k;

    corpus_make(&c, 0, DOCS);
    sample(&r, &c, false, 60);
    for (k = 0; k < 2; k++) {
        corpus_make(&part[k], k * DOCS / 2, DOCS / 2);
        sample(&of[k], &part[k], false, 60);
    }
    cut = part[0].tokens;
    for (i = 0; i < r.tokens; i++)
        CHECK(has_hash(&of[r.token[i] >= cut], r.hash[i]));
    for (k = 0; k < 2; k++) {
        reservoir_free(&of[k]);
        corpus_drop(&part[k]);
    }
    reservoir_free(&r);
    corpus_drop(&c);
}

/* ---- rows and the file ---- */

static void *tensor(const struct st_file *st, const char *name, enum dtype type, uint64_t rows,
                    uint64_t width)
{
    const struct tensor *t = st_find(st, name);
    void *p = t ? malloc((size_t)t->size) : NULL;

    CHECK_MSG(t && t->dtype == type && t->shape[0] == rows && (width ? t->shape[1] == width : t->rank == 1),
              "%s is not there or of the wrong shape", name);
    if (!p || st_read(st, t, 0, p, (size_t)t->size, &err)) {
        printf("%s\n", err.msg);
        exit(1);
    }
    return p;
}

static void put_rows(struct reservoir *r, bool gated)
{
    const int32_t expert[TOPK] = {3, 7};
    const float gate[TOPK] = {0.5f, 0.25f};
    float x[HIDDEN], y[TOPK * HIDDEN];
    uint16_t xh[HIDDEN], yh[TOPK * HIDDEN];
    struct residual_view residual;
    const struct token_rows rows = {
        r->bf16 ? (void *)xh : x, r->bf16 ? (void *)yh : y, expert, gate, NULL, &residual};
    int64_t i;
    int l, k;

    for (l = 0; l < 2; l++)
        for (i = 0; i < r->tokens; i++) {
            for (k = 0; k < HIDDEN; k++)
                x[k] = (float)(l + k) + (float)(i % 8);
            for (k = 0; k < TOPK * HIDDEN; k++)
                y[k] = (float)(k + 1);
            f32_to_bf16_n(x, xh, HIDDEN);
            f32_to_bf16_n(y, yh, TOPK * HIDDEN);
            residual = (struct residual_view){(float)(l + 1), (float)i};
            reservoir_put(r, l, i, 1, &rows, gated);
        }
}

static void check_columns(const struct st_file *st, const struct reservoir *r, const struct corpus *c)
{
    uint64_t n = (uint64_t)r->tokens;
    int32_t *category = tensor(st, "tokens.category", DT_I32, n, 0),
            *half = tensor(st, "tokens.half", DT_I32, n, 0);
    int32_t *id = tensor(st, "tokens.id", DT_I32, n, 0),
            *position = tensor(st, "tokens.position", DT_I32, n, 0);
    uint64_t *hash = tensor(st, "tokens.hash", DT_U64, n, 0), i;

    for (i = 0; i < n; i++) {
        const struct doc *d = doc_of(c, r->token[i]);

        CHECK(category[i] == d->category && half[i] == d->half && id[i] == c->ids[r->token[i]] &&
              position[i] == r->token[i] - d->first && hash[i] == r->hash[i]);
    }
    free(category);
    free(half);
    free(id);
    free(position);
    free(hash);
}

static void check_file(bool bf16, bool gated)
{
    static const int layer[] = {2, 5};
    const struct model_id id = {.family = "qwen3_moe",
                                .layers = 6,
                                .experts = 8,
                                .topk = TOPK,
                                .hidden = HIDDEN,
                                .digest = "0123456789abcdef0123456789abcdef"};
    const char *path = anew("reservoir");
    struct st_file st;
    struct stats head;
    struct corpus c;
    struct reservoir r;
    int32_t *expert;
    float *gate, *residual, *turn, v;
    uint8_t *in, *out;
    int64_t i;

    corpus_make(&c, 0, DOCS);
    sample(&r, &c, bf16, 60);
    put_rows(&r, gated);
    CHECK(stats_head_new(&head, &id, "run=1", layer, 2, categories, 3, &err) == 0);
    CHECK_MSG(reservoir_write(&r, &head, &c, path, false, &err) == 0 && st_open(&st, path, &err) == 0, "%s",
              err.msg);
    CHECK(st.n == 5 + 2 * 6 && st.n_meta == 5);
    CHECK_STR(st.meta_value[0], "moe-reservoir 1");
    check_columns(&st, &r, &c);
    expert = tensor(&st, "layers.5.experts", DT_I32, (uint64_t)r.tokens, TOPK);
    gate = tensor(&st, "layers.5.gates", DT_F32, (uint64_t)r.tokens, TOPK);
    in = tensor(&st, "layers.5.input", bf16 ? DT_BF16 : DT_F32, (uint64_t)r.tokens, HIDDEN);
    out = tensor(&st, "layers.2.output", bf16 ? DT_BF16 : DT_F32, (uint64_t)r.tokens, HIDDEN);
    for (i = 0; i < r.tokens * HIDDEN; i++) {
        float k = (float)(i % HIDDEN), want_in = 1 + k + (float)(i / HIDDEN % 8),
              want_out = gated ? k + 1 + k + 4 : (k + 1) * 0.5f + (k + 4) * 0.25f;

        if (bf16)
            v = bf16_to_f32(((uint16_t *)(void *)in)[i]);
        else
            memcpy(&v, in + 4 * i, 4);
        CHECK(v == want_in);
        if (bf16)
            v = bf16_to_f32(((uint16_t *)(void *)out)[i]);
        else
            memcpy(&v, out + 4 * i, 4);
        CHECK(v == want_out);
    }
    residual = tensor(&st, "layers.5.residual_norm", DT_F32, (uint64_t)r.tokens, 0);
    turn = tensor(&st, "layers.2.turn", DT_F32, (uint64_t)r.tokens, 0);
    CHECK(residual[0] == 2 && turn[7] == 7);
    CHECK(expert[1] == 7 && gate[2 * r.tokens - 1] == 0.25f);
    free(residual);
    free(turn);
    free(expert);
    free(gate);
    free(in);
    free(out);
    st_close(&st);
    stats_free(&head);
    reservoir_free(&r);
    corpus_drop(&c);
}

int main(void)
{
    tmp_open();
    test_choice();
    test_parts();
    check_file(false, false);
    check_file(true, false);
    check_file(false, true);
    CHECK_END();
}
