/*
 * cpu_experts.c -- the routed experts: the tokens of each expert are gathered, go through gate and up, the
 * activation and down in blocks of rows, and each result is put where its token and rank say.
 */
#include "cpu/cpu.h"

#include <math.h>

#include "cpu/simd.h"

/* AHEAD: rows that are on their way while one is copied */
enum { ROWS_MAX = 4 * GEMM_ROWS, AHEAD = 2, CACHE_LINE = 64 };

struct experts {
    struct cpu *c;
    const struct experts_args *a;
    const int32_t *slot;                   /* token * topk + rank, grouped by expert, ascending within */
    const int32_t *from;                   /* [experts + 1] into slot */
    const int32_t *task_expert, *task_row; /* [tasks] */
    int rows;                              /* of a task at most */
};

/* silu(g) * u, or GPT-OSS's clamped (u + 1) * g * sigmoid(1.702 g). */
INLINE v16 activate(v16 g, v16 u, enum act_kind act, float limit, const bool fast)
{
    const float log2_e = 1.44269504f;

    if (act == ACT_SILU_GLU)
        return g / (1.0f + (fast ? fast_exp2(g * -log2_e) : v16_exp(-g))) * u;
    g = v16_select(g > limit, v16_all(limit), g);
    u = v16_select(u > limit, v16_all(limit), u);
    u = v16_select(u < -limit, v16_all(-limit), u);
    return (u + 1.0f) * (g / (1.0f + (fast ? fast_exp2(g * (-1.702f * log2_e)) : v16_exp(g * -1.702f))));
}

/* A tile y [n][2 * half] of gate and up columns to columns `to` .. of act [n][inter]. bias: gate [inter],
 * then up [inter], or NULL. */
INLINE void activate_tile(const float *y, int n, int half, int to, const float *bias,
                          const struct experts_args *a, void *act, const enum elem bf16)
{
    int r, i;

    for (r = 0; r < n; r++, y += 2 * half)
        for (i = 0; i < half; i += LANES) {
            int l = lanes_at(i, half);
            v16 g = elem_load(y, (size_t)i, l, F32), u = elem_load(y + half, (size_t)i, l, F32);

            if (bias) {
                g += elem_load(bias, (size_t)(to + i), l, F32);
                u += elem_load(bias, (size_t)(a->inter + to + i), l, F32);
            }
            elem_store(act, (size_t)r * (size_t)a->inter + (size_t)(to + i),
                       activate(g, u, a->act, a->limit, bf16 == FAST), l, bf16);
        }
}

static void activate_bf16(const float *y, int n, int half, int to, const float *bias,
                          const struct experts_args *a, void *act)
{
    activate_tile(y, n, half, to, bias, a, act, HALF);
}

static void activate_f32(const float *y, int n, int half, int to, const float *bias,
                         const struct experts_args *a, void *act)
{
    activate_tile(y, n, half, to, bias, a, act, F32);
}

/* Rows of a tile y [n][w] plus bias to columns `to` .. of their slots; sums of squares and largest magnitudes
 * are carried on in sum and max [n] (v16 each). */
INLINE void scatter_tile(const float *y, int n, int w, int to, const float *bias,
                         const struct experts_args *a, const int32_t *slot, float *sum, float *max,
                         const enum elem bf16)
{
    int r, i;

    for (r = 0; r < n; r++, y += w, sum += LANES, max += LANES) {
        size_t out = (size_t)slot[r] * (size_t)a->hidden + (size_t)to;
        v16 s = v16_load(sum), m = v16_load(max);

        for (i = 0; i < w; i += LANES) {
            int l = lanes_at(i, w);
            v16 v = elem_load(y, (size_t)i, l, F32);

            if (bias)
                v += elem_load(bias, (size_t)(to + i), l, F32);
            s += v * v;
            m = bf16 == FAST ? fast_max(m, v16_abs(v)) : v16_max(m, v16_abs(v));
            elem_store(a->y, out + (size_t)i, v, l, bf16);
        }
        v16_store(sum, s);
        v16_store(max, m);
    }
}

static void scatter_bf16(const float *y, int n, int w, int to, const float *bias,
                         const struct experts_args *a, const int32_t *slot, float *sum, float *max)
{
    scatter_tile(y, n, w, to, bias, a, slot, sum, max, HALF);
}

static void scatter_f32(const float *y, int n, int w, int to, const float *bias, const struct experts_args *a,
                        const int32_t *slot, float *sum, float *max)
{
    scatter_tile(y, n, w, to, bias, a, slot, sum, max, F32);
}

