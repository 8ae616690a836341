/* test_attention.c -- attention, rope and norms of q and k against their definitions. */
#include "check.h"

#include "device/registry.h"
#include "engine/rope_tables.h"

static struct err err;

static float noise(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return (float)(*s >> 8) / (float)(1 << 24) * 4 - 2;
}

/* What a query sees, by the masks' definitions. */
static bool sees(const struct attention_args *a, int64_t query, int64_t key)
{
    if (a->mask == MASK_SLIDING)
        return key <= query && query - key < a->window;
    if (a->mask == MASK_CHUNKED)
        return key <= query && key / a->window == query / a->window;
    return key <= query;
}

static bool selected(const struct attention_args *a, int64_t token, int64_t key)
{
    int i;

    for (i = 0; a->select && i < a->selects; i++)
        if (a->select[token * a->selects + i] < 0)
            return false;
        else if (a->select[token * a->selects + i] == key)
            return true;
    return !a->select;
}

/* Query number `query` of a document. */
static void naive_row(const struct attention_args *a, int64_t doc, int64_t query, int head, double *out)
{
    const int64_t *key = a->docs.key ? a->docs.key : a->docs.first;
    int64_t queries = a->docs.first[doc + 1] - a->docs.first[doc], keys = key[doc + 1] - key[doc], r;
    int64_t past = a->docs.past ? a->docs.past[doc] : keys - queries, token = a->docs.first[doc] + query;
    int g = head / (a->heads / a->kv_heads), d;
    const float *q = a->q.of + (size_t)token * a->q.row + (size_t)head * a->q.step;
    double sum = a->sinks ? exp((double)a->sinks[head]) : 0;

    memset(out, 0, (size_t)a->v_dim * sizeof *out);
    for (r = 0; r < keys; r++) {
        int64_t s = key[doc] + r, position = past + queries - keys + r;
        const float *k = a->k.of + (size_t)s * a->k.row + (size_t)g * a->k.step;
        const float *v = a->v.of + (size_t)s * a->v.row + (size_t)g * a->v.step;
        double z = 0;

        if (!sees(a, past + query, position) || !selected(a, token, position))
            continue;
        for (d = 0; d < a->nope; d++)
            z += (double)q[d] *
                 (double)a->k_nope.of[(size_t)s * a->k_nope.row + (size_t)g * a->k_nope.step + (size_t)d];
        for (; d < a->head_dim; d++)
            z += (double)q[d] * (double)k[d - a->nope];
        z = exp(z * (double)a->scale);
        sum += z;
        for (d = 0; d < a->v_dim; d++)
            out[d] += z * (double)v[d];
    }
    for (d = 0; d < a->v_dim; d++)
        out[d] /= sum;
}

enum { HEADS = 4, KV_HEADS = 2 };

/* Compares with the definition; a has everything but documents and output. */
static void attention_is_right(struct device *dev, struct attention_args *a, const char *what)
{
    static const int64_t first[] = {0, 3, 3, 200, 264};
    float *out = calloc(264 * (size_t)a->heads * (size_t)a->v_dim, sizeof *out);
    double *want = calloc((size_t)a->v_dim, sizeof *want), worst = 0;
    int64_t doc, t;
    int h, d;

    a->docs = (struct docs){.first = first, .n = 4};
    a->out = out;
    CHECK(dev->ops->attention(dev, a, &err) == 0);
    for (doc = 0; doc < 4; doc++)
        for (t = first[doc]; t < first[doc + 1]; t++)
            for (h = 0; h < a->heads; h++) {
                naive_row(a, doc, t - first[doc], h, want);
                for (d = 0; d < a->v_dim; d++) {
                    double diff = fabs((double)out[(t * a->heads + h) * a->v_dim + d] - want[d]);

                    worst = diff > worst ? diff : worst;
                }
            }
    CHECK_MSG(worst < 1e-5, "attention, head size %d, %s %d: differs by %.3g", a->head_dim, what, a->window,
              worst);
    free(out);
    free(want);
}

