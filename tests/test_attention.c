/* Attention, rope and norms of q and k against their definitions. */
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

static void naive_row(const struct attention_args *a, int64_t from, int64_t at, int head, double *out)
{
    int g = head / (a->heads / a->kv_heads), d;
    const float *q = a->q.of + (size_t)at * a->q.row + (size_t)head * a->q.step;
    double sum = a->sinks ? exp((double)a->sinks[head]) : 0;
    int64_t s;

    memset(out, 0, (size_t)a->v_dim * sizeof *out);
    for (s = from; s <= at; s++) {
        const float *k = a->k.of + (size_t)s * a->k.row + (size_t)g * a->k.step;
        const float *v = a->v.of + (size_t)s * a->v.row + (size_t)g * a->v.step;
        double z = 0;

        if (!sees(a, at - from, s - from))
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

    a->docs = (struct docs){first, NULL, 4};
    a->out = out;
    CHECK(dev->ops->attention(dev, a, &err) == 0);
    for (doc = 0; doc < 4; doc++)
        for (t = first[doc]; t < first[doc + 1]; t++)
            for (h = 0; h < a->heads; h++) {
                naive_row(a, first[doc], t, h, want);
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
                               .docs = {first, rope, 1},
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

static float from_bf16(uint16_t h)
{
    uint32_t b = (uint32_t)h << 16;
    float f;

    memcpy(&f, &b, sizeof f);
    return f;
}

static uint16_t *attend_bf16(struct device *dev, struct attention_args *a, const int64_t *first, int docs)
{
    uint16_t *out = calloc((size_t)first[docs] * (size_t)a->heads * (size_t)a->v_dim, sizeof *out);

    a->docs = (struct docs){first, NULL, docs};
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
                naive_row(a, first[doc], t, h, want);
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

/* Where the library has no bf16 products there is nothing to check. */
static void check_bf16(void)
{
    struct device_options o = {.precision = PREC_BF16, .threads = 2};
    struct device *one, *two;

    if (cpu_backend.open(&two, &o, &err))
        return;
    o.threads = 1;
    CHECK(cpu_backend.open(&one, &o, &err) == 0);
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
    dev->ops->close(dev);
    check_bf16();
    CHECK_END();
}
