/*
 * test_observer.c -- what an observer is told: in order, whatever the devices and chunks; what a mask would
 * give that is observed and not followed; and what a device cannot make.
 */
#include "forward.h"

#include "engine/engine_private.h"

/* ---- the order of what an observer is told ---- */

struct order {
    int layer;
    int64_t next, tokens, pairs;
};

static int in_order(void *ctx, int layer, int64_t first, int n, const int32_t *expert, const float *gate,
                    const float *norm, const float *max, struct err *e)
{
    struct order *o = ctx;

    (void)expert, (void)gate, (void)norm, (void)max, (void)e;
    if (layer != o->layer) {
        CHECK_MSG(layer == o->layer + 1 && o->next == o->tokens, "layer %d after %lld tokens of layer %d",
                  layer, (long long)o->next, o->layer);
        o->layer = layer;
        o->next = 0;
    }
    CHECK_MSG(first == o->next, "token %lld after %lld", (long long)first, (long long)o->next);
    o->next = first + n;
    return 0;
}

static int pairs_in_order(void *ctx, int layer, int64_t first, int n, const int32_t *expert,
                          const float *gate, const float *norm, const float *inner, struct err *e)
{
    struct order *o = ctx;

    (void)expert, (void)gate, (void)norm, (void)inner, (void)e;
    CHECK(layer == o->layer && first + n == o->next);
    o->pairs += n;
    return 0;
}

static void check_order(const struct model *m, const struct batch *b)
{
    int devices, chunk;

    for (devices = 1; devices < 4; devices++)
        for (chunk = 1; chunk < 200; chunk += 69) {
            struct engine_options o = {.device = on_gpu() ? "cuda" : "cpu",
                                       .precision = PREC_F32,
                                       .threads = 2,
                                       .devices = devices,
                                       .chunk_tokens = chunk};
            struct order order = {.layer = -1, .tokens = b->first[b->docs], .next = b->first[b->docs]};
            struct observer ob = {.routed = in_order, .ctx = &order, .pairs = pairs_in_order};
            struct engine *en;

            CHECK_MSG(engine_open(&en, &o, &err) == 0, "%s", err.msg);
            CHECK_MSG(engine_forward(en, m, b, NULL, &ob, NULL, NULL, &err) == 0, "%s", err.msg);
            CHECK(order.layer == m->arch.layers - 1 && order.next == order.tokens);
            CHECK(order.pairs == order.tokens * m->arch.layers);
            engine_close(en);
        }
}

/* ---- a mask that is observed and not followed ---- */

/* What a pass showed of one layer. */
struct shown {
    const struct model *m;
    int layer;
    size_t elem;
    int64_t next;    /* sample */
    uint8_t *y;      /* elements [tokens][k][hidden] */
    int32_t *expert; /* [tokens][k] */
    float *gate;     /* [tokens][k] */
    int64_t saved;   /* results that were there already */
};

static void show_token(struct shown *s, const struct token_rows *rows, const struct token_rows *whole,
                       int64_t i, int t)
{
    size_t k = (size_t)s->m->arch.topk, row = (size_t)s->m->arch.hidden * s->elem, at = (size_t)t * k, j, w;

    memcpy(s->expert + (size_t)i * k, rows->expert + at, k * 4);
    memcpy(s->gate + (size_t)i * k, rows->gate + at, k * 4);
    for (j = 0; j < k; j++) {
        const uint8_t *y = (const uint8_t *)rows->y + (at + j) * row;

        if (rows->fresh && rows->fresh[at + j] < 0) {
            for (w = 0; w < k && whole->expert[at + w] != rows->expert[at + j]; w++)
                ;
            CHECK(w < k);
            y = (const uint8_t *)whole->y + (at + w % k) * row;
            s->saved++;
        } else if (rows->fresh) {
            CHECK(rows->fresh[at + j] == rows->expert[at + j]);
        }
        memcpy(s->y + ((size_t)i * k + j) * row, y, row);
    }
}

static void show(void *ctx, int layer, int64_t i, int n, const struct token_rows *rows,
                 const struct token_rows *apart)
{
    struct shown *s = ctx;
    int t;

    if (layer != s->layer)
        return;
    CHECK(i == s->next);
    s->next += n;
    for (t = 0; t < n; t++)
        show_token(s, apart ? apart : rows, rows, i + t, t);
}

static void shown_open(struct shown *s, const struct model *m, int layer, enum precision p, int64_t tokens)
{
    size_t slots = (size_t)tokens * (size_t)m->arch.topk;

    *s = (struct shown){.m = m, .layer = layer, .elem = p == PREC_BF16 ? 2 : 4};
    s->y = calloc(slots, (size_t)m->arch.hidden * s->elem);
    s->expert = calloc(slots, 4);
    s->gate = calloc(slots, 4);
}

static void shown_free(struct shown *s)
{
    free(s->y);
    free(s->expert);
    free(s->gate);
}

/* What it shows of a layer is what a pass shows that follows the mask in this layer alone; and that it is
 * there changes nothing that comes after. */