static float *noises(size_t n)
{
    float *p = calloc(n, sizeof *p);
    uint32_t seed = 7;
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = noise(&seed);
    return p;
}

/* Noise that bf16 holds exactly, so that only probabilities and results are rounded. */
static float *coarse_noises(size_t n)
{
    float *p = noises(n);
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = roundf(p[i] * 32) / 32;
    return p;
}

/* Arguments for so many tokens, whose numbers fill() makes; a.q.of is to be freed. */
static struct attention_args plain(float *(*fill)(size_t n), size_t tokens, int head_dim, enum mask_kind mask,
                                   int window, bool sinks)
{
    static const float sink[] = {-1, .5f, 2, 0};
    size_t hd = (size_t)head_dim, row = (HEADS + 2 * KV_HEADS) * hd;
    float *qkv = fill(tokens * row);

    return (struct attention_args){.q = {qkv, row, hd},
                                   .k = {qkv + HEADS * hd, row, hd},
                                   .v = {qkv + (HEADS + KV_HEADS) * hd, row, hd},
                                   .heads = HEADS,
                                   .kv_heads = KV_HEADS,
                                   .head_dim = head_dim,
                                   .v_dim = head_dim,
                                   .scale = .3f,
                                   .mask = mask,
                                   .window = window,
                                   .sinks = sinks ? sink : NULL};
}

/* The same for keys in two parts, the second one for all heads; values of another length. */
static struct attention_args latent(float *(*fill)(size_t n), size_t tokens, int nope, int rope, int v)
{
    size_t hd = (size_t)(nope + rope), q = HEADS * hd, kv = HEADS * (size_t)(nope + v), row = q + kv + 5;
    float *mem = fill(tokens * (row + (size_t)rope));

    return (struct attention_args){.q = {mem, row, hd},
                                   .k_nope = {mem + q, row, (size_t)(nope + v)},
                                   .v = {mem + q + (size_t)nope, row, (size_t)(nope + v)},
                                   .k = {mem + q + kv, row, 0},
                                   .heads = HEADS,
                                   .kv_heads = HEADS,
                                   .head_dim = (int)hd,
                                   .v_dim = v,
                                   .nope = nope,
                                   .scale = .3f};
}

static void check_attention(struct device *dev, int head_dim, enum mask_kind mask, int window, bool sinks)
{
    struct attention_args a = plain(noises, 264, head_dim, mask, window, sinks);

    attention_is_right(dev, &a, mask == MASK_CHUNKED ? "chunks of" : "window");
    free(a.q.of);
}

static void check_latent_attention(struct device *dev, int nope, int rope, int v)
{
    struct attention_args a = latent(noises, 264, nope, rope, v);

    attention_is_right(dev, &a, "latent");
    free(a.q.of);
}

/* Attention of the only document, one head of DIM, against what `ready`, q and k by their definitions, gives.
 */
static void prepared_is_right(struct device *dev, const struct attention_args *a, float *ready,
                              const char *what)
{
    int64_t n = a->docs.first[1], t;
    size_t dim = (size_t)a->head_dim;
    struct attention_args b = *a;
    double *want = calloc(dim, sizeof *want);
    float *out = calloc((size_t)n * dim, sizeof *out);

    b.out = out;
    CHECK(dev->ops->attention(dev, &b, &err) == 0);
    b.q.of = ready;
    b.k.of = ready + dim;
    b.v.of = ready + 2 * dim;
    for (t = 0; t < n; t++) {
        naive_row(&b, 0, t, 0, want);
        for (size_t d = 0; d < dim; d++)
            CHECK_MSG(fabs((double)out[(size_t)t * dim + d] - want[d]) < 1e-5, "%s: token %d, element %d",
                      what, (int)t, (int)d);
    }
    free(out);
    free(want);
}

