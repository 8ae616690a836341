/*
 * The forward pass against transformers' float32 outputs (fixtures, when they are there), and what must hold
 * for any model: the same bytes whatever the threads and chunks, masks, cross entropy and divergence.
 */
#include "check.h"

#include <stdint.h>

#include "base/mem.h"
#include "engine/ops.h"
#include "engine/rope.h"

static struct err err;

/* ---- a pass whose observations are kept ---- */

struct run {
    struct engine *en;
    struct hidden *h;
    int layers, topk;
    int64_t tokens;
    int32_t *expert; /* [layers][tokens][topk] */
    float *gate, *norm, *max;
    struct engine_cost cost;
};

static int keep(void *ctx, int layer, int64_t first, int n, const int32_t *expert, const float *gate,
                const float *norm, const float *max, struct err *e)
{
    struct run *r = ctx;
    size_t at = ((size_t)layer * (size_t)r->tokens + (size_t)first) * (size_t)r->topk;
    size_t bytes = (size_t)n * (size_t)r->topk * 4;

    (void)e;
    memcpy(r->expert + at, expert, bytes);
    memcpy(r->gate + at, gate, bytes);
    memcpy(r->norm + at, norm, bytes);
    memcpy(r->max + at, max, bytes);
    return 0;
}

static int run_open(struct run *r, const struct model *m, const struct batch *b, const uint8_t *mask,
                    enum precision p, int threads, int chunk)
{
    struct engine_options o = {
        .device = DEVICE_CPU, .precision = p, .threads = threads, .chunk_tokens = chunk};
    struct observer ob = {keep, r};
    size_t n;

    *r = (struct run){.layers = m->arch.layers, .topk = m->arch.topk, .tokens = b->first[b->docs]};
    n = (size_t)r->layers * (size_t)r->tokens * (size_t)r->topk;
    r->expert = calloc(n, 4);
    r->gate = calloc(n, 4);
    r->norm = calloc(n, 4);
    r->max = calloc(n, 4);
    if (engine_open(&r->en, &o, &err) == 0 &&
        engine_forward(r->en, m, b, mask, &ob, &r->h, &r->cost, &err) == 0)
        return 0;
    CHECK_MSG(0, "forward: %s", err.msg);
    return -1;
}

static void run_close(struct run *r)
{
    hidden_free(r->h);
    engine_close(r->en);
    free(r->expert);
    free(r->gate);
    free(r->norm);
    free(r->max);
}

static size_t run_count(const struct run *r)
{
    return (size_t)r->layers * (size_t)r->tokens * (size_t)r->topk;
}

static float *all_logits(struct run *r, const struct model *m)
{
    float *out = calloc((size_t)r->tokens * (size_t)m->arch.vocab, sizeof *out);

    CHECK_MSG(engine_logits(r->en, m, r->h, 0, (int)r->tokens, out, &err) == 0, "logits: %s", err.msg);
    return out;
}

/* ---- goldens ---- */

static void *golden(const struct st_file *f, const char *name)
{
    const struct tensor *t = st_find(f, name);
    void *p;

    if (!t)
        return NULL;
    p = malloc((size_t)t->size);
    if (st_read(f, t, 0, p, (size_t)t->size, &err)) {
        free(p);
        return NULL;
    }
    return p;
}

/* Where the golden's expert ids, which are in no order, name the expert of this row; -1: nowhere. */
static int find_id(const int64_t *row, int k, int32_t id)
{
    int j;

    for (j = 0; j < k; j++)
        if (row[j] == id)
            return j;
    return -1;
}

static int64_t *ids64(const struct st_file *f, const char *name)
{
    const struct tensor *t = st_find(f, name);
    void *raw = golden(f, name);
    size_t n, i;
    int64_t *out;

    if (!raw || !t)
        return raw;
    if (t->dtype == DT_I64)
        return raw;
    n = (size_t)tensor_count(t);
    out = calloc(n, sizeof *out);
    for (i = 0; i < n; i++)
        out[i] = ((int32_t *)raw)[i];
    free(raw);
    return out;
}

