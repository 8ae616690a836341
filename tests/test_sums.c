/*
 * test_sums.c -- sums by element, inner products of a token's results, and what a router's logits say, on
 * the CPU: against a plain computation, and the same bytes however tokens are divided among calls and
 * threads. Experts that only some slots ask for, and that lack channels. The CUDA backend is compared with
 * this one in test_cuda.c.
 */
#include "check.h"

#include <stdint.h>

#include "device/registry.h"
#include "quant/bf16.h"
#include "stats/matrices.h"

enum { TOKENS = 150, EXPERTS = 5, K = 3, H = 70, I = 44, PAIRS = K * (K - 1) / 2 };

static struct err err;
static uint32_t seed = 1;

/* Uniform in -1 .. 1, exact in bf16. */
static float noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return bf16_to_f32(f32_to_bf16((float)(int32_t)seed * 0x1p-31f));
}

static float gate_up[EXPERTS][2 * I * H], down[EXPERTS][H * I], input[TOKENS * H], gate[TOKENS * K];
static int32_t chosen[TOKENS * K];

static void draw(void)
{
    int i, j, t;

    for (i = 0; i < EXPERTS; i++) {
        for (j = 0; j < 2 * I * H; j++)
            gate_up[i][j] = noise();
        for (j = 0; j < H * I; j++)
            down[i][j] = noise();
    }
    for (i = 0; i < TOKENS * H; i++)
        input[i] = noise();
    for (t = 0; t < TOKENS; t++)
        for (i = 0; i < K; i++) {
            chosen[t * K + i] = t % 3 ? i + t % 2 : i; /* expert 4 has no token */
            gate[t * K + i] = 0.5f + 0.25f * noise();
        }
    gate[4] = 0;
}

struct run {
    struct device *d;
    struct matrix *up[EXPERTS], *down[EXPERTS];
    uint8_t *x, *y; /* elements [TOKENS][H], [TOKENS * K][H] */
    float norm[TOKENS * K], max[TOKENS * K], pairs[TOKENS * PAIRS];
    double *sum[EXPERT_SUMS];
};

static size_t width(int v)
{
    return v >= SUM_INNER_SQUARE ? I : H;
}

static void put_input(struct run *r)
{
    int i;

    for (i = 0; i < TOKENS * H; i++)
        if (r->d->bf16)
            ((uint16_t *)(void *)r->x)[i] = f32_to_bf16(input[i]);
        else
            memcpy(r->x + 4 * i, &input[i], 4);
}

static float element(const struct run *r, const uint8_t *p, size_t i)
{
    float v;

    if (r->d->bf16)
        return bf16_to_f32(((const uint16_t *)(const void *)p)[i]);
    memcpy(&v, p + 4 * i, 4);
    return v;
}

/* Tokens first .. end-1 through the experts. */
static void run_tokens(struct run *r, bool in_gate, int first, int end)
{
    size_t elem = r->d->elem_bytes, at = (size_t)first * K;
    struct expert_sums sums = {.gate = gate + at};
    struct experts_args a = {.x = r->x + (size_t)first * H * elem,
                             .chosen = chosen + at,
                             .in_gate = in_gate ? gate + at : NULL,
                             .n = end - first,
                             .topk = K,
                             .experts = EXPERTS,
                             .hidden = H,
                             .inter = I,
                             .gate_up = r->up,
                             .down = r->down,
                             .y = r->y + at * H * elem,
                             .norm = r->norm + at,
                             .max = r->max + at,
                             .sums = &sums};
    const struct pairs_args p = {.y = a.y,
                                 .gate = in_gate ? NULL : gate + at,
                                 .n = a.n,
                                 .topk = K,
                                 .width = H,
                                 .out = r->pairs + (size_t)first * PAIRS};

    memcpy(sums.sum, r->sum, sizeof sums.sum);
    CHECK_MSG(r->d->ops->experts(r->d, &a, &err) == 0, "%s", err.msg);
    r->d->ops->pairs(r->d, &p);
}

