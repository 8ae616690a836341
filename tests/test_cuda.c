/*
 * test_cuda.c -- every operation of the CUDA backend against the CPU's, on random inputs and poisoned
 * outputs: f32 to rounding, bf16 to bf16.
 */
#include "check.h"

#include <limits.h>
#include <stdint.h>

#include "base/mem.h"
#include "device/registry.h"
#include "quant/bf16.h"
#include "quant/format_rows.h"
#include "stats/matrices.h"

static struct err err;
static uint32_t seed = 1;

static float noise(void)
{
    seed = seed * 1664525 + 1013904223;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

/* n numbers that bf16 holds exactly. */
static float *random_floats(size_t n, float scale)
{
    float *p = malloc(n * sizeof *p + 1);
    size_t i;

    for (i = 0; i < n; i++)
        p[i] = bf16_to_f32(f32_to_bf16(noise() * scale));
    return p;
}

/* The two devices, and the same data on both. */
enum { CPU, GPU, BOTH };
static struct device *dev[BOTH];
static const char *precision;

struct twin {
    void *p[BOTH];
    size_t n;
    bool elements; /* else 4-byte numbers */
};

static size_t size_of(const struct device *d, const struct twin *t)
{
    return t->n * (t->elements ? d->elem_bytes : 4);
}

/* host NULL: poison. TILE_ROWS rows of `width` more than n, as the engine's buffers have. */
static struct twin twin_new(const float *host, size_t n, bool elements, size_t width)
{
    struct twin t = {.n = n, .elements = elements};
    int i;

    for (i = 0; i < BOTH; i++) {
        struct device *d = dev[i];
        size_t bytes = size_of(d, &t), k;
        uint8_t *raw = malloc(bytes + 1);

        memset(raw, 0x7b, bytes);
        for (k = 0; host && k < n; k++)
            if (elements && d->bf16)
                ((uint16_t *)(void *)raw)[k] = f32_to_bf16(host[k]);
            else
                memcpy(raw + 4 * k, &host[k], 4);
        t.p[i] = d->ops->buf_new(d, bytes + TILE_ROWS * width * 4, &err);
        if (bytes)
            d->ops->to_device(d, t.p[i], raw, bytes);
        free(raw);
    }
    return t;
}

static void twin_free(struct twin *t)
{
    dev[CPU]->ops->buf_free(dev[CPU], t->p[CPU]);
    dev[GPU]->ops->buf_free(dev[GPU], t->p[GPU]);
}

static float *fetch(const struct twin *t, int which)
{
    struct device *d = dev[which];
    size_t bytes = size_of(d, t), k;
    uint8_t *raw = malloc(bytes + 1);
    float *out = malloc(t->n * sizeof *out + 1);

    d->ops->to_host(d, raw, t->p[which], bytes);
    for (k = 0; k < t->n; k++)
        if (t->elements && d->bf16)
            out[k] = bf16_to_f32(((uint16_t *)(void *)raw)[k]);
        else
            memcpy(&out[k], raw + 4 * k, 4);
    free(raw);
    return out;
}

/* |a - b| / |b| in the Euclidean norm; NaN stays. */
static double distance(const float *a, const float *b, size_t n)
{
    double diff = 0, all = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];

        diff += d * d;
        all += (double)b[i] * (double)b[i];
    }
    return all > 0 ? sqrt(diff / all) : sqrt(diff);
}

static void compare(const struct twin *t, const char *what, double tol)
{
    float *a = fetch(t, GPU), *b = fetch(t, CPU);
    double d = distance(a, b, t->n);

    CHECK_MSG(d <= tol, "%s, %s: differs by %.3g of its norm", what, precision, d);
    printf("  %-6s %-40s %.2g\n", precision, what, d);
    free(a);
    free(b);
}

static double near(void)
{
    return dev[GPU]->bf16 ? 6e-3 : 2e-6;
}

static void no_failure(const char *what)
{
    CHECK_MSG(dev[GPU]->ops->check(dev[GPU], &err) == 0, "%s, %s: %s", what, precision, err.msg);
    err_clear(&err);
}

/* ---- weights ---- */

/* Stored types: plain ones, and formats with their blocks. */
enum kind {
    BF16,
    F16,
    F32,
    MXFP4,
    FP8,
    FP8_ROWS,
    Q4_0,
    Q8_0,
    Q2_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    IQ3_S,
    TQ1_0,
    NVFP4,
    MXFP8,
    INT8,
    W4,
    W3,
    KINDS
};

static const struct {
    enum dtype dtype, scale;
    struct format_claim claim;
} kinds[] = {
    [BF16] = {DT_BF16, DT_F32, {&format_plain, {0, 0}}},
    [F16] = {DT_F16, DT_F32, {&format_plain, {0, 0}}},
    [F32] = {DT_F32, DT_F32, {&format_plain, {0, 0}}},
    [MXFP4] = {DT_U8, DT_U8, {&format_mxfp4_ct, {0, 0}}},
    [FP8] = {DT_F8_E4M3, DT_F32, {&format_fp8_block, {128, 128}}},
    [FP8_ROWS] = {DT_F8_E4M3, DT_BF16, {&format_fp8_ct, {1, 0}}},
#define GGML(name) [name] = {DT_##name, DT_F32, {&format_ggml, {0, 0}}}
    GGML(Q4_0),
    GGML(Q8_0),
    GGML(Q2_K),
    GGML(Q4_K),
    GGML(Q5_K),
    GGML(Q6_K),
    GGML(IQ4_NL),
    GGML(IQ4_XS),
    GGML(IQ3_S),
    GGML(TQ1_0),
#undef GGML
    [NVFP4] = {DT_U8, DT_F8_E4M3, {&format_nvfp4_ct, {1, 16, 4}}},
    [MXFP8] = {DT_F8_E4M3, DT_U8, {&format_mxfp8_ct, {1, 32, 8}}},
    [INT8] = {DT_I8, DT_F32, {&format_ct_int8_zeros, {1, 64, 8}}},
    [W4] = {DT_I32, DT_BF16, {&format_ct_packed_zeros, {1, 32, 4}}},
    [W3] = {DT_I32, DT_F32, {&format_ct_packed_zeros, {1, 64, 3}}},
};

/* Random blocks of ggml; wherever its scales of f16 may be, there are small numbers. */
static void fill_blocks(enum dtype type, uint8_t *data, size_t n)
{
    size_t size = dtype_bytes(type), i, k;

    for (i = 0; i < n; i++, data += size) {
        for (k = 0; k < size; k++)
            data[k] = (noise(), (uint8_t)(seed >> 16));
        data[1] = data[3] = data[size - 1] = data[size - 3] = 0x21;
    }
}