static void compare_layer(const struct run *r, const struct st_file *f, int layer)
{
    char name[64];
    float *want[3];
    const float *have[3] = {r->gate, r->norm, r->max};
    static const char *const what[] = {"gate", "norm", "absmax"};
    int64_t *id, t;
    int q, j, wrong = 0;
    double worst[3] = {0};

    snprintf(name, sizeof name, "layer.%d.expert_id", layer);
    id = ids64(f, name);
    if (!id)
        return;
    for (q = 0; q < 3; q++) {
        snprintf(name, sizeof name, "layer.%d.%s", layer, what[q]);
        want[q] = golden(f, name);
    }
    for (t = 0; t < r->tokens; t++)
        for (j = 0; j < r->topk; j++) {
            size_t at = ((size_t)layer * (size_t)r->tokens + (size_t)t) * (size_t)r->topk + (size_t)j;
            int g = find_id(id + t * r->topk, r->topk, r->expert[at]);

            wrong += g < 0 || (j > 0 && r->expert[at] <= r->expert[at - 1]);
            for (q = 0; g >= 0 && q < 3; q++) {
                double w = (double)want[q][t * r->topk + g], d = fabs((double)have[q][at] - w) / w;

                worst[q] = d > worst[q] ? d : worst[q];
            }
        }
    CHECK_MSG(wrong == 0, "layer %d: %d experts are not the golden's", layer, wrong);
    for (q = 0; q < 3; q++) {
        CHECK_MSG(worst[q] < 1e-4, "layer %d: %s differs by %.3g", layer, what[q], worst[q]);
        free(want[q]);
    }
    free(id);
}

static void check_golden(const char *fixture)
{
    char path[512];
    struct st_file f = {0};
    struct model m;
    struct run r = {0};
    int64_t first[4] = {0}, i, docs = 3;
    int32_t *tokens, *len;
    float *want, *have;
    double worst = 0;

    snprintf(path, sizeof path, "%s/fixtures/%s/golden.safetensors", shared_dir(), fixture);
    if (!path_exists(path)) {
        printf("skip: no fixture %s\n", fixture);
        return;
    }
    CHECK_MSG(st_open(&f, path, &err) == 0, "%s", err.msg);
    snprintf(path, sizeof path, "%s/fixtures/%s", shared_dir(), fixture);
    CHECK_MSG(model_open(&m, path, NULL, &err) == 0, "%s", err.msg);
    tokens = golden(&f, "tokens");
    len = golden(&f, "seq_len");
    want = golden(&f, "logits");
    for (i = 0; i < docs; i++)
        first[i + 1] = first[i] + len[i];
    if (run_open(&r, &m, &(struct batch){tokens, first, docs}, NULL, PREC_F32, 2, 0) == 0) {
        have = all_logits(&r, &m);
        for (i = 0; i < r.tokens * m.arch.vocab; i++)
            worst = fabs((double)have[i] - (double)want[i]) > worst ? fabs((double)have[i] - (double)want[i])
                                                                    : worst;
        printf("%s: logits within %.2g\n", fixture, worst);
        CHECK_MSG(worst < 1e-3, "%s: logits differ by %.3g", fixture, worst);
        for (i = 0; i < r.layers; i++)
            compare_layer(&r, &f, (int)i);
        free(have);
    }
    run_close(&r);
    free(tokens);
    free(len);
    free(want);
    model_close(&m);
    st_close(&f);
}

/* ---- any model ---- */

enum { DOCS = 5 };
static const int64_t doc_first[DOCS + 1] = {0, 1, 130, 130, 197, 400};

static int32_t *some_ids(const struct model *m)
{
    int32_t *ids = calloc((size_t)doc_first[DOCS], sizeof *ids);
    uint32_t s = 12345;
    int64_t i;

    for (i = 0; i < doc_first[DOCS]; i++) {
        s = s * 1664525u + 1013904223u;
        ids[i] = (int32_t)((s >> 8) % (uint32_t)m->arch.vocab);
    }
    return ids;
}