static void finish(const struct experts_args *a, const int32_t *slot, int n, const float *sum,
                   const float *max)
{
    int r;

    for (r = 0; r < n && a->norm; r++) {
        float g = a->in_gate ? a->in_gate[slot[r]] : 1;

        a->norm[slot[r]] = g != 0 ? sqrtf(v16_sum(v16_load(sum + r * LANES))) / g : 0;
        a->max[slot[r]] = g != 0 ? v16_highest(v16_load(max + r * LANES)) / g : 0;
    }
}

/* The memory of one task. */
struct space {
    uint8_t *x, *act;        /* elements [rows][hidden], [rows][inter] */
    float *tile, *sum, *max; /* [GEMM_ROWS][panel], [rows][LANES] twice */
    size_t bytes;
};

static struct space layout(const struct experts *s, uint8_t *base)
{
    const struct experts_args *a = s->a;
    size_t elem = s->c->dev.elem_bytes, rows = (size_t)s->rows;
    int wide = a->gate_up[0]->width > a->down[0]->width ? a->gate_up[0]->width : a->down[0]->width;
    size_t x = round_up(rows * (size_t)a->hidden * elem, 64),
           act = round_up(rows * (size_t)a->inter * elem, 64);
    size_t tile = (size_t)GEMM_ROWS * (size_t)wide * sizeof(float), lanes = rows * LANES * sizeof(float);
    struct space p = {.bytes = x + act + tile + 2 * lanes};

    if (base) {
        p.x = base;
        p.act = base + x;
        p.tile = (float *)(void *)(base + x + act);
        p.sum = (float *)(void *)(base + x + act + tile);
        p.max = (float *)(void *)(base + x + act + tile + lanes);
    }
    return p;
}

static void gate_up(const struct experts *s, const struct space *p, int expert, int n, int worker)
{
    const struct experts_args *a = s->a;
    const struct matrix *m = a->gate_up[expert];
    const float *bias = a->b_gate_up ? a->b_gate_up + (size_t)expert * 2 * (size_t)a->inter : NULL;
    size_t elem = s->c->dev.elem_bytes;
    int panel, r;

    for (panel = 0; panel < m->panels; panel++)
        for (r = 0; r < n; r += GEMM_ROWS) {
            int rows = n - r < GEMM_ROWS ? n - r : GEMM_ROWS;

            panel_run(s->c, m, panel, worker, p->x + (size_t)r * (size_t)a->hidden * elem, rows, p->tile);
            (s->c->dev.bf16 ? activate_bf16 : activate_f32)(p->tile, rows, panel_width(m, panel) / 2,
                                                            panel * (m->width / 2), bias, a,
                                                            p->act + (size_t)r * (size_t)a->inter * elem);
        }
}

static void down(const struct experts *s, const struct space *p, int expert, const int32_t *slot, int n,
                 int worker)
{
    const struct experts_args *a = s->a;
    const struct matrix *m = a->down[expert];
    const float *bias = a->b_down ? a->b_down + (size_t)expert * (size_t)a->hidden : NULL;
    size_t elem = s->c->dev.elem_bytes;
    int panel, r;

    memset(p->sum, 0, (size_t)n * LANES * sizeof(float));
    memset(p->max, 0, (size_t)n * LANES * sizeof(float));
    for (panel = 0; panel < m->panels; panel++)
        for (r = 0; r < n; r += GEMM_ROWS) {
            int rows = n - r < GEMM_ROWS ? n - r : GEMM_ROWS;

            panel_run(s->c, m, panel, worker, p->act + (size_t)r * (size_t)a->inter * elem, rows, p->tile);
            (s->c->dev.bf16 ? scatter_bf16
                            : scatter_f32)(p->tile, rows, panel_width(m, panel), panel * m->width, bias, a,
                                           slot + r, p->sum + (size_t)r * LANES, p->max + (size_t)r * LANES);
        }
    finish(a, slot, n, p->sum, p->max);
}

/* A row of x times a gate, rounded to the element type. */
INLINE void scale_row(const void *x, size_t at, int n, float gate, void *dst, size_t to, bool bf16)
{
    int i;

    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n);

        elem_store(dst, to + (size_t)i, elem_load(x, at + (size_t)i, l, bf16) * gate, l, bf16);
    }
}