static bool run_open(struct run *r, enum precision p, int threads)
{
    struct device_options o = {.precision = p, .threads = threads};
    int j, v;

    *r = (struct run){0};
    if (cpu_backend.open(&r->d, &o, &err)) {
        printf("not checked: %s\n", err.msg);
        err_clear(&err);
        return false;
    }
    for (j = 0; j < EXPERTS; j++) {
        struct stored up = stored_floats(DT_F32, gate_up[j], I, H, "test"), both = up;
        struct matrix_job job[2] = {{.m = &r->up[j], .parts = 2, .paired = true},
                                    {.m = &r->down[j], .parts = 1}};

        both.first = I;
        job[0].part[0] = up;
        job[0].part[1] = both;
        job[1].part[0] = stored_floats(DT_F32, down[j], H, I, "test");
        CHECK_MSG(r->d->ops->pack(r->d, job, 2, &err) == 0, "%s", err.msg);
    }
    r->x = calloc(TOKENS + TILE_ROWS, H * 4);
    r->y = calloc(TOKENS * K + TILE_ROWS, H * 4);
    for (v = 0; v < EXPERT_SUMS; v++)
        r->sum[v] = calloc(EXPERTS * width(v), sizeof(double));
    put_input(r);
    return true;
}

static void run_close(struct run *r)
{
    int j, v;

    for (j = 0; j < EXPERTS; j++) {
        r->d->ops->matrix_free(r->d, r->up[j]);
        r->d->ops->matrix_free(r->d, r->down[j]);
    }
    r->d->ops->close(r->d);
    free(r->x);
    free(r->y);
    for (v = 0; v < EXPERT_SUMS; v++)
        free(r->sum[v]);
}

/* ---- against plain loops ---- */

/* g: of the input; out: of the output. */
static void add_inner(double *const *sum, int expert, int t, double g, double out)
{
    int i, k;

    for (i = 0; i < I; i++) {
        double a = 0, b = 0, h;

        for (k = 0; k < H; k++) {
            a += (double)gate_up[expert][i * H + k] * g * (double)input[t * H + k];
            b += (double)gate_up[expert][(I + i) * H + k] * g * (double)input[t * H + k];
        }
        h = a / (1 + exp(-a)) * b;
        sum[SUM_INNER_SQUARE][expert * I + i] += h * h;
        sum[SUM_INNER_GATED_SQUARE][expert * I + i] += out * h * out * h;
    }
}

/* The sums that belong to the results in r->y. */
static void plain_sums(const struct run *r, bool in_gate, double *const *sum)
{
    int t, k, i;

    for (t = 0; t < TOKENS; t++)
        for (k = 0; k < K; k++) {
            int slot = t * K + k, at = chosen[slot] * H;
            double g = (double)gate[slot];

            add_inner(sum, chosen[slot], t, in_gate ? g : 1, in_gate ? 1 : g);
            for (i = 0; i < H; i++) {
                double y = (double)element(r, r->y, (size_t)(slot * H + i)), x = (double)input[t * H + i];
                double f = !in_gate ? y : g != 0 ? y / g : 0;

                sum[SUM_OUTPUT][at + i] += f;
                sum[SUM_OUTPUT_GATED][at + i] += in_gate ? y : g * y;
                sum[SUM_OUTPUT_SQUARE][at + i] += f * f;
                sum[SUM_INPUT_SQUARE][at + i] += in_gate ? g * x * g * x : x * x;
            }
        }
}