static void same_bytes(struct run *a, struct run *b, const struct model *m, const char *what)
{
    size_t n = run_count(a) * 4;
    float *x = all_logits(a, m), *y = all_logits(b, m);

    CHECK_MSG(!memcmp(a->expert, b->expert, n), "%s: experts differ", what);
    CHECK_MSG(!memcmp(a->gate, b->gate, n), "%s: gates differ", what);
    CHECK_MSG(!memcmp(a->norm, b->norm, n), "%s: norms differ", what);
    CHECK_MSG(!memcmp(a->max, b->max, n), "%s: maxima differ", what);
    CHECK_MSG(!memcmp(x, y, (size_t)a->tokens * (size_t)m->arch.vocab * sizeof *x), "%s: logits differ",
              what);
    free(x);
    free(y);
}

static void check_invariance(const struct model *m, const struct batch *b, enum precision p)
{
    static const struct {
        int threads, chunk;
        const char *what;
    } way[] = {
        {2, 0, "2 threads"}, {3, 1, "a document at a time"}, {1, 140, "chunks of 140"}, {5, 64, "5 threads"}};
    struct run one, other;
    size_t i;

    if (run_open(&one, m, b, NULL, p, 1, 0) == 0)
        for (i = 0; i < sizeof way / sizeof *way; i++) {
            if (run_open(&other, m, b, NULL, p, way[i].threads, way[i].chunk) == 0)
                same_bytes(&one, &other, m, way[i].what);
            run_close(&other);
        }
    run_close(&one);
}

static void check_nll(const struct model *m, const struct batch *b, struct run *r)
{
    float *logits = all_logits(r, m), *nll = calloc((size_t)r->tokens, sizeof *nll);
    struct kl_row *kl = calloc((size_t)r->tokens, sizeof *kl);
    int v = m->arch.vocab, i;
    int64_t d, t;

    CHECK_MSG(engine_nll(r->en, m, r->h, b, nll, &err) == 0, "nll: %s", err.msg);
    CHECK_MSG(engine_kl(r->en, m, r->h, m, r->h, b, kl, &err) == 0, "kl: %s", err.msg);
    for (d = 0; d < b->docs; d++)
        for (t = b->first[d]; t < b->first[d + 1]; t++) {
            const float *z = logits + t * v;
            double sum = 0;

            CHECK_MSG(kl[t].kl == 0 && kl[t].same_top, "kl of a model to itself: %g", (double)kl[t].kl);
            CHECK_MSG(!memcmp(&kl[t].nll, &nll[t], 4) && !memcmp(&kl[t].nll_ref, &nll[t], 4),
                      "nll by two ways");
            if (t + 1 == b->first[d + 1]) {
                CHECK(isnan(nll[t]));
                continue;
            }
            for (i = 0; i < v; i++)
                sum += exp((double)z[i]);
            CHECK_NEAR(nll[t], log(sum) - (double)z[b->ids[t + 1]], 1e-5, 1e-5);
        }
    free(logits);
    free(nll);
    free(kl);
}

/* KL and nll between two passes against their logits. */
static void check_kl(const struct model *m, const struct batch *b, struct run *p, struct run *q)
{
    float *zp = all_logits(p, m), *zq = all_logits(q, m);
    struct kl_row *kl = calloc((size_t)p->tokens, sizeof *kl);
    struct hidden *h = NULL;
    int v = m->arch.vocab, i;
    int64_t t;

    CHECK_MSG(engine_kl(p->en, m, p->h, m, q->h, b, kl, &err) == -1,
              "hidden states of two engines were mixed");
    err_clear(&err);
    CHECK(engine_forward(p->en, m, b, NULL, NULL, &h, NULL, &err) == 0);
    CHECK_MSG(engine_kl(p->en, m, p->h, m, h, b, kl, &err) == 0, "kl: %s", err.msg);
    hidden_free(h);
    for (t = 0; t < p->tokens; t++) {
        double sp = 0, sq = 0, want = 0;

        for (i = 0; i < v; i++) {
            sp += exp((double)zp[t * v + i]);
            sq += exp((double)zq[t * v + i]);
        }
        for (i = 0; i < v; i++)
            want += exp((double)zp[t * v + i]) / sp *
                    ((double)zp[t * v + i] - log(sp) - (double)zq[t * v + i] + log(sq));
        CHECK_NEAR(kl[t].kl, want, 2e-6, 1e-4);
    }
    free(zp);
    free(zq);
    free(kl);
}

