/*
 * test_ffn.c -- the operations of the second half of a layer by themselves: routers against a plain
 * implementation, a mask against the router without the masked experts, gates on the input, f32 routers
 * under bf16, FP8 rows. What whole layers compute is compared with transformers' numbers elsewhere.
 */
#include "check.h"

#include <stdint.h>

#include "device/registry.h"
#include "quant/bf16.h"
#include "quant/format_rows.h"
#include "quant/fp8.h"

enum { TOKENS = 100, EXPERTS = 24, GROUPS = 6, SIZE = EXPERTS / GROUPS, K = 5 };

static struct err err;
static uint32_t seed = 1;

/* Uniform in -1 .. 1. */
static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed * 0x1p-31f;
}

/* ---- routers ---- */

static const struct {
    const char *name;
    struct router r;
    bool corr;
} routers[] = {
    {"softmax", {.score = SCORE_SOFTMAX, .scale = 2.5f}, false},
    {"softmax, renormalised", {.score = SCORE_SOFTMAX, .renorm = true, .scale = 1}, false},
    {"softmax of selected", {.score = SCORE_LOGIT, .gate = GATE_SOFTMAX_SELECTED, .scale = 1}, false},
    {"sigmoid of selected", {.score = SCORE_LOGIT, .gate = GATE_SIGMOID_SELECTED, .scale = 1}, false},
    {"softmax, bias, smallest sum",
     {.score = SCORE_SOFTMAX, .renorm = true, .renorm_min = 0.25f, .scale = 1},
     true},
    {"sigmoid, bias", {.score = SCORE_SIGMOID, .renorm = true, .renorm_eps = 0.125f, .scale = 2.5f}, true},
    {"largest score of a group", {.score = SCORE_SOFTMAX, .group = GROUP_MAX, .scale = 16}, false},
    {"two largest of a group",
     {.score = SCORE_SIGMOID, .group = GROUP_TOP2, .renorm = true, .renorm_eps = 1e-20f, .scale = 1},
     true},
};

static struct router sized(size_t i, int experts)
{
    struct router r = routers[i].r;

    r.experts = experts;
    r.topk = K;
    r.groups = r.group == GROUP_NONE ? 1 : GROUPS;
    r.topk_group = r.group == GROUP_NONE ? 1 : 3;
    return r;
}

/* Marks the k largest of v [n] that are allowed, the lowest index first among equals. */
static void largest(const double *v, const uint8_t *mask, int n, int k, bool *yes)
{
    int i, best;

    memset(yes, 0, (size_t)n * sizeof *yes);
    while (k--) {
        for (best = -1, i = 0; i < n; i++)
            if (!yes[i] && (!mask || mask[i]) && (best < 0 || v[i] > v[best]))
                best = i;
        yes[best] = true;
    }
}

/* The group's two largest, or its largest. */
static double best_of(const double *rank, const uint8_t *mask, enum group_kind kind)
{
    double a = -INFINITY, b = -INFINITY;
    int i;

    for (i = 0; i < SIZE; i++)
        if (!mask || mask[i]) {
            b = fmax(b, fmin(a, rank[i]));
            a = fmax(a, rank[i]);
        }
    return kind == GROUP_MAX || !isfinite(b) ? a : a + b;
}

/* gate[E]: 0 where not chosen. */
static void plain_route(const struct router *r, const float *z, const float *corr, const uint8_t *mask,
                        bool *chosen, double *gate)
{
    double s[EXPERTS], rank[EXPERTS], group[GROUPS], sum = 0, all = 0;
    bool kept[GROUPS];
    int i;

    for (i = 0; i < EXPERTS; i++)
        all += !mask || mask[i] ? exp((double)z[i]) : 0;
    for (i = 0; i < EXPERTS; i++) {
        s[i] = r->score == SCORE_SOFTMAX   ? exp((double)z[i]) / all
               : r->score == SCORE_SIGMOID ? 1 / (1 + exp(-(double)z[i]))
                                           : (double)z[i];
        rank[i] = s[i] + (corr ? (double)corr[i] : 0);
    }
    for (i = 0; i < GROUPS; i++)
        group[i] = best_of(rank + i * SIZE, mask ? mask + i * SIZE : NULL, r->group);
    largest(group, NULL, GROUPS, 3, kept);
    for (i = 0; i < EXPERTS && r->group != GROUP_NONE; i++)
        if (!kept[i / SIZE]) {
            rank[i] = r->group == GROUP_MAX ? 0 : -INFINITY;
            s[i] = r->group == GROUP_MAX ? 0 : s[i];
        }
    largest(rank, mask, EXPERTS, K, chosen);
    for (i = 0; i < EXPERTS; i++) {
        gate[i] = !chosen[i]                         ? 0
                  : r->gate == GATE_SOFTMAX_SELECTED ? exp((double)z[i])
                  : r->gate == GATE_SIGMOID_SELECTED ? 1 / (1 + exp(-(double)z[i]))
                                                     : s[i];
        sum += gate[i];
    }
    sum = fmax(sum, (double)r->renorm_min) + (double)r->renorm_eps;
    for (i = 0; i < EXPERTS; i++)
        gate[i] *= (double)r->scale / (r->renorm || r->gate == GATE_SOFTMAX_SELECTED ? sum : 1);
}