/* The rows of x that the slots stand for. */
static void gather(const struct experts *s, const int32_t *slot, int n, uint8_t *x)
{
    const struct experts_args *a = s->a;
    size_t width = (size_t)a->hidden, row = width * s->c->dev.elem_bytes;
    int i;

    for (i = 0; i < n; i++) {
        size_t t = (size_t)(slot[i] / a->topk), b;

        for (b = 0; i + AHEAD < n && b < row; b += CACHE_LINE)
            __builtin_prefetch((const uint8_t *)a->x + (size_t)(slot[i + AHEAD] / a->topk) * row + b);
        if (!a->in_gate)
            memcpy(x + (size_t)i * row, (const uint8_t *)a->x + t * row, row);
        else if (s->c->dev.bf16)
            scale_row(a->x, t * width, a->hidden, a->in_gate[slot[i]], x, (size_t)i * width, true);
        else
            scale_row(a->x, t * width, a->hidden, a->in_gate[slot[i]], x, (size_t)i * width, false);
    }
}

/* Channels that are not there, of rows of activations. */
static void silence(const struct experts_args *a, const uint8_t *channels, uint8_t *act, int n, size_t elem)
{
    int r, i;

    for (r = 0; r < n; r++, act += (size_t)a->inter * elem)
        for (i = 0; i < a->inter; i++)
            if (!channels[i])
                memset(act + (size_t)i * elem, 0, elem);
}

static void experts_task(void *ctx, long task, int worker)
{
    const struct experts *s = ctx;
    int expert = s->task_expert[task], first = s->from[expert] + s->task_row[task];
    int n = s->from[expert + 1] - first < s->rows ? s->from[expert + 1] - first : s->rows;
    struct space p = layout(s, s->c->scratch[worker]);
    const int32_t *slot = s->slot + first;

    gather(s, slot, n, p.x);
    gate_up(s, &p, expert, n, worker);
    if (s->a->channels)
        silence(s->a, s->a->channels + (size_t)expert * (size_t)s->a->inter, p.act, n, s->c->dev.elem_bytes);
    if (s->a->sums) {
        size_t row = (size_t)s->a->inter * s->c->dev.elem_bytes;

        memcpy(s->c->acts + (size_t)first * row, p.act, (size_t)n * row);
    }
    down(s, &p, expert, slot, n, worker);
}

static int expert_of(const struct experts_args *a, int64_t slot)
{
    return a->chosen ? a->chosen[slot] : 0;
}

/* Sorts the slots by expert (counting sort, so tokens stay ascending) and cuts each expert's into tasks. */
static long make_tasks(struct experts *s, int32_t *mem, int64_t slots)
{
    const struct experts_args *a = s->a;
    int32_t *slot = mem, *from = slot + slots, *next = from + a->experts + 1,
            *task_expert = next + a->experts;
    int32_t *task_row = task_expert + slots / s->rows + a->experts;
    long tasks = 0;
    int64_t i;
    int j, r;

    memset(from, 0, (size_t)(a->experts + 1) * sizeof *from);
    for (i = 0; i < slots; i++)
        if (expert_of(a, i) >= 0)
            from[expert_of(a, i) + 1]++;
    for (j = 0; j < a->experts; j++) {
        from[j + 1] += from[j];
        next[j] = from[j];
        for (r = 0; r < from[j + 1] - from[j]; r += s->rows, tasks++) {
            task_expert[tasks] = j;
            task_row[tasks] = r;
        }
    }
    for (i = 0; i < slots; i++)
        if (expert_of(a, i) >= 0)
            slot[next[expert_of(a, i)]++] = (int32_t)i;
    s->slot = slot;
    s->from = from;
    s->task_expert = task_expert;
    s->task_row = task_row;
    return tasks;
}

int cpu_experts(struct device *d, const struct experts_args *a, struct err *e)
{
    struct cpu *c = cpu_of(d);
    struct experts s = {.c = c, .a = a, .rows = ROWS_MAX};
    int64_t slots = a->n * a->topk;

    /* smaller blocks when there are too few to share out; how rows are grouped changes no result */
    while (s.rows > GEMM_ROWS && slots / s.rows < 2 * d->threads)
        s.rows -= GEMM_ROWS;
    if (cpu_room(&c->lists, &c->lists_bytes,
                 (size_t)(slots + 2 * (slots / s.rows) + 4 * a->experts + 1) * sizeof *c->lists, e) ||
        cpu_scratch(c, layout(&s, NULL).bytes, e) ||
        (a->sums && cpu_room(&c->acts, &c->acts_bytes, (size_t)slots * (size_t)a->inter * d->elem_bytes, e)))
        return -1;
    pool_run(c->pool, make_tasks(&s, c->lists, slots), experts_task, &s);
    if (a->sums)
        cpu_sums(c, a, s.slot, s.from, c->acts);
    return 0;
}