static void check_mask(const struct model *m, const struct batch *b, struct run *plain)
{
    size_t e = (size_t)m->arch.experts, i, n = e * (size_t)m->arch.layers;
    uint8_t *mask = malloc(n);
    struct run all, some;
    int bad = 0;

    memset(mask, 1, n);
    if (run_open(&all, m, b, mask, PREC_F32, 2, 0) == 0)
        same_bytes(plain, &all, m, "a mask that allows everything");
    run_close(&all);
    for (i = 0; i < n; i++)
        mask[i] = i % e % 2 == 0;
    if (run_open(&some, m, b, mask, PREC_F32, 2, 0) == 0) {
        for (i = 0; i < run_count(&some); i++)
            bad += some.expert[i] % 2 != 0;
        CHECK_MSG(bad == 0, "%d masked experts were chosen", bad);
        for (i = 0; i < (size_t)some.topk; i++)
            CHECK(some.gate[i] > 0);
        check_kl(m, b, &some, plain);
    }
    run_close(&some);
    memset(mask, 0, n);
    CHECK(engine_forward(plain->en, m, b, mask, NULL, NULL, NULL, &err) == -1);
    CHECK(err.kind == ERR_USAGE);
    err_clear(&err);
    free(mask);
}

/* bf16 is another arithmetic, so only close: mean nll within half a percent. */
static void check_bf16(const struct model *m, const struct batch *b, struct run *f32)
{
    struct engine_options o = {.precision = PREC_BF16};
    struct engine *probe;
    struct run r;
    float *x, *y;
    double sx = 0, sy = 0;
    int64_t t;

    if (engine_open(&probe, &o, &err)) {
        printf("skip: %s\n", err.msg);
        err_clear(&err);
        return;
    }
    engine_close(probe);
    x = calloc((size_t)f32->tokens, sizeof *x);
    y = calloc((size_t)f32->tokens, sizeof *y);
    if (run_open(&r, m, b, NULL, PREC_BF16, 2, 0) == 0 && engine_nll(f32->en, m, f32->h, b, x, &err) == 0 &&
        engine_nll(r.en, m, r.h, b, y, &err) == 0) {
        for (t = 0; t < r.tokens; t++)
            if (!isnan(x[t])) {
                sx += (double)x[t];
                sy += (double)y[t];
            }
        CHECK_NEAR(sy, sx, 0, 5e-3);
        check_invariance(m, b, PREC_BF16);
    } else {
        CHECK_MSG(0, "bf16: %s", err.msg);
    }
    run_close(&r);
    free(x);
    free(y);
}