static void check_plain(enum precision p, bool in_gate)
{
    double *want[EXPERT_SUMS];
    struct run r;
    int v, t, i, j, k;
    size_t n;

    if (!run_open(&r, p, 2))
        return;
    run_tokens(&r, in_gate, 0, TOKENS);
    for (v = 0; v < EXPERT_SUMS; v++)
        want[v] = calloc(EXPERTS * width(v), sizeof(double));
    plain_sums(&r, in_gate, want);
    for (v = 0; v < EXPERT_SUMS; v++) {
        double worst = 0, most = 0;

        for (n = 0; n < EXPERTS * width(v); n++) {
            worst = fmax(worst, fabs(r.sum[v][n] - want[v][n]));
            most = fmax(most, fabs(want[v][n]));
        }
        CHECK_MSG(worst <= most * (v >= SUM_INNER_SQUARE && r.d->bf16 ? 1e-2 : 1e-6),
                  "%s, gate on the %s: differs by %.3g of %.3g", statistic_tensor(PAIR_SUMS + v)->name,
                  in_gate ? "input" : "output", worst, most);
        CHECK(r.sum[v][4 * width(v)] == 0);
        free(want[v]);
    }
    for (t = 0; t < TOKENS; t++)
        for (k = t * PAIRS, i = t * K; i < t * K + K; i++)
            for (j = i + 1; j < t * K + K; j++) {
                double sum = 0, size = 0;

                for (n = 0; n < H; n++) {
                    double v0 = (double)element(&r, r.y, (size_t)i * H + n),
                           v1 = (double)element(&r, r.y, (size_t)j * H + n);

                    sum += v0 * v1;
                    size += fabs(v0 * v1);
                }
                sum *= in_gate ? 1 : (double)gate[i] * (double)gate[j];
                CHECK_NEAR(r.pairs[k], sum, 1e-6 * size, 1e-6);
                k++;
            }
    run_close(&r);
}

/* ---- divided otherwise ---- */

static void check_divided(enum precision p, bool in_gate)
{
    static const int pieces[][4] = {{0, 1, 63, TOKENS}, {0, 64, 65, TOKENS}, {0, 75, 140, TOKENS}};
    struct run all, r;
    size_t i;
    int k, v;

    if (!run_open(&all, p, 1))
        return;
    run_tokens(&all, in_gate, 0, TOKENS);
    for (i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run_open(&r, p, 1 + (int)i);
        for (k = 0; k < 3; k++)
            run_tokens(&r, in_gate, pieces[i][k], pieces[i][k + 1]);
        for (v = 0; v < EXPERT_SUMS; v++)
            CHECK_MSG(memcmp(r.sum[v], all.sum[v], EXPERTS * width(v) * sizeof(double)) == 0,
                      "%s depends on how tokens are divided", statistic_tensor(PAIR_SUMS + v)->name);
        CHECK(memcmp(r.pairs, all.pairs, sizeof r.pairs) == 0);
        run_close(&r);
    }
    run_close(&all);
}

/* ---- an expert that all tokens choose: only what goes into its down projection ---- */

static void check_shared(enum precision p)
{
    double all[I] = {0}, some[I] = {0}, want[I] = {0}, gated[I];
    double *const plain[EXPERT_SUMS] = {[SUM_INNER_SQUARE] = want, [SUM_INNER_GATED_SQUARE] = gated};
    struct expert_sums sums = {.sum = {[SUM_INNER_SQUARE] = all}};
    struct experts_args a;
    struct run r;
    int t, i;

    if (!run_open(&r, p, 2))
        return;
    a = (struct experts_args){.x = r.x,
                              .n = TOKENS,
                              .topk = 1,
                              .experts = 1,
                              .hidden = H,
                              .inter = I,
                              .gate_up = r.up,
                              .down = r.down,
                              .y = r.y,
                              .sums = &sums};
    CHECK_MSG(r.d->ops->experts(r.d, &a, &err) == 0, "%s", err.msg);
    sums.sum[SUM_INNER_SQUARE] = some;
    for (t = 0; t < TOKENS; t += a.n) {
        a.x = r.x + (size_t)t * H * r.d->elem_bytes;
        a.n = t ? TOKENS - t : 67;
        CHECK_MSG(r.d->ops->experts(r.d, &a, &err) == 0, "%s", err.msg);
    }
    CHECK_MSG(memcmp(all, some, sizeof all) == 0, "sums of a shared expert depend on how tokens are divided");
    for (t = 0; t < TOKENS; t++)
        add_inner(plain, 0, t, 1, 1);
    for (i = 0; i < I; i++)
        CHECK_NEAR(all[i], want[i], 0, r.d->bf16 ? 1e-2 : 1e-5);
    run_close(&r);
}

/* ---- what experts do to the hidden state ---- */

/* Of one token, in double: h before and what its experts add. */
static struct residual_view plain_view(const struct run *r, const uint8_t *h, int t, bool gated)
{
    double hh = 0, hn = 0, nn = 0;
    int i, k;