struct routed {
    int32_t chosen[TOKENS * K];
    float gate[TOKENS * K];
};

static void route(struct device *d, const struct router *r, const float *z, const float *corr,
                  const uint8_t *mask, struct routed *out)
{
    d->ops->route(d, &(struct route_args){.logits = z,
                                          .corr = corr,
                                          .mask = mask,
                                          .n = TOKENS,
                                          .router = *r,
                                          .chosen = out->chosen,
                                          .gate = out->gate});
}

static void check_plain(struct device *d, size_t i, const float *z, const float *corr, const uint8_t *mask,
                        const char *what)
{
    struct router r = sized(i, EXPERTS);
    bool chosen[EXPERTS];
    double gate[EXPERTS];
    struct routed out;
    int t, k, wrong = 0;

    route(d, &r, z, corr, mask, &out);
    for (t = 0; t < TOKENS; t++) {
        plain_route(&r, z + t * EXPERTS, corr, mask, chosen, gate);
        for (k = 0; k < K; k++) {
            int e = out.chosen[t * K + k];

            wrong += !chosen[e] || (k > 0 && e <= out.chosen[t * K + k - 1]) ||
                     fabs((double)out.gate[t * K + k] - gate[e]) > 1e-6 * (1 + gate[e]);
        }
    }
    CHECK_MSG(wrong == 0, "%s, %s: %d experts or gates are wrong", routers[i].name, what, wrong);
}

/* One expert of each group masked gives the very gates of the router that does not have it. */
static void check_pruned(struct device *d, size_t i, const float *z, const float *corr)
{
    static float cut[TOKENS * EXPERTS];
    float cut_corr[EXPERTS];
    struct router r = sized(i, EXPERTS), small = sized(i, EXPERTS - GROUPS);
    uint8_t mask[EXPERTS];
    int32_t of[EXPERTS];
    struct routed a, b;
    int e, t, n = 0;

    for (e = 0; e < EXPERTS; e++) {
        mask[e] = e % SIZE != e / SIZE % SIZE;
        if (mask[e])
            of[n++] = e;
    }
    for (e = 0; e < n; e++) {
        cut_corr[e] = corr ? corr[of[e]] : 0;
        for (t = 0; t < TOKENS; t++)
            cut[t * n + e] = z[t * EXPERTS + of[e]];
    }
    route(d, &r, z, corr, mask, &a);
    route(d, &small, cut, corr ? cut_corr : NULL, NULL, &b);
    for (t = 0; t < TOKENS * K; t++)
        b.chosen[t] = of[b.chosen[t]];
    CHECK_MSG(!memcmp(&a, &b, sizeof a), "%s: a mask is not the pruned router", routers[i].name);
    check_plain(d, i, z, corr, mask, "one of a group masked");
}