/* Pairs side by side, turned by the position and normalised; the temperature where nothing is turned. */
static void check_pairs(struct device *dev)
{
    enum { DIM = 6, N = 40, ROT = 4 };
    static const int64_t first[] = {0, N};
    float table[N * ROT], *x = noises(N * 3 * DIM), *y = noises(N * 3 * DIM);
    float *ready = noises(N * 3 * DIM);
    const float *rope[] = {table};
    struct attention_args a = {.q = {x, 3 * DIM, DIM},
                               .k = {x + DIM, 3 * DIM, DIM},
                               .v = {x + 2 * DIM, 3 * DIM, DIM},
                               .docs = {.first = first, .rope = rope, .n = 1},
                               .heads = 1,
                               .kv_heads = 1,
                               .head_dim = DIM,
                               .v_dim = DIM,
                               .rot = ROT,
                               .norm = QKN_HEAD_POST,
                               .rope = true,
                               .layout = ROPE_PAIR,
                               .eps = 1e-5f,
                               .scale = .7f};
    int t, i, p;

    for (t = 0; t < N; t++)
        for (p = 0; p < ROT / 2; p++) {
            table[t * ROT + p] = (float)cos(t / (p + 1.0));
            table[t * ROT + ROT / 2 + p] = (float)sin(t / (p + 1.0));
        }
    for (t = 0; t < N; t++)
        for (i = 0; i < 2; i++) {
            float *want = ready + t * 3 * DIM + i * DIM, *old = y + t * 3 * DIM + i * DIM;
            double sum = 0;

            for (p = 0; p < DIM; p++)
                sum += (double)old[p] * (double)old[p];
            sum = 1 / sqrt(sum / DIM + 1e-5);
            for (p = 0; p < DIM; p++) {
                double c = p < ROT ? cos(t / (p / 2 + 1.0)) : 1, s = p < ROT ? sin(t / (p / 2 + 1.0)) : 0;

                want[p] = (float)(((double)old[p] * c + (double)old[p ^ 1] * (p % 2 ? s : -s)) * sum);
            }
        }
    prepared_is_right(dev, &a, ready, "pairs");
    memcpy(x, y, N * 3 * DIM * sizeof *x);
    memcpy(ready, y, N * 3 * DIM * sizeof *x);
    a.rope = false;
    a.temp_floor = 8;
    a.temp_scale = .1f;
    for (t = 0; t < N; t++)
        for (p = 0; p < DIM; p++)
            ready[t * 3 * DIM + p] *= (float)(1 + .1 * log(1 + (t + 1) / 8));
    prepared_is_right(dev, &a, ready, "temperature");
    free(x);
    free(ready);
    free(y);
}

/* ---- keys that are kept, keys that are selected ---- */

static float from_bf16(uint16_t h)
{
    uint32_t b = (uint32_t)h << 16;
    float f;

    memcpy(&f, &b, sizeof f);
    return f;
}

static double element_of(const struct device *dev, const void *out, size_t i)
{
    return (double)(dev->bf16 ? from_bf16(((const uint16_t *)out)[i]) : ((const float *)out)[i]);
}

enum { SELECTS = 90 };

/* Some keys of every query, its own among them: some lists are full, most end early. */
static int32_t *selections(const struct docs *docs)
{
    int32_t *select = calloc((size_t)docs->first[docs->n] * SELECTS, sizeof *select);
    int64_t doc, t, p;

    for (doc = 0; doc < docs->n; doc++)
        for (t = docs->first[doc]; t < docs->first[doc + 1]; t++) {
            int64_t pos = docs->past[doc] + t - docs->first[doc];
            int32_t *s = select + t * SELECTS;
            int n = 0;

            for (p = 0; p <= pos; p++)
                if (p == pos || (n < SELECTS - 1 && (p * 7 + pos * 3) % 11 < 3))
                    s[n++] = (int32_t)p;
            while (n < SELECTS)
                s[n++] = -1;
        }
    return select;
}