    for (i = 0; i < H; i++) {
        double v = (double)element(r, h, (size_t)(t * H + i)), n = v;

        for (k = 0; k < K; k++)
            n += (gated ? (double)gate[t * K + k] : 1) *
                 (double)element(r, r->y, (size_t)((t * K + k) * H + i));
        hh += v * v;
        hn += v * n;
        nn += n * n;
    }
    return (struct residual_view){(float)sqrt(hh), (float)(1 - hn / sqrt(hh * nn))};
}

/* far: what the experts add is as long as h, else a hundredth of it; the shared expert's part does not count.
 */
static void check_residual(enum precision p, bool gated, double far)
{
    struct residual_view seen[TOKENS + 1], want;
    struct combine_args a;
    struct run r;
    uint8_t *h;
    size_t n;
    int t, i;

    if (!run_open(&r, p, 2))
        return;
    n = TOKENS * H * r.d->elem_bytes;
    h = calloc(n + TILE_ROWS * H, 4);
    run_tokens(&r, false, 0, TOKENS);
    for (i = 0; i < TOKENS * H; i++) {
        float v = (float)(far * (double)(8 * noise() + element(&r, r.y, (size_t)i)));
        uint16_t half = f32_to_bf16(v);

        memcpy(h + (size_t)i * r.d->elem_bytes, r.d->bf16 ? (void *)&half : (void *)&v, r.d->elem_bytes);
    }
    memset(h, 0, H * r.d->elem_bytes); /* the first token has none */
    a = (struct combine_args){.y = r.y,
                              .gate = gated ? gate : NULL,
                              .n = TOKENS,
                              .topk = K,
                              .width = H,
                              .seen = seen,
                              .shared = r.x};
    a.h = memcpy(malloc(n), h, n);
    r.d->ops->combine(r.d, &a);
    CHECK(seen[0].norm == 0 && seen[0].turn == 1);
    for (t = 1; t < TOKENS; t++) {
        want = plain_view(&r, h, t, gated);
        CHECK_NEAR(seen[t].norm, want.norm, 0, 1e-6);
        CHECK_NEAR(seen[t].turn, want.turn, 1e-9, 1e-5);
    }
    free(a.h);
    free(h);
    run_close(&r);
}

/* ---- some slots, some channels ---- */

static struct experts_args experts_of(struct run *r, uint8_t *y)
{
    return (struct experts_args){.x = r->x,
                                 .chosen = chosen,
                                 .n = TOKENS,
                                 .topk = K,
                                 .experts = EXPERTS,
                                 .hidden = H,
                                 .inter = I,
                                 .gate_up = r->up,
                                 .down = r->down,
                                 .y = y};
}

static void check_slots(enum precision p)
{
    int32_t some[TOKENS * K];
    struct experts_args a;
    struct run r;
    uint8_t *y;
    size_t row;
    int i, wrong = 0;

    if (!run_open(&r, p, 2))
        return;
    row = H * r.d->elem_bytes;
    y = malloc((TOKENS * K + TILE_ROWS) * row);
    memset(y, 0x55, TOKENS * K * row);
    run_tokens(&r, false, 0, TOKENS);
    for (i = 0; i < TOKENS * K; i++)
        some[i] = i % 7 % 2 || chosen[i] == 2 ? chosen[i] : -1;
    a = experts_of(&r, y);
    a.chosen = some;
    CHECK_MSG(r.d->ops->experts(r.d, &a, &err) == 0, "%s", err.msg);
    for (i = 0; i < TOKENS * K; i++)
        wrong += some[i] < 0 ? y[(size_t)i * row] != 0x55 || y[((size_t)i + 1) * row - 1] != 0x55
                             : memcmp(y + (size_t)i * row, r.y + (size_t)i * row, row) != 0;
    CHECK_MSG(wrong == 0, "%d slots of some are not as among all, or were touched", wrong);
    for (i = 0; i < TOKENS * K; i++)
        some[i] = -1;
    CHECK_MSG(r.d->ops->experts(r.d, &a, &err) == 0, "%s", err.msg);
    free(y);
    run_close(&r);
}

/* A channel that is not there is one whose column of the down projection is zero, and it counts as nothing.
 */