static void fill(enum dtype type, uint8_t *data, size_t n, bool scales)
{
    size_t i;

    for (i = 0; i < n; i++) {
        float v = bf16_to_f32(f32_to_bf16(noise() * .1f));

        if (type == DT_BF16)
            ((uint16_t *)(void *)data)[i] = f32_to_bf16(v);
        else if (type == DT_F16)
            ((uint16_t *)(void *)data)[i] =
                (uint16_t)(0x2000 + (seed >> 9) % 0x0c00) | (uint16_t)(seed >> 31 << 15);
        else if (type == DT_F32)
            memcpy(data + 4 * i, &v, 4);
        else if (type == DT_F8_E4M3)
            data[i] = (uint8_t)(seed >> 16) % 0x70 | (uint8_t)(seed >> 31 << 7);
        else
            data[i] = scales ? (uint8_t)(120 + (seed >> 11) % 6) : (uint8_t)(seed >> 16);
    }
}

static const float all_scale = 24;

/* A random map [rows][stride], stored in a way; its pieces to be freed. */
static struct stored stored(enum kind kind, int rows, int stride)
{
    enum dtype scale = kinds[kind].scale;
    struct stored s = {.name = "stored"};
    enum coding coding = kinds[kind].claim.format->coding;
    bool scaled = coding != CODING_FLOAT && coding != CODING_GGML;
    size_t n;
    uint8_t *p;

    s.piece[USE_WEIGHT].dtype = kinds[kind].dtype;
    s.piece[USE_SCALE].dtype = scale;
    s.piece[USE_ZERO].dtype = kinds[kind].dtype;
    format_describe(&s, &kinds[kind].claim, rows, stride, false);
    n = (size_t)rows * s.piece[USE_WEIGHT].row / dtype_bytes(kinds[kind].dtype);
    s.piece[USE_WEIGHT].at = p = malloc(n * (dtype_bytes(kinds[kind].dtype) + 4));
    if (DT_GGML >> kinds[kind].dtype & 1)
        fill_blocks(kinds[kind].dtype, p, n);
    else if (kinds[kind].dtype == DT_I32 || kinds[kind].dtype == DT_I8)
        fill(DT_U8, p, n * dtype_bytes(kinds[kind].dtype), false);
    else
        fill(kinds[kind].dtype, p, n, false);
    if (scaled) {
        const struct stored_piece *q = &s.piece[USE_SCALE];

        n = (size_t)((rows + q->per - 1) / q->per) * q->row / dtype_bytes(scale);
        s.piece[USE_SCALE].at = p = malloc(n * 4);
        fill(scale, p, n, true);
    }
    if (coding == CODING_NVFP4)
        s.piece[USE_GLOBAL] = (struct stored_piece){
            .at = (const uint8_t *)&all_scale, .row = 4, .per = INT_MAX, .dtype = DT_F32};
    if (coding == CODING_INT8 || coding == CODING_PACKED) {
        const struct stored_piece *q = &s.piece[USE_ZERO];

        n = (size_t)((rows + q->per - 1) / q->per) * q->row;
        s.piece[USE_ZERO].at = p = malloc(n);
        fill(DT_U8, p, n, false);
    }
    return s;
}

static void source_free(struct stored *s)
{
    free((void *)(uintptr_t)s->piece[USE_WEIGHT].at);
    free((void *)(uintptr_t)s->piece[USE_SCALE].at);
    free((void *)(uintptr_t)s->piece[USE_ZERO].at);
}

static void pack_both(struct matrix **m, struct matrix_job job)
{
    int i;

    for (i = 0; i < BOTH; i++) {
        job.m = &m[i];
        m[i] = NULL;
        CHECK_MSG(dev[i]->ops->pack(dev[i], &job, 1, &err) == 0, "pack: %s", err.msg);
    }
}

static void free_both(struct matrix **m)
{
    dev[CPU]->ops->matrix_free(dev[CPU], m[CPU]);
    dev[GPU]->ops->matrix_free(dev[GPU], m[GPU]);
}

/* ---- operations ---- */

static void check_linear(enum kind type, bool in_out, int n, int in, int out, bool f32)
{
    struct stored s = in_out ? stored(type, in, out) : stored(type, out, in), third = s;
    float *xh = random_floats((size_t)n * (size_t)in, 1), *bh = random_floats((size_t)out, 1);
    float *hh = random_floats((size_t)n * (size_t)out, 1);
    struct twin x = twin_new(xh, (size_t)n * (size_t)in, true, (size_t)in),
                b = twin_new(bh, (size_t)out, false, 0);
    struct twin y = twin_new(NULL, (size_t)n * (size_t)out, false, (size_t)out);
    struct twin h = twin_new(hh, (size_t)n * (size_t)out, true, (size_t)out);
    struct matrix *m[BOTH];
    char what[80];
    int i;

    s.in = third.in = in;
    s.in_out = third.in_out = in_out;
    s.out = out / 3; /* in two parts, of which the second begins where the first ends */
    third.out = out - out / 3;
    third.first = out / 3;
    pack_both(m, (struct matrix_job){.part = {s, third}, .parts = 2, .f32 = f32});
    for (i = 0; i < BOTH; i++) {
        dev[i]->ops->linear(dev[i], m[i], x.p[i], n, b.p[i], y.p[i]);
        if (!f32)
            dev[i]->ops->linear_add(dev[i], m[i], x.p[i], n, NULL, h.p[i]);
    }
    snprintf(what, sizeof what, "linear %d x %d x %d, source %d%s", n, in, out, (int)type,
             in_out ? " turned" : "");
    compare(&y, what, f32 ? 2e-6 : near());
    if (!f32)
        compare(&h, "linear_add", near());
    no_failure(what);
    free_both(m);
    source_free(&s);
    free(xh);
    free(bh);
    free(hh);
    twin_free(&x);
    twin_free(&b);
    twin_free(&y);
    twin_free(&h);
}

/* What the CPU found in f32, as a device that computes in bf16 holds it. */
static void round_to_bf16(const struct twin *t)
{
    float *y = fetch(t, CPU);
    size_t k;

    for (k = 0; k < t->n; k++)
        y[k] = bf16_to_f32(f32_to_bf16(y[k]));
    dev[CPU]->ops->to_device(dev[CPU], t->p[CPU], y, t->n * sizeof *y);
    free(y);
}