/* Documents with a past, one of which keeps only its last keys, one without queries, one without a past. */
static void kept_are_right(struct device *dev, struct attention_args *a, bool select, const char *what)
{
    static const int64_t first[] = {0, 1, 1, 40, 170, 270}, key[] = {0, 300, 310, 349, 579, 1079};
    static const int64_t past[] = {299, 10, 0, 700, 400};
    size_t width = (size_t)(a->heads * a->v_dim);
    void *out = calloc((size_t)first[5] * width, dev->elem_bytes);
    double *want = calloc((size_t)a->v_dim, sizeof *want), worst = 0, tolerance = dev->bf16 ? .02 : 1e-5;
    int64_t doc, q;
    int32_t *list;
    int h, d;

    a->docs = (struct docs){.first = first, .n = 5, .key = key, .past = past};
    list = selections(&a->docs);
    a->select = select ? list : NULL;
    a->selects = SELECTS;
    a->out = out;
    CHECK(dev->ops->attention(dev, a, &err) == 0);
    for (doc = 0; doc < 5; doc++)
        for (q = 0; q < first[doc + 1] - first[doc]; q++)
            for (h = 0; h < a->heads; h++) {
                naive_row(a, doc, q, h, want);
                for (d = 0; d < a->v_dim; d++) {
                    size_t at = (size_t)(first[doc] + q) * width + (size_t)(h * a->v_dim + d);
                    double diff = fabs(element_of(dev, out, at) - want[d]);

                    worst = diff <= worst ? worst : diff;
                }
            }
    CHECK_MSG(worst < tolerance, "kept keys, head size %d, %s %d%s: differs by %.3g", a->head_dim, what,
              a->window, select ? ", selected" : "", worst);
    free(list);
    free(out);
    free(want);
}

static void check_kept(struct device *dev)
{
    static const struct {
        int dim;
        enum mask_kind mask;
        int window;
        bool sinks;
    } way[] = {{32, MASK_FULL, 0, false},
               {20, MASK_SLIDING, 70, true},
               {16, MASK_SLIDING, 1, false},
               {24, MASK_CHUNKED, 130, true}};
    size_t i;

    for (i = 0; i < sizeof way / sizeof *way; i++) {
        struct attention_args a =
            plain(coarse_noises, 1079, way[i].dim, way[i].mask, way[i].window, way[i].sinks);

        kept_are_right(dev, &a, false, way[i].mask == MASK_CHUNKED ? "chunks of" : "window");
        if (way[i].mask != MASK_SLIDING || way[i].window > 1)
            kept_are_right(dev, &a, true, way[i].mask == MASK_CHUNKED ? "chunks of" : "window");
        free(a.q.of);
    }
    for (i = 0; i < 2; i++) {
        struct attention_args a = latent(coarse_noises, 1079, 32, 12, 24);

        kept_are_right(dev, &a, i > 0, "latent");
        free(a.q.of);
    }
}

/* A document that comes in pieces is the document: keys are made ready once, by position, and kept; window:
 * those that no query sees any more are not. */