static void check_channels(enum precision p)
{
    uint8_t channels[EXPERTS * I];
    struct run r, cut;
    struct experts_args a;
    struct expert_sums sums = {.gate = gate};
    int i, j, wrong = 0;

    if (!run_open(&r, p, 2))
        return;
    for (i = 0; i < EXPERTS * I; i++)
        channels[i] = i % 5 != 1 && (i / I != 3 || i % I < 7);
    a = experts_of(&r, r.y);
    a.channels = channels;
    a.sums = &sums;
    memcpy(sums.sum, r.sum, sizeof sums.sum);
    CHECK_MSG(r.d->ops->experts(r.d, &a, &err) == 0, "%s", err.msg);
    for (i = 0; i < EXPERTS * I; i++)
        for (j = 0; j < H && !channels[i]; j++)
            down[i / I][j * I + i % I] = 0;
    run_open(&cut, p, 1);
    a = experts_of(&cut, cut.y);
    CHECK_MSG(cut.d->ops->experts(cut.d, &a, &err) == 0, "%s", err.msg);
    CHECK(memcmp(r.y, cut.y, TOKENS * K * H * r.d->elem_bytes) == 0);
    for (i = 0; i < 4 * I; i++) /* expert 4 has no token */
        wrong += (r.sum[SUM_INNER_SQUARE][i] != 0) != channels[i];
    CHECK_MSG(wrong == 0, "%d sums of channels", wrong);
    run_close(&r);
    run_close(&cut);
    draw();
}

/* ---- routers ---- */

/* Some experts, the highest of whom are chosen but for one, which a bias may have kept out. */
static void check_view(int experts, int topk)
{
    enum { N = 70, MOST = 200 };
    static float z[N * MOST];
    static int32_t of[N * MOST];
    struct router_view view[N];
    struct device_options o = {.precision = PREC_F32, .threads = 2};
    struct device *d;
    int t, i, k;

    CHECK(cpu_backend.open(&d, &o, &err) == 0);
    for (i = 0; i < N * experts; i++)
        z[i] = 6 * noise();
    for (t = 0; t < N; t++)
        for (i = 0; i < topk; i++)
            of[t * topk + i] = topk == experts ? i : (i * 3 + t) % (experts / topk) + i * (experts / topk);
    d->ops->view(d, &(struct view_args){z, of, N, experts, topk, view});
    for (t = 0; t < N; t++) {
        double all = 0, entropy = 0, low = INFINITY, high = -INFINITY;
        int nearest = -1;

        for (i = 0; i < experts; i++)
            all += exp((double)z[t * experts + i]);
        for (i = k = 0; i < experts; i++) {
            double v = (double)z[t * experts + i], p = exp(v) / all;

            entropy -= p * log(p);
            if (k < topk && of[t * topk + k] == i) {
                low = fmin(low, v);
                k++;
            } else if (v > high) {
                high = v;
                nearest = i;
            }
        }
        CHECK_NEAR(view[t].entropy, entropy, 1e-5, 1e-5);
        CHECK_NEAR(view[t].margin, nearest < 0 ? 0 : low - high, 1e-6, 1e-6);
        CHECK(view[t].nearest == nearest);
    }
    d->ops->close(d);
}

int main(void)
{
    int in_gate;

    draw();
    for (in_gate = 0; in_gate < 2; in_gate++) {
        check_plain(PREC_F32, in_gate);
        check_plain(PREC_BF16, in_gate);
        check_divided(PREC_F32, in_gate);
        check_divided(PREC_BF16, in_gate);
    }
    for (in_gate = 0; in_gate < 2; in_gate++) {
        check_residual(PREC_F32, !in_gate, 1);
        check_residual(PREC_BF16, !in_gate, 1);
        check_residual(PREC_F32, !in_gate, 100);
    }
    check_shared(PREC_F32);
    check_shared(PREC_BF16);
    check_slots(PREC_F32);
    check_slots(PREC_BF16);
    check_channels(PREC_F32);
    check_channels(PREC_BF16);
    check_view(32, 4);
    check_view(60, 6);
    check_view(5, 1);
    check_view(200, 8);
    check_view(4, 4);
    CHECK_END();
}