/* Numbers are the CPU's to the bit, or what bf16 has of them: a product with the unit matrix has them. */
static void check_decoded(enum kind type, int out, int in)
{
    struct stored s = stored(type, out, in);
    float factor = .75f, *unit = calloc((size_t)in * (size_t)in, sizeof *unit);
    struct twin x, y = twin_new(NULL, (size_t)in * (size_t)out, false, (size_t)out);
    struct matrix *m[BOTH];
    char what[80];
    int i;

    for (i = 0; i < in; i++)
        unit[(size_t)i * (size_t)in + (size_t)i] = 1;
    s.piece[USE_GLOBAL] = (struct stored_piece){
        .at = (const uint8_t *)&factor, .row = sizeof factor, .per = out, .dtype = DT_F32};
    x = twin_new(unit, (size_t)in * (size_t)in, true, (size_t)in);
    pack_both(m, (struct matrix_job){.part = {s}, .parts = 1});
    for (i = 0; i < BOTH; i++)
        dev[i]->ops->linear(dev[i], m[i], x.p[i], in, NULL, y.p[i]);
    if (dev[GPU]->bf16)
        round_to_bf16(&y);
    snprintf(what, sizeof what, "numbers of %s", dtype_name(kinds[type].dtype));
    compare(&y, what, dev[GPU]->bf16 ? 0 : 1e-7);
    no_failure(what);
    free_both(m);
    source_free(&s);
    free(unit);
    twin_free(&x);
    twin_free(&y);
}

/* A row's result does not depend on how many others there are. */
static void check_rows_alone(void)
{
    enum { N = 300, IN = 256, OUT = 384, ROW = 201 };
    struct stored s = stored(BF16, OUT, IN);
    float *xh = random_floats(N * IN, 1), *all, *one;
    struct twin x = twin_new(xh, N * IN, true, IN), y = twin_new(NULL, N * OUT, false, OUT);
    struct twin z = twin_new(NULL, OUT, false, OUT);
    struct matrix *m[BOTH];
    struct device *g = dev[GPU];

    s.in = IN;
    s.out = OUT;
    pack_both(m, (struct matrix_job){.part = {s}, .parts = 1});
    g->ops->linear(g, m[GPU], x.p[GPU], N, NULL, y.p[GPU]);
    g->ops->linear(g, m[GPU], (uint8_t *)x.p[GPU] + ROW * IN * g->elem_bytes, 1, NULL, z.p[GPU]);
    all = fetch(&y, GPU);
    one = fetch(&z, GPU);
    CHECK_MSG(memcmp(all + ROW * OUT, one, OUT * sizeof *one) == 0, "%s: a row depends on its neighbours",
              precision);
    free(all);
    free(one);
    free(xh);
    free_both(m);
    source_free(&s);
    twin_free(&x);
    twin_free(&y);
    twin_free(&z);
}

static void check_bad_weights(void)
{
    struct stored s = stored(BF16, 8, 64), t = s;
    struct matrix *m = NULL;
    struct matrix_job job = {.m = &m, .part = {s, t}, .parts = 2};

    ((uint16_t *)(uintptr_t)s.piece[USE_WEIGHT].at)[64 * 5 + 3] = 0x7fc0;
    job.part[0].out = job.part[1].out = 4;
    job.part[0].in = job.part[1].in = 64;
    job.part[1].first = 4;
    job.part[1].name = "the second";
    CHECK(dev[GPU]->ops->pack(dev[GPU], &job, 1, &err) == -1);
    CHECK_MSG(strstr(err.msg, "'the second'") != NULL, "%s", err.msg);
    err_clear(&err);
    dev[GPU]->ops->matrix_free(dev[GPU], m);
    source_free(&s);
}

static void check_norm(int n, int width)
{
    float *hh = random_floats((size_t)n * (size_t)width, 3), *wh = random_floats((size_t)width + 1, 2);
    struct twin h = twin_new(hh, (size_t)n * (size_t)width, true, 0),
                w = twin_new(wh, (size_t)width + 1, false, 0);
    struct twin x = twin_new(NULL, (size_t)n * (size_t)width, true, 0);
    struct twin y = twin_new(hh, (size_t)n * (size_t)width, false, 0);
    int i;

    for (i = 0; i < BOTH; i++)
        dev[i]->ops->norm(dev[i], h.p[i], n, width, w.p[i], 1e-5f, x.p[i]);
    compare(&x, "norm", near());
    for (i = 0; i < BOTH; i++) /* weights that begin anywhere */
        dev[i]->ops->norm(dev[i], h.p[i], n, width, (float *)w.p[i] + 1, 1e-5f, x.p[i]);
    compare(&x, "norm, weights at an odd place", near());
    for (i = 0; i < BOTH; i++) /* rows of half the width, one after another */
        dev[i]->ops->norm_rows(dev[i], y.p[i], (size_t)width, n, width / 2, w.p[i], 1e-5f, x.p[i]);
    compare(&x, "norm_rows", near());
    no_failure("norm");
    twin_free(&y);
    free(hh);
    free(wh);
    twin_free(&h);
    twin_free(&w);
    twin_free(&x);
}

/* What an attention is like. */
struct shape {
    const char *what;
    int heads, kv_heads, dim, v_dim, nope, rot;
    enum mask_kind mask;
    int window;
    enum qk_norm norm;
    enum rope_layout layout;
    bool sinks, no_rope;
    float clip;
    bool kept, select; /* documents have a past; queries see some keys only */
};

enum { SELECTS = 90, ROWS = 1079 };

/* q, k and v stand side by side in rows of `width`; latent attention's k, one for all heads, too, and k_nope
 * in an array with v. */
static struct attention_args arguments(const struct shape *s, float *qkv, size_t width, float *kv)
{
    struct attention_args a = {.heads = s->heads,
                               .kv_heads = s->kv_heads,
                               .head_dim = s->dim,
                               .v_dim = s->v_dim,
                               .nope = s->nope,
                               .rot = s->rot,
                               .norm = s->norm,
                               .rope = !s->no_rope,
                               .layout = s->layout,
                               .eps = 1e-6f,
                               .scale = .3f,
                               .clip = s->clip,
                               .temp_floor = s->no_rope ? 4 : 0,
                               .temp_scale = .1f,
                               .mask = s->mask,
                               .window = s->window};
    size_t dim = (size_t)s->dim, step = (size_t)(s->nope + s->v_dim);

    a.q = (struct heads){qkv, width, dim};
    a.k = (struct heads){qkv + (size_t)s->heads * dim, width, s->nope ? 0 : dim};
    a.v = (struct heads){a.k.of + (size_t)s->kv_heads * dim, width, dim};
    if (s->nope) {
        a.k_nope = (struct heads){kv, step * (size_t)s->kv_heads, step};
        a.v = (struct heads){kv + s->nope, a.k_nope.row, step};
    }
    return a;
}

/* Five documents, one of them empty; or with keys of tokens before, of which one keeps only the last. */
static struct docs documents(bool kept)
{
    static const int64_t first[] = {0, 3, 3, 200, 264, 964}, queries[] = {0, 1, 1, 40, 170, 270};
    static const int64_t key[] = {0, 300, 310, 349, 579, ROWS}, past[] = {299, 10, 0, 700, 400};

    return (struct docs){
        .first = kept ? queries : first, .n = 5, .key = kept ? key : NULL, .past = kept ? past : NULL};
}