/* A second choice, and what of it is not in the first one, by number or by number and gate. */
static void check_fresh(struct device *d, size_t i, const float *z, const float *corr)
{
    int32_t fresh[TOKENS * K];
    struct routed was, is;
    uint8_t mask[EXPERTS];
    struct route_args a = {.logits = z,
                           .corr = corr,
                           .mask = mask,
                           .n = TOKENS,
                           .router = sized(i, EXPERTS),
                           .chosen = is.chosen,
                           .gate = is.gate,
                           .fresh = fresh};
    int way, s, j, wrong = 0;

    for (j = 0; j < EXPERTS; j++)
        mask[j] = j % 3 != 1;
    route(d, &a.router, z, corr, NULL, &was);
    for (way = 0; way < 3; way++) {
        a.known = way ? was.chosen : NULL;
        a.known_gate = way == 2 ? was.gate : NULL;
        d->ops->route(d, &a);
        for (s = 0; s < TOKENS * K; s++) {
            int want = is.chosen[s];

            for (j = s / K * K; way && j < s / K * K + K; j++)
                if (was.chosen[j] == is.chosen[s] && (way == 1 || was.gate[j] == is.gate[s]))
                    want = -1;
            wrong += fresh[s] != want;
        }
    }
    CHECK_MSG(wrong == 0, "%s: %d slots are not as fresh as they are said to be", routers[i].name, wrong);
}

static void check_routers(struct device *d)
{
    static float z[TOKENS * EXPERTS];
    float corr[EXPERTS];
    uint8_t few[EXPERTS];
    size_t i;
    int e;

    for (e = 0; e < EXPERTS; e++) {
        corr[e] = noise() - 0.2f;
        few[e] = e % SIZE == 2; /* fewer in three groups than are to be chosen */
    }
    for (i = 0; i < sizeof routers / sizeof *routers; i++) {
        const float *c = routers[i].corr ? corr : NULL;

        for (e = 0; e < TOKENS * EXPERTS; e++)
            z[e] = 4 * noise();
        check_plain(d, i, z, c, NULL, "any logits");
        check_plain(d, i, z, c, few, "one of a group left");
        check_pruned(d, i, z, c);
        check_fresh(d, i, z, c);
        for (e = 0; e < TOKENS * EXPERTS; e++)
            z[e] = floorf(2 * noise());
        check_plain(d, i, z, NULL, NULL, "equal logits");
        for (e = 0; e < TOKENS * EXPERTS; e++)
            z[e] = e % EXPERTS % 3 ? 40 * noise() : -1e30f;
        check_plain(d, i, z, c, NULL, "far apart");
    }
}

/* ---- products ---- */

static int pack(struct device *d, struct matrix **m, const float *w, int out, int in, bool f32)
{
    struct matrix_job job = {.m = m, .parts = 1, .f32 = f32};

    job.part[0] = stored_floats(DT_F32, w, out, in, "test");
    return d->ops->pack(d, &job, 1, &err);
}