static void check_apart(const struct model *m, const struct batch *b, enum precision p, int chunk)
{
    struct engine_options o = {
        .device = on_gpu() ? "cuda" : "cpu", .precision = p, .threads = 2, .chunk_tokens = chunk};
    size_t e = (size_t)m->arch.experts, n = e * (size_t)m->arch.layers, i, slots;
    struct mask mask = {.experts = malloc(n)}, alone = {.experts = malloc(n)};
    struct observer ob = {.sampled = show, .samples = b->first[b->docs]};
    struct engine *en;
    struct shown a, c;
    int l;

    slots = (size_t)ob.samples * (size_t)m->arch.topk;
    if (engine_open(&en, &o, &err)) {
        printf("not checked: %s\n", err.msg);
        err_clear(&err);
        return;
    }
    for (i = 0; i < n; i++)
        mask.experts[i] = i % e % 3 != 1 || e < 3 * (size_t)m->arch.topk / 2;
    for (l = 0; l < m->arch.layers; l++) {
        if (m->arch.layer[l].ffn != FFN_MOE)
            continue;
        memset(alone.experts, 1, n);
        memcpy(alone.experts + (size_t)l * e, mask.experts + (size_t)l * e, e);
        shown_open(&a, m, l, p, ob.samples);
        shown_open(&c, m, l, p, ob.samples);
        ob.ctx = &a;
        ob.apart = &mask;
        CHECK_MSG(engine_forward(en, m, b, NULL, &ob, NULL, NULL, &err) == 0, "%s", err.msg);
        ob.ctx = &c;
        ob.apart = NULL;
        CHECK_MSG(engine_forward(en, m, b, &alone, &ob, NULL, NULL, &err) == 0, "%s", err.msg);
        CHECK(a.next == ob.samples && c.next == ob.samples && a.saved > 0 && c.saved == 0);
        CHECK_MSG(!memcmp(a.expert, c.expert, slots * 4), "layer %d: other experts", l);
        CHECK_MSG(!memcmp(a.gate, c.gate, slots * 4), "layer %d: other gates", l);
        CHECK_MSG(!memcmp(a.y, c.y, slots * (size_t)m->arch.hidden * a.elem), "layer %d: other results", l);
        shown_free(&a);
        shown_free(&c);
    }
    engine_close(en);
    mask_free(&mask);
    mask_free(&alone);
}

/* ---- what a device lacks ---- */

static void no_sums(void *ctx, int layer, double *sum[EXPERT_SUMS])
{
    (void)ctx;
    (void)layer;
    (void)sum;
}

/* What a device lacks is said before anything is computed: by whom, and what. */
static void check_lacking(const struct model *m, const struct batch *b)
{
    const struct engine_options o = {.device = "cpu", .threads = 1};
    const struct observer pairs = {.routed = in_order, .pairs = pairs_in_order},
                          sums = {.routed = in_order, .sums = no_sums};
    struct engine *en;
    struct hidden *h;
    struct ops half;
    float nll = 0;

    CHECK(engine_open(&en, &o, &err) == 0 && engine_forward(en, m, b, NULL, NULL, &h, NULL, &err) == 0);
    half = *en->d->ops;
    en->d->ops = &half;
    half.pairs = NULL;
    half.head = NULL;
    CHECK(engine_forward(en, m, b, NULL, &pairs, NULL, NULL, &err) == -1);
    CHECK_MSG(strstr(err.msg, "('gram') needs the operation 'pairs'") && strstr(err.msg, "'cpu'"), "%s",
              err.msg);
    err_clear(&err);
    CHECK(engine_nll(en, m, h, b, &nll, &err) == -1);
    CHECK_MSG(strstr(err.msg, "'head'") != NULL, "%s", err.msg);
    err_clear(&err);
    en->d->can.f64 = false;
    CHECK(engine_forward(en, m, b, NULL, &sums, NULL, NULL, &err) == -1);
    CHECK_MSG(strstr(err.msg, "('output_sum') need arithmetic in f64"), "%s", err.msg);
    err_clear(&err);
    half.route = NULL;
    CHECK(engine_forward(en, m, b, NULL, NULL, NULL, NULL, &err) == -1);
    CHECK_MSG(strstr(err.msg, "layer 0") && strstr(err.msg, "'route'"), "%s", err.msg);
    err_clear(&err);
    hidden_free(h);
    engine_close(en);
}

static void check_model(const char *dir, bool all)
{
    struct model m;
    struct batch b;
    int32_t *ids;

    if (model_open(&m, dir, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    b = (struct batch){ids, doc_first, DOCS};
    check_apart(&m, &b, PREC_F32, 0);
    if (all) {
        check_apart(&m, &b, PREC_BF16, 70);
        check_order(&m, &b);
        check_lacking(&m, &b);
    }
    free(ids);
    model_close(&m);
}

int main(void)
{
    check_model("examples/tiny-qwen3", true);
    check_model("examples/tiny-gptoss", true);
    check_model("tests/fixtures/llama4-split", false);
    check_model("tests/fixtures/deepseek-v2-groups", false);
    check_model("tests/fixtures/deepseek-v3-half", false);
    CHECK_END();
}