/* Some keys of every query, its own among them, as numbers of 4 bytes. */
static float *selections(const struct docs *docs)
{
    int32_t *select = calloc(ROWS * SELECTS, sizeof *select);
    int64_t doc, t, p;

    for (doc = 0; doc < docs->n; doc++)
        for (t = docs->first[doc]; t < docs->first[doc + 1]; t++) {
            int64_t pos = (docs->past ? docs->past[doc] : 0) + t - docs->first[doc];
            int32_t *s = select + t * SELECTS;
            int n = 0;

            for (p = 0; p <= pos; p++)
                if (p == pos || (n < SELECTS - 1 && (p * 7 + pos * 3) % 11 < 3))
                    s[n++] = (int32_t)p;
            while (n < SELECTS)
                s[n++] = -1;
        }
    return (float *)(void *)select;
}

static void check_attention(struct shape s)
{
    struct docs docs = documents(s.kept);
    size_t dim = (size_t)s.dim, width = (size_t)(s.heads + 2 * s.kv_heads) * dim, n = ROWS;
    size_t table = 1100 * dim;
    size_t step = (size_t)(s.kv_heads * (s.nope + s.v_dim)), out_width = (size_t)(s.heads * s.v_dim);
    float *qh = random_floats(n * width, 1), *nh = random_floats(2 * (size_t)s.heads * dim, 2);
    float *sh = random_floats(64, 3), *rh = random_floats(table, 1), *kh = random_floats(n * step, 1);
    struct twin qkv = twin_new(qh, n * width, false, width), kv = twin_new(kh, n * step, false, step);
    struct twin norm = twin_new(nh, 2 * (size_t)s.heads * dim, false, 0);
    struct twin sinks = twin_new(sh, 64, false, 0), rope = twin_new(rh, table, false, 0);
    struct twin out = twin_new(NULL, (size_t)docs.first[docs.n] * out_width, true, out_width);
    float *selected = selections(&docs);
    struct twin select = twin_new(selected, ROWS * SELECTS, false, 0);
    int i;

    s.rot = s.rot ? s.rot : s.dim - s.nope;
    for (i = 0; i < BOTH; i++) {
        const float *tables[] = {rope.p[i], rope.p[i], rope.p[i], rope.p[i], rope.p[i]};
        struct attention_args a = arguments(&s, qkv.p[i], width, kv.p[i]);

        a.docs = docs;
        a.docs.rope = tables;
        a.select = s.select ? select.p[i] : NULL;
        a.selects = SELECTS;
        a.q_norm = s.norm == QKN_NONE ? NULL : norm.p[i];
        a.k_norm = s.norm == QKN_NONE ? NULL : (float *)norm.p[i] + (size_t)s.heads * dim;
        a.sinks = s.sinks ? sinks.p[i] : NULL;
        a.out = out.p[i];
        CHECK_MSG(dev[i]->ops->attention(dev[i], &a, &err) == 0, "%s: %s", s.what, err.msg);
    }
    compare(&out, s.what, dev[GPU]->bf16 ? 1e-2 : 5e-6);
    if (s.kept) { /* keys are left as they meet queries */
        compare(&qkv, "the same, q and k", 5e-6);
        compare(&kv, "the same, v", 5e-6);
    }
    no_failure(s.what);
    free(selected);
    twin_free(&select);
    free(qh);
    free(nh);
    free(sh);
    free(rh);
    free(kh);
    twin_free(&qkv);
    twin_free(&kv);
    twin_free(&norm);
    twin_free(&sinks);
    twin_free(&rope);
    twin_free(&out);
}