static void check_growing(struct device *dev, enum qk_norm norm, bool rope, int window)
{
    enum { DIM = 12, N = 400, ROT = 8, ROW = (HEADS + 2 * KV_HEADS) * DIM, WIDTH = HEADS * DIM };
    static const int64_t whole[] = {0, N};
    static const int pieces[] = {150, 1, 1, 64, 3, 181};
    float *table = noises(N * ROT), *w = noises(2 * HEADS * DIM), *mem;
    const float *tables[] = {table};
    struct attention_args a = plain(coarse_noises, N, DIM, window ? MASK_SLIDING : MASK_FULL, window, false),
                          b;
    void *all = calloc(N * WIDTH, dev->elem_bytes), *out = calloc(N * WIDTH, dev->elem_bytes);
    double worst = 0;
    int64_t at = 0;
    size_t i;

    mem = a.q.of;
    a.norm = norm;
    a.q_norm = w;
    a.k_norm = w + HEADS * DIM;
    a.rope = rope;
    a.rot = ROT;
    a.eps = 1e-5f;
    a.clip = 1;
    a.temp_floor = rope ? 0 : 16;
    a.temp_scale = .1f;
    b = a;
    b.q.of = coarse_noises(N * ROW);
    b.k.of = b.q.of + (a.k.of - mem);
    b.v.of = b.q.of + (a.v.of - mem);
    b.docs = (struct docs){.first = whole, .rope = tables, .n = 1};
    b.out = all;
    CHECK(dev->ops->attention(dev, &b, &err) == 0);
    for (i = 0; i < sizeof pieces / sizeof *pieces; at += pieces[i++]) {
        int64_t gone = window && at >= window ? at - window + 1 : 0;
        int64_t first[] = {0, pieces[i]}, key[] = {0, at + pieces[i] - gone}, past[] = {at};
        struct attention_args c = a;

        c.q.of += at * ROW;
        c.k.of += gone * ROW;
        c.v.of += gone * ROW;
        c.docs = (struct docs){.first = first, .rope = tables, .n = 1, .key = key, .past = past};
        c.out = (uint8_t *)out + (size_t)at * WIDTH * dev->elem_bytes;
        CHECK(dev->ops->attention(dev, &c, &err) == 0);
    }
    for (i = 0; i < N * WIDTH; i++) {
        double diff = fabs(element_of(dev, out, i) - element_of(dev, all, i));

        worst = diff <= worst ? worst : diff;
    }
    CHECK_MSG(worst < (dev->bf16 ? .02 : 1e-5),
              "a document in pieces, norm %d, %s, window %d: differs by %.3g", (int)norm,
              rope ? "rope" : "temperature", window, worst);
    free(b.q.of);
    free(mem);
    free(table);
    free(w);
    free(all);
    free(out);
}

static void check_cache(struct device *dev)
{
    check_kept(dev);
    check_growing(dev, QKN_HEAD_PRE, true, 0);
    check_growing(dev, QKN_FULL_PRE, true, 70);
    check_growing(dev, QKN_HEAD_POST, true, 1);
    check_growing(dev, QKN_NONE, false, 0);
}

/* Frequencies of dynamic rope depend on the document's length once it is over max_position. */
static void check_dynamic_rope(struct device *dev)
{
    float freq[2] = {1, .01f};
    struct rope r = {.type = ROPE_DYNAMIC,
                     .theta = 10000,
                     .factor = 2,
                     .max_position = 4,
                     .rot = 4,
                     .scaling = 1,
                     .inv_freq = freq};
    static const int64_t first[] = {0, 4, 10, 12, 18};
    struct batch b = {NULL, first, 4};
    struct rope_tables t;
    double theta = 10000 * pow(2 * 6.0 / 4 - 1, 2);

    CHECK(rope_tables_new(&t, dev, &r, &b, &err) == 0);
    CHECK(t.tables == 2 && t.of[0] == t.of[2] && t.of[1] == t.of[3]);
    CHECK_NEAR(t.of[0][3 * 4 + 1], cos(.03), 1e-7, 0);
    CHECK_NEAR(t.of[1][5 * 4 + 3], sin(5 / sqrt(theta)), 1e-7, 0);
    rope_tables_free(&t);
}

/* ---- packed products of bf16, which long documents go through ---- */

static uint16_t *attend_bf16(struct device *dev, struct attention_args *a, const int64_t *first, int docs)
{
    uint16_t *out = calloc((size_t)first[docs] * (size_t)a->heads * (size_t)a->v_dim, sizeof *out);

    a->docs = (struct docs){.first = first, .n = docs};
    a->out = out;
    CHECK(dev->ops->attention(dev, a, &err) == 0);
    return out;
}