static void check_model(const char *dir)
{
    struct model m;
    struct run r;
    int32_t *ids;
    struct batch b;

    if (model_open(&m, dir, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    b = (struct batch){ids, doc_first, DOCS};
    check_invariance(&m, &b, PREC_F32);
    if (run_open(&r, &m, &b, NULL, PREC_F32, 2, 0) == 0) {
        check_nll(&m, &b, &r);
        CHECK(r.cost.flops > 0 && r.cost.bytes_read > 0 && r.cost.peak_bytes > 0);
        check_bf16(&m, &b, &r);
        check_mask(&m, &b, &r);
        b.docs = 0;
        CHECK_MSG(engine_forward(r.en, &m, &b, NULL, NULL, NULL, NULL, &err) == 0, "no documents: %s",
                  err.msg);
        CHECK(engine_nll(r.en, &m, r.h, &b, NULL, &err) == -1);
        err_clear(&err);
        b.docs = DOCS;
        ids[3] = m.arch.vocab;
        CHECK(engine_forward(r.en, &m, &b, NULL, NULL, NULL, NULL, &err) == -1);
        err_clear(&err);
    }
    run_close(&r);
    free(ids);
    model_close(&m);
}

/* ---- attention against its definition ---- */

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

static void check_attention(struct device *dev, int head_dim, enum mask_kind mask, int window, bool sinks)
{
    float sink[] = {-1, .5f, 2, 0};
    size_t hd = (size_t)head_dim, row = (HEADS + 2 * KV_HEADS) * hd;
    float *qkv = noises(264 * row);
    struct attention_args a = {.q = {qkv, row, hd},
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

    attention_is_right(dev, &a, mask == MASK_CHUNKED ? "chunks of" : "window");
    free(qkv);
}

/* Keys in two parts, the second one for all heads; values of another length. */
static void check_latent_attention(struct device *dev, int nope, int rope, int v)
{
    size_t hd = (size_t)(nope + rope), q = HEADS * hd, kv = HEADS * (size_t)(nope + v), row = q + kv + 5;
    float *mem = noises(264 * (row + (size_t)rope));
    struct attention_args a = {.q = {mem, row, hd},
                               .k_nope = {mem + q, row, (size_t)(nope + v)},
                               .v = {mem + q + (size_t)nope, row, (size_t)(nope + v)},
                               .k = {mem + q + kv, row, 0},
                               .heads = HEADS,
                               .kv_heads = HEADS,
                               .head_dim = (int)hd,
                               .v_dim = v,
                               .nope = nope,
                               .scale = .3f};

    attention_is_right(dev, &a, "latent");
    free(mem);
}

/* Pairs side by side, turned by the position and normalised; the temperature where nothing is turned. */
static void check_pairs(struct device *dev)
{
    enum { DIM = 6, N = 40, ROT = 4 };
    static const int64_t first[] = {0, N};
    float table[N * ROT], *x = noises(N * 3 * DIM), *y = noises(N * 3 * DIM);
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
                               .eps = 1e-5f};
    int t, i, p;

    for (t = 0; t < N; t++)
        for (p = 0; p < ROT / 2; p++) {
            table[t * ROT + p] = (float)cos(t / (p + 1.0));
            table[t * ROT + ROT / 2 + p] = (float)sin(t / (p + 1.0));
        }
    dev->ops->qk(dev, &a);
    for (t = 0; t < N; t++)
        for (i = 0; i < 2; i++) {
            const float *have = x + t * 3 * DIM + i * DIM, *old = y + t * 3 * DIM + i * DIM;
            double sum = 0, c = cos(t / 2.0), s = sin(t / 2.0);

            for (p = 0; p < DIM; p++)
                sum += (double)old[p] * (double)old[p];
            sum = 1 / sqrt(sum / DIM + 1e-5);
            CHECK_NEAR(have[2], ((double)old[2] * c - (double)old[3] * s) * sum, 1e-5, 0);
            CHECK_NEAR(have[3], ((double)old[3] * c + (double)old[2] * s) * sum, 1e-5, 0);
            CHECK_NEAR(have[5], (double)old[5] * sum, 1e-5, 0);
        }
    CHECK(!memcmp(x + 2 * DIM, y + 2 * DIM, DIM * sizeof *x));
    memcpy(x, y, N * 3 * DIM * sizeof *x);
    a.rope = false;
    a.temp_floor = 8;
    a.temp_scale = .1f;
    dev->ops->qk(dev, &a);
    for (t = 0; t < N; t++) {
        CHECK_NEAR(x[t * 3 * DIM], (double)y[t * 3 * DIM] * (1 + .1 * log(1 + (t + 1) / 8)), 0, 1e-6);
        CHECK(!memcmp(x + t * 3 * DIM + DIM, y + t * 3 * DIM + DIM, 2 * DIM * sizeof *x));
    }
    free(x);
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

int main(void)
{
    struct engine_options o = {.precision = PREC_F32, .threads = 2};
    struct device *dev;

    if (cpu_open(&dev, &o, &err)) {
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
    check_golden("qwen3");
    check_golden("gptoss-mxfp4");
    check_model("examples/tiny-qwen3");
    check_model("examples/tiny-gptoss");
    CHECK_END();
}