static void check_attentions(void)
{
    static const struct shape shapes[] = {
        {"attention, 4 heads of 32", 4, 2, 32, 32, .nope = 0},
        {"attention, heads of 64, norms, sinks", 8, 2, 64, 64, .norm = QKN_HEAD_PRE, .sinks = true},
        {"attention, heads of 128, half rotated", 4, 1, 128, 128, .rot = 64, .norm = QKN_HEAD_PRE},
        {"attention, 128, window 70", 4, 4, 128, 128, .mask = MASK_SLIDING, .window = 70, .sinks = true},
        {"attention, 64, window 128", 4, 2, 64, 64, .mask = MASK_SLIDING, .window = 128, .sinks = true},
        {"attention, 32, window 1", 4, 2, 32, 32, .mask = MASK_SLIDING, .window = 1},
        {"attention, 64, chunks of 50", 4, 2, 64, 64, .mask = MASK_CHUNKED, .window = 50,
         .norm = QKN_HEAD_POST},
        {"attention, 80, window 5, in pairs", 2, 1, 80, 80, .layout = ROPE_PAIR, .mask = MASK_SLIDING,
         .window = 5},
        {"attention, 24, whole norm", 4, 2, 24, 24, .norm = QKN_FULL_PRE},
        {"attention, 32, no rope, clip", 4, 2, 32, 32, .no_rope = true, .clip = .5f},
        {"attention, latent", 4, 4, 48, 40, .nope = 32, .layout = ROPE_PAIR},
        {"attention, latent, 192 and 128", 4, 4, 192, 128, .nope = 128, .layout = ROPE_PAIR},
        {"attention, 96, window 300", 4, 2, 96, 96, .mask = MASK_SLIDING, .window = 300, .sinks = true},
        {"attention, 27, odd", 2, 2, 27, 27, .rot = 14, .sinks = true},
        {"attention, kept keys, 64, norms", 8, 2, 64, 64, .norm = QKN_HEAD_PRE, .kept = true, .clip = .5f},
        {"attention, kept keys, 128, window 70", 4, 4, 128, 128, .mask = MASK_SLIDING, .window = 70,
         .norm = QKN_FULL_PRE, .sinks = true, .kept = true},
        {"attention, kept keys, 27, chunks of 50", 2, 1, 27, 27, .rot = 14, .layout = ROPE_PAIR,
         .mask = MASK_CHUNKED, .window = 50, .norm = QKN_HEAD_POST, .kept = true},
        {"attention, kept keys, no rope", 4, 2, 32, 32, .no_rope = true, .kept = true},
        {"attention, kept keys, latent", 4, 4, 192, 128, .nope = 128, .layout = ROPE_PAIR, .kept = true},
        {"attention, selected keys, 64", 8, 2, 64, 64, .select = true, .sinks = true},
        {"attention, selected keys, 96, window 300", 4, 2, 96, 96, .mask = MASK_SLIDING, .window = 300,
         .select = true},
        {"attention, kept and selected keys, latent", 4, 4, 48, 40, .nope = 32, .kept = true, .select = true},
    };
    size_t i;

    for (i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_attention(shapes[i]);
}

static void check_route(const char *what, struct router r, bool corr, bool masked)
{
    size_t n = 257, i, k = (size_t)r.topk;
    float *zh = random_floats(n * (size_t)r.experts, 4), *ch = random_floats((size_t)r.experts, .2f), *a, *b;
    struct twin z = twin_new(zh, n * (size_t)r.experts, false, 0),
                c = twin_new(ch, (size_t)r.experts, false, 0);
    struct twin chosen = twin_new(NULL, n * k, false, 0), gate = twin_new(NULL, n * k, false, 0);
    struct twin again = twin_new(NULL, n * k, false, 0), gate_again = twin_new(NULL, n * k, false, 0);
    struct twin fresh = twin_new(NULL, n * k, false, 0);
    uint8_t mask[256];
    int j;

    for (j = 0; j < r.experts; j++)
        mask[j] = j % 3 != 1 || j < r.topk;
    for (j = 0; j < BOTH; j++) {
        struct route_args args = {.logits = z.p[j],
                                  .corr = corr ? c.p[j] : NULL,
                                  .mask = masked ? mask : NULL,
                                  .n = (int64_t)n,
                                  .router = r,
                                  .chosen = chosen.p[j],
                                  .gate = gate.p[j]};

        dev[j]->ops->route(dev[j], &args);
        args.mask = masked ? NULL : mask; /* a second time, under another mask */
        args.chosen = again.p[j];
        args.gate = gate_again.p[j];
        args.fresh = fresh.p[j];
        args.known = chosen.p[j];
        args.known_gate = r.gate == GATE_SIGMOID_SELECTED ? gate.p[j] : NULL;
        dev[j]->ops->route(dev[j], &args);
    }
    a = fetch(&chosen, GPU);
    b = fetch(&chosen, CPU);
    for (i = 0; i < n * k && !memcmp(a + i, b + i, 4); i++)
        ;
    CHECK_MSG(i == n * k, "%s: choice %zu differs", what, i);
    free(a);
    free(b);
    a = fetch(&fresh, GPU);
    b = fetch(&fresh, CPU);
    for (i = 0; i < n * k && !memcmp(a + i, b + i, 4); i++)
        ;
    CHECK_MSG(i == n * k, "%s: what is fresh differs, %zu", what, i);
    compare(&gate, what, 2e-6);
    no_failure(what);
    free(a);
    free(b);
    free(zh);
    free(ch);
    twin_free(&z);
    twin_free(&c);
    twin_free(&chosen);
    twin_free(&gate);
    twin_free(&again);
    twin_free(&gate_again);
    twin_free(&fresh);
}

static void check_routes(void)
{
    const struct router plain = {SCORE_SOFTMAX, GATE_SCORE, GROUP_NONE, 128, 8, 1, 1, true, 0, 0, 1};
    struct router r = plain;

    check_route("router, softmax, renormalised", r, false, false);
    r.renorm = false;
    r.scale = 2.5f;
    check_route("router, softmax, scaled, masked", r, false, true);
    r = (struct router){SCORE_LOGIT, GATE_SOFTMAX_SELECTED, GROUP_NONE, 32, 4, 1, 1, false, 0, 0, 1};
    check_route("router, of the selected, masked", r, false, true);
    r = (struct router){SCORE_LOGIT, GATE_SIGMOID_SELECTED, GROUP_NONE, 16, 1, 1, 1, false, 0, 0, 1};
    check_route("router, sigmoid of the selected", r, false, false);
    r = (struct router){SCORE_SIGMOID, GATE_SCORE, GROUP_TOP2, 64, 6, 8, 4, true, 1e-20f, 0, 2.5f};
    check_route("router, sigmoid, two of a group, bias", r, true, true);
    r = (struct router){SCORE_SOFTMAX, GATE_SCORE, GROUP_MAX, 60, 6, 6, 3, false, 0, 0, 16};
    check_route("router, softmax, groups", r, false, false);
}

struct layer {
    struct matrix *up[BOTH][32], *down[BOTH][32];
    struct stored src[32][2];
};

static void layer_new(struct layer *l, enum kind type, int experts, int hidden, int inter)
{
    int j, i;

    for (j = 0; j < experts; j++) {
        struct stored gate = stored(type, 2 * inter, hidden), up, down = stored(type, hidden, inter);

        gate.in = hidden;
        gate.out = inter;
        gate.step = type == MXFP4 ? 2 : 1;
        up = gate;
        up.first = type == MXFP4 ? 1 : inter;
        down.in = inter;
        down.out = hidden;
        l->src[j][0] = gate;
        l->src[j][1] = down;
        for (i = 0; i < BOTH; i++) {
            struct matrix_job job[2] = {{.m = &l->up[i][j], .part = {gate, up}, .parts = 2, .paired = true},
                                        {.m = &l->down[i][j], .part = {down}, .parts = 1}};

            l->up[i][j] = l->down[i][j] = NULL;
            CHECK_MSG(dev[i]->ops->pack(dev[i], job, 2, &err) == 0, "pack: %s", err.msg);
        }
    }
}

static void layer_free(struct layer *l, int experts)
{
    int i, j;

    for (j = 0; j < experts; j++) {
        for (i = 0; i < BOTH; i++) {
            dev[i]->ops->matrix_free(dev[i], l->up[i][j]);
            dev[i]->ops->matrix_free(dev[i], l->down[i][j]);
        }
        source_free(&l->src[j][0]);
        source_free(&l->src[j][1]);
    }
}

/* The sums of an expert's tokens on both devices, from 1 on to see that they go on. */
struct twin_sums {
    double *sum[BOTH][EXPERT_SUMS];
    size_t n[EXPERT_SUMS];
};

static void sums_new(struct twin_sums *s, int experts, int hidden, int inter)
{
    int i, v;
    size_t k;

    for (v = 0; v < EXPERT_SUMS; v++) {
        double *one;

        s->n[v] = (size_t)experts * (size_t)expert_sum_width(v, hidden, inter);
        one = malloc(s->n[v] * sizeof *one);
        for (k = 0; k < s->n[v]; k++)
            one[k] = 1;
        for (i = 0; i < BOTH; i++) {
            s->sum[i][v] = dev[i]->ops->buf_new(dev[i], s->n[v] * sizeof *one, &err);
            dev[i]->ops->to_device(dev[i], s->sum[i][v], one, s->n[v] * sizeof *one);
        }
        free(one);
    }
}

static void sums_compare(struct twin_sums *s)
{
    int i, v;
    size_t k;

    for (v = 0; v < EXPERT_SUMS; v++) {
        struct twin t = {.n = s->n[v]};
        double *all = malloc(t.n * sizeof *all);
        float *some = malloc(t.n * sizeof *some);

        for (i = 0; i < BOTH; i++) {
            dev[i]->ops->to_host(dev[i], all, s->sum[i][v], t.n * sizeof *all);
            for (k = 0; k < t.n; k++)
                some[k] = (float)all[k];
            t.p[i] = dev[i]->ops->buf_new(dev[i], t.n * sizeof *some, &err);
            dev[i]->ops->to_device(dev[i], t.p[i], some, t.n * sizeof *some);
            dev[i]->ops->buf_free(dev[i], s->sum[i][v]);
        }
        compare(&t, statistic_tensor(PAIR_SUMS + v)->name, near());
        twin_free(&t);
        free(all);
        free(some);
    }
}

static void check_pairs(int n, int topk, int width, bool gated)
{
    size_t rows = (size_t)n * (size_t)topk;
    float *yh = random_floats(rows * (size_t)width, 1), *gh = random_floats(rows, 1);
    struct twin y = twin_new(yh, rows * (size_t)width, true, 0), gate = twin_new(gh, rows, false, 0);
    struct twin out = twin_new(NULL, rows * (size_t)(topk - 1) / 2, false, 0);
    char what[60];
    int i;

    for (i = 0; i < BOTH; i++)
        dev[i]->ops->pairs(dev[i], &(struct pairs_args){.y = y.p[i],
                                                        .gate = gated ? gate.p[i] : NULL,
                                                        .n = n,
                                                        .topk = topk,
                                                        .width = width,
                                                        .out = out.p[i]});
    snprintf(what, sizeof what, "pairs of %d, %d wide", topk, width);
    compare(&out, what, 2e-6);
    no_failure(what);
    free(yh);
    free(gh);
    twin_free(&y);
    twin_free(&gate);
    twin_free(&out);
}

static void check_view(int n, int experts, int topk)
{
    size_t choices = (size_t)n * (size_t)topk, i;
    float *zh = random_floats((size_t)n * (size_t)experts, 5), *ids = malloc(choices * 4);
    struct twin z = twin_new(zh, (size_t)n * (size_t)experts, false, 0), chosen;
    struct twin out = twin_new(NULL, (size_t)n * 3, false, 0);
    struct router_view *view[BOTH];
    int j, t, wrong = 0;

    for (i = 0; i < choices; i++) {
        int32_t id = (int32_t)(i % (size_t)topk) * (experts / topk) + (int32_t)(i % 3);

        memcpy(&ids[i], &id, 4);
    }
    chosen = twin_new(ids, choices, false, 0);
    for (j = 0; j < BOTH; j++) {
        dev[j]->ops->view(dev[j], &(struct view_args){z.p[j], chosen.p[j], n, experts, topk, out.p[j]});
        view[j] = (struct router_view *)(void *)fetch(&out, j);
    }
    for (t = 0; t < n; t++)
        wrong += view[GPU][t].nearest != view[CPU][t].nearest || view[GPU][t].margin != view[CPU][t].margin ||
                 fabsf(view[GPU][t].entropy - view[CPU][t].entropy) > 1e-5f;
    CHECK_MSG(wrong == 0, "router view, %s: %d tokens of %d differ", precision, wrong, n);
    no_failure("router view");
    for (j = 0; j < BOTH; j++)
        free(view[j]);
    free(zh);
    free(ids);
    twin_free(&z);
    twin_free(&chosen);
    twin_free(&out);
}

static void check_experts(enum kind type, enum act_kind act, int experts, int topk, int hidden, int inter,
                          bool in_gate)
{
    enum { N = 321 };
    size_t slots = N * (size_t)topk, i, h = (size_t)hidden;
    bool biased = act != ACT_SILU_GLU;
    float *xh = random_floats(N * h, 2), *b0 = random_floats((size_t)(experts * 2 * inter), 1);
    float *b1 = random_floats((size_t)experts * h, 1), *ids = malloc(slots * 4),
          *gh = random_floats(slots, 1);
    struct twin x = twin_new(xh, N * h, true, h), chosen, y = twin_new(NULL, slots * h, true, h);
    struct twin bu = twin_new(b0, (size_t)(experts * 2 * inter), false, 0),
                bd = twin_new(b1, (size_t)experts * h, false, 0);
    struct twin gate = twin_new(gh, slots, false, 0);
    struct twin norm = twin_new(NULL, slots, false, 0), max = twin_new(NULL, slots, false, 0);
    struct layer *l = calloc(1, sizeof *l);
    struct twin_sums sums;
    char what[80];
    int j;

    sums_new(&sums, experts, hidden, inter);
    for (i = 0; i < slots; i++) { /* uneven: low numbers more often */
        int32_t id = (int32_t)(fabsf(noise() * noise()) * (float)experts);

        memcpy(&ids[i], &id, 4);
    }
    chosen = twin_new(ids, slots, false, 0);
    layer_new(l, type, experts, hidden, inter);
    for (j = 0; j < BOTH; j++) {
        struct expert_sums into = {.gate = gate.p[j]};
        struct experts_args a = {.x = x.p[j],
                                 .sums = &into,
                                 .chosen = experts > 1 ? chosen.p[j] : NULL,
                                 .in_gate = in_gate ? gate.p[j] : NULL,
                                 .n = N,
                                 .topk = topk,
                                 .experts = experts,
                                 .hidden = hidden,
                                 .inter = inter,
                                 .gate_up = l->up[j],
                                 .down = l->down[j],
                                 .b_gate_up = biased ? bu.p[j] : NULL,
                                 .b_down = biased ? bd.p[j] : NULL,
                                 .act = act,
                                 .limit = 1.5f,
                                 .y = y.p[j],
                                 .norm = norm.p[j],
                                 .max = max.p[j]};

        if (experts > 1) /* one that all choose: no other sum */
            memcpy(into.sum, sums.sum[j], sizeof into.sum);
        into.sum[SUM_INNER_SQUARE] = sums.sum[j][SUM_INNER_SQUARE];
        CHECK_MSG(dev[j]->ops->experts(dev[j], &a, &err) == 0, "experts: %s", err.msg);
    }
    snprintf(what, sizeof what, "experts %d of %d, %d x %d, source %d", topk, experts, hidden, inter,
             (int)type);
    compare(&y, what, near());
    compare(&norm, "norms", near());
    compare(&max, "largest magnitudes", near());
    sums_compare(&sums);
    no_failure(what);
    layer_free(l, experts);
    free(l);
    free(xh);
    free(b0);
    free(b1);
    free(ids);
    twin_free(&x);
    twin_free(&y);
    twin_free(&chosen);
    free(gh);
    twin_free(&gate);
    twin_free(&bu);
    twin_free(&bd);
    twin_free(&norm);
    twin_free(&max);
}

/* Channels that are not there; slots that ask for nothing. */
static void check_part(int experts, int topk, int hidden, int inter)
{
    enum { N = 321 };
    size_t slots = N * (size_t)topk, h = (size_t)hidden, wide = (size_t)experts * (size_t)inter, i;
    float *xh = random_floats(N * h, 2), *yh = random_floats(slots * h, 1), *ids = malloc(slots * 4);
    struct twin x = twin_new(xh, N * h, true, h), y = twin_new(yh, slots * h, true, h), chosen;
    struct layer *l = calloc(1, sizeof *l);
    uint8_t *channels = malloc(wide);
    void *on[BOTH];
    int j;

    for (i = 0; i < wide; i++)
        channels[i] = i % 3 != 1;
    for (i = 0; i < slots; i++) {
        int32_t id = i % 5 ? (int32_t)(i * 7 % (size_t)experts) : -1;

        memcpy(&ids[i], &id, 4);
    }
    chosen = twin_new(ids, slots, false, 0);
    layer_new(l, BF16, experts, hidden, inter);
    for (j = 0; j < BOTH; j++) {
        struct experts_args a = {.x = x.p[j],
                                 .chosen = chosen.p[j],
                                 .n = N,
                                 .topk = topk,
                                 .experts = experts,
                                 .hidden = hidden,
                                 .inter = inter,
                                 .gate_up = l->up[j],
                                 .down = l->down[j],
                                 .y = y.p[j]};

        on[j] = dev[j]->ops->buf_new(dev[j], wide, &err);
        dev[j]->ops->to_device(dev[j], on[j], channels, wide);
        a.channels = on[j];
        CHECK_MSG(dev[j]->ops->experts(dev[j], &a, &err) == 0, "experts: %s", err.msg);
    }
    compare(&y, "some slots, some channels", near());
    no_failure("some slots, some channels");
    for (j = 0; j < BOTH; j++)
        dev[j]->ops->buf_free(dev[j], on[j]);
    layer_free(l, experts);
    free(l);
    free(xh);
    free(yh);
    free(ids);
    free(channels);
    twin_free(&x);
    twin_free(&y);
    twin_free(&chosen);
}

/* What experts did to n hidden states. */
static void compare_views(const struct twin *seen, int n)
{
    float *a = fetch(seen, GPU), *b = fetch(seen, CPU);
    double worst = 0;
    int i;

    for (i = 0; i < 2 * n; i++) /* norm and turn */
        worst = fmax(worst, fabs((double)a[i] / (double)b[i] - 1));
    CHECK_MSG(worst <= 1e-5, "what experts did to the hidden state, %s: differs by %.3g", precision, worst);
    free(a);
    free(b);
}

static void check_combine(int n, int topk, int width, bool shared)
{
    size_t rows = (size_t)n * (size_t)topk, w = (size_t)width;
    float *yh = random_floats(rows * w, 1), *gh = random_floats(rows, 1),
          *hh = random_floats((size_t)n * w, 1);
    struct twin y = twin_new(yh, rows * w, true, 0), gate = twin_new(gh, rows, false, 0), bad;
    struct twin h = twin_new(hh, (size_t)n * w, true, 0), share = twin_new(hh, (size_t)n * w, true, 0);
    struct twin seen = twin_new(NULL, 2 * (size_t)n, false, 0);
    struct combine_args a = {.n = n, .topk = topk, .width = width};
    int i;

    yh[(size_t)(n - 2) * (size_t)topk * w + 5] = INFINITY;
    bad = twin_new(yh, rows * w, true, 0);
    for (i = 0; i < BOTH; i++) {
        a.y = y.p[i];
        a.gate = topk > 1 ? gate.p[i] : NULL;
        a.shared = shared ? share.p[i] : NULL;
        a.shared_gate = shared && topk > 2 ? gate.p[i] : NULL;
        a.h = h.p[i];
        a.seen = (void *)seen.p[i];
        dev[i]->ops->combine(dev[i], &a);
        CHECK(dev[i]->ops->bad_token(dev[i]) == -1);
    }
    compare(&h, "combine", near());
    compare_views(&seen, n);
    for (i = 0; i < BOTH; i++) {
        a = (struct combine_args){
            .y = bad.p[i], .first = 7, .n = n, .topk = topk, .width = width, .h = h.p[i]};
        dev[i]->ops->combine(dev[i], &a);
        CHECK(dev[i]->ops->bad_token(dev[i]) == 7 + n - 2);
        CHECK(dev[i]->ops->bad_token(dev[i]) == -1);
    }
    no_failure("combine");
    twin_free(&seen);
    free(yh);
    free(gh);
    free(hh);
    twin_free(&y);
    twin_free(&gate);
    twin_free(&bad);
    twin_free(&share);
    twin_free(&h);
}

static void check_head(int sides, int vocab, int hidden)
{
    enum { N = 150, SIDES = 3, PICKS = 5 };
    struct stored s = stored(BF16, vocab, hidden);
    float *xh = random_floats(SIDES * N * (size_t)hidden, 4);
    struct twin x = twin_new(xh, SIDES * N * (size_t)hidden, true, (size_t)hidden);
    float *bh = random_floats((size_t)vocab, 1);
    struct twin bias = twin_new(bh, (size_t)vocab, false, 0);
    struct head_side side[SIDES];
    struct head_row row[BOTH][SIDES * N];
    float picked[BOTH][SIDES * N * PICKS];
    int32_t target[N], pick[N * PICKS];
    struct matrix *m[BOTH];
    double worst = 0;
    int i, k, wrong = 0;

    for (i = 0; i < N; i++)
        target[i] = i % 7 ? i * 13 % vocab : -1;
    for (i = 0; i < N * PICKS; i++)
        pick[i] = (i % PICKS) * (vocab / PICKS) + i % (vocab / PICKS);
    s.in = hidden;
    s.out = vocab;
    pack_both(m, (struct matrix_job){.part = {s}, .parts = 1, .for_head = true});
    for (i = 0; i < BOTH; i++) {
        struct head_args a = {side, sides, N, vocab, target, row[i], pick, PICKS, picked[i]};

        memset(row[i], 0x7b, sizeof row[i]);
        for (k = 0; k < SIDES; k++)
            side[k] =
                (struct head_side){(uint8_t *)x.p[i] + (size_t)k * N * (size_t)hidden * dev[i]->elem_bytes,
                                   m[i], k ? bias.p[i] : NULL, hidden};
        CHECK_MSG(dev[i]->ops->head(dev[i], &a, &err) == 0, "head: %s", err.msg);
    }
    for (i = 0; i < sides * N; i++) {
        const struct head_row *g = &row[GPU][i], *c = &row[CPU][i];

        worst = fmax(worst, fabs(g->lse - c->lse));
        worst = fmax(worst, fabs((double)g->top - (double)c->top));
        worst = target[i % N] < 0 ? worst : fmax(worst, fabs((double)g->at - (double)c->at));
        wrong += g->which != c->which;
        worst = fmax(worst, i < N ? 0 : fabs(g->cross - c->cross) / 10);
        for (k = 0; k < PICKS; k++)
            worst =
                fmax(worst, fabs((double)picked[GPU][i * PICKS + k] - (double)picked[CPU][i * PICKS + k]));
    }
    printf("  %-6s head, %d sides, vocabulary %d: %.2g\n", precision, sides, vocab, worst);
    CHECK_MSG(worst < 5e-5 && wrong == 0, "head, %s: differs by %.3g, %d tops", precision, worst, wrong);
    no_failure("head");
    free_both(m);
    source_free(&s);
    free(xh);
    free(bh);
    twin_free(&x);
    twin_free(&bias);
}

static void check_all(void)
{
    int kind;

    check_linear(BF16, false, 1, 64, 32, false);
    check_linear(BF16, false, 130, 96, 200, false);
    check_linear(F32, false, 300, 2048, 513, false);
    check_linear(F16, false, 77, 40, 129, false);
    check_linear(MXFP4, false, 128, 288, 256, false);
    check_linear(BF16, true, 50, 72, 90, false);
    check_linear(F32, true, 50, 30, 33, false);
    check_linear(F32, false, 70, 200, 32, true);
    check_linear(FP8, false, 70, 256, 400, false);
    check_linear(FP8_ROWS, false, 70, 264, 400, false);
    check_linear(FP8_ROWS, false, 33, 77, 50, false);
    check_linear(Q8_0, false, 33, 96, 50, false);
    check_linear(Q4_K, false, 33, 512, 50, true);
    check_linear(NVFP4, false, 33, 96, 50, false);
    check_linear(MXFP8, false, 33, 96, 50, true);
    check_linear(INT8, false, 33, 77, 50, false);
    check_linear(W4, false, 33, 104, 50, false);
    check_linear(W3, false, 33, 77, 50, false);
    for (kind = Q4_0; kind < KINDS; kind++)
        check_decoded((enum kind)kind, 72, 512);
    check_rows_alone();
    check_bad_weights();
    check_norm(7, 2048);
    check_norm(100, 30);
    check_attentions();
    check_routes();
    check_experts(BF16, ACT_SILU_GLU, 16, 4, 256, 96, false);
    check_experts(MXFP4, ACT_OSS_GLU, 32, 4, 96, 160, false);
    check_experts(F32, ACT_SILU_GLU, 3, 2, 200, 44, true);
    check_part(16, 4, 256, 96);
    check_part(7, 3, 200, 44);
    check_experts(F16, ACT_SILU_GLU, 1, 1, 64, 130, false);
    check_view(50, 128, 8);
    check_view(9, 60, 6);
    check_pairs(70, 8, 300, true);
    check_pairs(9, 22, 64, true);
    check_pairs(33, 2, 128, false);
    check_combine(40, 8, 300, true);
    check_combine(40, 2, 64, true);
    check_combine(5, 1, 64, false);
    check_head(1, 1000, 128);
    check_head(2, 5003, 64);
    check_head(3, 1030, 96);
}

#ifndef OTHER_DEVICE /* test_sets.c, which has a main of its own */
/* Up, on the device, down, many times over, by more copies than there are events for. */
static void check_copies(size_t bytes)
{
    enum { TIMES = 200, ROOMS = 3 };
    struct device *d = dev[GPU];
    uint8_t *from = d->ops->host_new(d, bytes, &err), *to[ROOMS], *up[ROOMS], *down[ROOMS];
    uint64_t ticket[ROOMS] = {0};
    struct device_memory before, after;
    int i, bad = 0;
    size_t k;

    d->ops->memory(d, &before);
    for (k = 0; from && k < bytes; k++)
        from[k] = (uint8_t)(k * 7 + k / 251);
    for (i = 0; i < ROOMS; i++) {
        to[i] = d->ops->host_new(d, bytes, &err);
        up[i] = d->ops->buf_new(d, bytes, &err);
        down[i] = d->ops->buf_new(d, bytes, &err);
        CHECK_MSG(from && to[i] && up[i] && down[i], "%s", err.msg);
        memset(to[i], 0, bytes);
    }
    d->ops->memory(d, &after);
    CHECK(after.held - before.held == 2 * ROOMS * bytes && after.most >= after.held);
    for (i = 0; i < TIMES; i++) {
        int r = i % ROOMS;

        d->ops->await_copy(d, d->ops->copy_up(d, up[r], from + i % 5, bytes - 5, ticket[r]));
        d->ops->copy(d, down[r], up[r], bytes - 5);
        ticket[r] = d->ops->copy_down(d, to[r], down[r], bytes - 5);
    }
    for (i = TIMES - ROOMS; i < TIMES; i++) {
        d->ops->finish_copy(d, ticket[i % ROOMS]);
        bad += memcmp(to[i % ROOMS], from + i % 5, bytes - 5) != 0;
    }
    CHECK_MSG(bad == 0, "%d copies of %zu bytes are not what was sent", bad, bytes);
    for (i = 0; i < ROOMS; i++) {
        d->ops->buf_free(d, up[i]);
        d->ops->buf_free(d, down[i]);
        d->ops->host_free(d, to[i]);
    }
    d->ops->host_free(d, from);
    d->ops->memory(d, &after);
    CHECK(after.held == before.held);
    no_failure("copies");
}

/* Every precision, and every maker of products where there are several: the best alone would hide the others.
 */
static const struct {
    enum precision p;
    const char *products, *name;
} runs[] = {{PREC_F32, NULL, "f32"},
            {PREC_BF16, NULL, "bf16"},
            {PREC_BF16, "mma", "mma"},
            {PREC_BF16, "plain", "plain"}};

static int check_run(const struct backend *cuda, size_t i)
{
    struct device_options o = {.precision = runs[i].p, .products = runs[i].products},
                          f32 = {.precision = PREC_F32};

    precision = runs[i].name;
    if (backend_open(cuda, &dev[GPU], &o, &err) || backend_open(&cpu_backend, &dev[CPU], &f32, &err)) {
        CHECK_MSG(0, "%s: %s", precision, err.msg);
        return -1;
    }
    check_copies(1000);
    check_copies((17 << 20) + 123);
    check_all();
    dev[GPU]->ops->close(dev[GPU]);
    dev[CPU]->ops->close(dev[CPU]);
    return 0;
}

/* Skipped where there is no backend, no driver or no GPU; one that is there and cannot be used is a failure.
 */
int main(void)
{
    bool found;
    const struct backend *cuda = backend_find("cuda", &found, &err);
    int n = cuda ? cuda->count(&err) : -1;
    size_t i;

    if (!found || n == 0)
        CHECK_SKIP(err.msg);
    CHECK_MSG(n > 0, "%s", err.msg);
    for (i = 0; n > 0 && i < sizeof runs / sizeof *runs && check_run(cuda, i) == 0; i++)
        ;
    CHECK_END();
}
#endif