/* Compares with the definition, and with each document alone on one thread. */
static void packed_is_right(struct device *two, struct device *one, struct attention_args *a,
                            const char *what)
{
    static const int64_t first[] = {0, 3, 400, 400, 530, 786, 1820};
    size_t row = (size_t)a->heads * (size_t)a->v_dim;
    uint16_t *out = attend_bf16(two, a, first, 6), *alone;
    double *want = calloc((size_t)a->v_dim, sizeof *want), worst = 0;
    int64_t doc, t;
    int h, d;

    for (doc = 0; doc < 6; doc++) {
        const int64_t part[] = {0, first[doc + 1] - first[doc]};
        struct attention_args b = *a;

        b.q.of += (size_t)first[doc] * a->q.row;
        b.k.of += (size_t)first[doc] * a->k.row;
        b.v.of += (size_t)first[doc] * a->v.row;
        if (a->nope)
            b.k_nope.of += (size_t)first[doc] * a->k_nope.row;
        alone = attend_bf16(one, &b, part, 1);
        CHECK_MSG(!memcmp(alone, out + (size_t)first[doc] * row, (size_t)part[1] * row * sizeof *out),
                  "attention, %s: document %d depends on its neighbours", what, (int)doc);
        free(alone);
        for (t = first[doc]; t < first[doc + 1]; t++)
            for (h = 0; h < a->heads; h++) {
                naive_row(a, doc, t - first[doc], h, want);
                for (d = 0; d < a->v_dim; d++) {
                    size_t at = (size_t)t * row + (size_t)(h * a->v_dim + d);
                    double diff = fabs((double)from_bf16(out[at]) - want[d]);

                    worst = diff > worst ? diff : worst;
                }
            }
    }
    CHECK_MSG(worst < .02, "attention in bf16, head size %d, %s %d: differs by %.3g", a->head_dim, what,
              a->window, worst);
    free(out);
    free(want);
}

static void check_packed(struct device *two, struct device *one, int head_dim, enum mask_kind mask,
                         int window, bool sinks)
{
    struct attention_args a = plain(coarse_noises, 1820, head_dim, mask, window, sinks);

    packed_is_right(two, one, &a, mask == MASK_CHUNKED ? "chunks of" : "window");
    free(a.q.of);
}

static void check_packed_latent(struct device *two, struct device *one, int nope, int rope, int v)
{
    struct attention_args a = latent(coarse_noises, 1820, nope, rope, v);

    packed_is_right(two, one, &a, "latent");
    free(a.q.of);
}

static void check_bf16(void)
{
    struct device_options o = {.precision = PREC_BF16, .threads = 2};
    struct device *one, *two;

    CHECK_MSG(cpu_backend.open(&two, &o, &err) == 0, "%s", err.msg);
    o.threads = 1;
    CHECK_MSG(cpu_backend.open(&one, &o, &err) == 0, "%s", err.msg);
    if (!one || !two)
        return;
    check_cache(two);
    check_packed(two, one, 32, MASK_FULL, 0, false);
    check_packed(two, one, 64, MASK_FULL, 0, true);
    check_packed(two, one, 20, MASK_SLIDING, 70, true);
    check_packed(two, one, 16, MASK_SLIDING, 1, false);
    check_packed(two, one, 16, MASK_SLIDING, 200, false);
    check_packed(two, one, 24, MASK_CHUNKED, 6, false);
    check_packed(two, one, 16, MASK_CHUNKED, 130, true);
    check_packed_latent(two, one, 32, 12, 24);
    check_packed_latent(two, one, 7, 6, 5);
    one->ops->close(one);
    two->ops->close(two);
}

int main(void)
{
    struct device_options o = {.precision = PREC_F32, .threads = 2};
    struct device *dev;

    if (cpu_backend.open(&dev, &o, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        CHECK_END();
    }
    check_attention(dev, 32, MASK_FULL, 0, false);
    check_attention(dev, 64, MASK_FULL, 0, true);
    check_attention(dev, 80, MASK_SLIDING, 70, true);
    check_attention(dev, 16, MASK_SLIDING, 1, false);
    check_attention(dev, 24, MASK_SLIDING, 5, false);
    check_attention(dev, 32, MASK_CHUNKED, 6, false);
    check_attention(dev, 16, MASK_CHUNKED, 70, true);
    check_latent_attention(dev, 8, 8, 6);
    check_latent_attention(dev, 32, 12, 48);
    check_pairs(dev);
    check_dynamic_rope(dev);
    check_cache(dev);
    dev->ops->close(dev);
    check_bf16();
    CHECK_END();
}