/* A router in f32 sees the bf16 hidden state but is not rounded itself. */
static void check_f32_router(void)
{
    enum { IN = 200, OUT = 24, N = 70 };
    static float w[OUT * IN], y[N * OUT];
    static uint16_t x[(N + TILE_ROWS) * IN];
    struct device_options o = {.precision = PREC_BF16, .threads = 2};
    struct matrix *m = NULL;
    struct device *d;
    double worst = 0;
    int i, k;

    if (cpu_backend.open(&d, &o, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    for (i = 0; i < OUT * IN; i++)
        w[i] = noise();
    for (i = 0; i < N * IN; i++)
        x[i] = f32_to_bf16(noise());
    CHECK_MSG(pack(d, &m, w, OUT, IN, true) == 0, "%s", err.msg);
    d->ops->linear(d, m, x, N, NULL, y);
    CHECK(d->ops->check(d, &err) == 0);
    for (i = 0; i < N * OUT; i++) {
        double sum = 0;

        for (k = 0; k < IN; k++)
            sum += (double)bf16_to_f32(x[i / OUT * IN + k]) * (double)w[i % OUT * IN + k];
        worst = fmax(worst, fabs((double)y[i] - sum));
    }
    CHECK_MSG(worst < 2e-5, "f32 products under bf16 differ by %.3g", worst);
    d->ops->matrix_free(d, m);
    d->ops->close(d);
}

/* f(g x) with its norm and maximum divided by g; nothing at all where g is 0. */
static void check_input_gates(struct device *d)
{
    enum { H = 20, I = 12, N = 3 };
    static float gu[2 * I * H], dn[H * I], x[(N + TILE_ROWS) * H], y[(N + TILE_ROWS) * H];
    const float gate[N] = {0, 0.25f, 1};
    float norm[N], max[N];
    struct matrix *m[2] = {NULL, NULL};
    struct stored s = stored_floats(DT_F32, gu, I, H, "test"), up = s;
    struct matrix_job job = {.m = &m[0], .parts = 2, .paired = true};
    int t, i, k;

    for (i = 0; i < 2 * I * H; i++)
        gu[i] = noise();
    for (i = 0; i < H * I; i++)
        dn[i] = noise();
    for (i = 0; i < N * H; i++)
        x[i] = noise();
    up.first = I;
    job.part[0] = s;
    job.part[1] = up;
    CHECK(d->ops->pack(d, &job, 1, &err) == 0 && pack(d, &m[1], dn, H, I, false) == 0);
    CHECK(d->ops->experts(d,
                          &(struct experts_args){.x = x,
                                                 .in_gate = gate,
                                                 .n = N,
                                                 .topk = 1,
                                                 .experts = 1,
                                                 .hidden = H,
                                                 .inter = I,
                                                 .gate_up = &m[0],
                                                 .down = &m[1],
                                                 .y = y,
                                                 .norm = norm,
                                                 .max = max},
                          &err) == 0);
    CHECK(norm[0] == 0 && max[0] == 0);
    for (t = 0; t < N; t++) {
        double act[I], sum = 0, top = 0;

        for (i = 0; i < I; i++) {
            double g = 0, u = 0;

            for (k = 0; k < H; k++) {
                g += (double)gu[i * H + k] * (double)(gate[t] * x[t * H + k]);
                u += (double)gu[(I + i) * H + k] * (double)(gate[t] * x[t * H + k]);
            }
            act[i] = g / (1 + exp(-g)) * u;
        }
        for (k = 0; k < H; k++) {
            double f = 0;

            for (i = 0; i < I; i++)
                f += (double)dn[k * I + i] * act[i];
            CHECK_NEAR(y[t * H + k], f, 1e-5, 1e-5);
            sum += f * f;
            top = fmax(top, fabs(f));
        }
        CHECK_NEAR(gate[t] * norm[t], sqrt(sum), 1e-5, 1e-5);
        CHECK_NEAR(gate[t] * max[t], top, 1e-5, 1e-5);
    }
    d->ops->matrix_free(d, m[0]);
    d->ops->matrix_free(d, m[1]);
}

/* ---- rows of block-scaled FP8 ---- */

static void check_fp8_rows(void)
{
    enum { OUT = 200, IN = 300, ROW = 126, N = 6 }; /* rows on both sides of a block's edge */
    static uint8_t code[OUT * IN];
    static const float scale[2 * 3] = {1, 2, 0.5f, 4, 0.25f, 8};
    float f[N * IN];
    uint16_t h[N * IN];
    const struct format_claim c = {&format_fp8_block, {128, 128, 0}};
    struct stored s = {.name = "test"};
    int i, wrong = 0;

    s.piece[USE_WEIGHT] = (struct stored_piece){.at = code, .dtype = DT_F8_E4M3};
    s.piece[USE_SCALE] = (struct stored_piece){.at = (const uint8_t *)scale, .dtype = DT_F32};
    format_describe(&s, &c, OUT, IN, false);
    for (i = 0; i < OUT * IN; i++)
        code[i] = (uint8_t)(i * 7 % 127 + i % 2 * 128);
    CHECK(stored_rows(&s, ROW, N, f, IN, false) && stored_rows(&s, ROW, N, h, IN, true));
    for (i = 0; i < N * IN; i++) {
        float want = e4m3_value[code[ROW * IN + i]] * scale[(ROW + i / IN) / 128 * 3 + i % IN / 128];

        wrong += f[i] != want || bf16_to_f32(h[i]) != want;
    }
    CHECK_MSG(wrong == 0, "%d FP8 values are wrong", wrong);
    code[(ROW + 2) * IN + 299] = 0x7f;
    CHECK(!stored_rows(&s, ROW, N, f, IN, false) && !stored_rows(&s, ROW, N, h, IN, true));
}

int main(void)
{
    struct device_options o = {.precision = PREC_F32, .threads = 2};
    struct device *d;

    if (cpu_backend.open(&d, &o, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        CHECK_END();
    }
    check_routers(d);
    check_input_gates(d);
    d->ops->close(d);
    check_f32_router();
    check_fp8_rows();
    CHECK_END();
}
