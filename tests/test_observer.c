/*
 * test_observer.c -- what an observer is told: in order, whatever the devices and chunks; what a mask would
 * give that is observed and not followed; the hidden state before the experts; and what a device cannot make.
 */
#include "forward.h"

#include "engine/engine_private.h"
#include "model/slots.h"
#include "quant/floats.h"

/* ---- the order of what an observer is told ---- */

struct order {
    int layer;
    int64_t next, tokens, pairs;
};

static int in_order(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    struct order *o = ctx;

    (void)c, (void)e;
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

/* ---- the hidden state before the experts ---- */

struct states {
    const struct model *m;
    float *norm; /* [hidden] the weight of the norm before the experts, of the layer at hand */
    int layer;
    int64_t seen;
    double worst;
};

static void read_norm(struct states *s, int layer)
{
    const struct model *m = s->m;
    struct slot slot;
    size_t i, k;

    s->layer = layer;
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        uint8_t *bytes;

        if (m->role[i].layer != layer || !slot_of(m, i, &slot) || slot.id != SLOT_POST_NORM)
            continue;
        bytes = malloc((size_t)t->size);
        CHECK_MSG(checkpoint_read(&m->ckpt, t, 0, bytes, (size_t)t->size, &err) == 0, "%s", err.msg);
        for (k = 0; k < (size_t)m->arch.hidden; k++)
            s->norm[k] = float_at(t->dtype, bytes, k);
        free(bytes);
        return;
    }
    CHECK_MSG(0, "layer %d has no norm", layer);
}

/* What the norm made of h, and the length of h, give h; and with that what the experts add gives the turn. */
static void check_token(struct states *s, const struct token_rows *rows, int t)
{
    const struct arch *a = &s->m->arch;
    const struct residual_view *seen = &rows->residual[t];
    const float *x = (const float *)rows->x + (size_t)t * (size_t)a->hidden;
    const float *y = (const float *)rows->y + (size_t)t * (size_t)a->topk * (size_t)a->hidden;
    double scale = sqrt((double)seen->norm * (double)seen->norm / a->hidden + a->eps), hh = 0, hn = 0, nn = 0;
    int i, k;

    for (i = 0; i < a->hidden; i++) {
        double h = (double)x[i] / (double)s->norm[i] * scale, n = h;

        for (k = 0; k < a->topk; k++)
            n += (double)y[k * a->hidden + i] *
                 (a->family->gate_site == GATE_INPUT ? 1 : (double)rows->gate[t * a->topk + k]);
        hh += h * h;
        hn += h * n;
        nn += n * n;
    }
    s->worst = fmax(s->worst, fabs(sqrt(hh) / (double)seen->norm - 1));
    s->worst = fmax(s->worst, fabs((double)seen->turn - (1 - hn / sqrt(hh * nn))));
}

static void see_states(void *ctx, int layer, int64_t i, int n, const struct token_rows *rows,
                       const struct token_rows *apart)
{
    struct states *s = ctx;
    int t;

    (void)apart;
    if (layer != s->layer)
        read_norm(s, layer);
    CHECK(i + n <= doc_first[DOCS]);
    for (t = 0; t < n; t++)
        check_token(s, rows, t);
    s->seen += n;
}

static int no_matter(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    (void)ctx, (void)layer, (void)first, (void)n, (void)c, (void)e;
    return 0;
}

static void check_states(const struct model *m, const struct batch *b)
{
    struct engine_options o = {
        .device = on_gpu() ? "cuda" : "cpu", .precision = PREC_F32, .threads = 2, .chunk_tokens = 70};
    struct states s = {.m = m, .norm = calloc((size_t)m->arch.hidden, sizeof(float)), .layer = -1};
    struct observer ob = {
        .routed = no_matter, .ctx = &s, .sampled = see_states, .samples = b->first[b->docs]};
    struct engine *en;

    CHECK_MSG(engine_open(&en, &o, &err) == 0, "%s", err.msg);
    CHECK_MSG(engine_forward(en, m, b, NULL, &ob, NULL, NULL, &err) == 0, "%s", err.msg);
    CHECK(s.seen == ob.samples * m->arch.moe_layers);
    CHECK_MSG(s.worst < 1e-5, "states before the experts differ by %.3g", s.worst);
    engine_close(en);
    free(s.norm);
}

/* ---- what a device lacks ---- */

static void no_sums(void *ctx, int layer, struct layer_sums *to)
{
    (void)ctx;
    (void)layer;
    (void)to;
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
    check_states(&m, &b);
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
