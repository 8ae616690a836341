/* Sums over what an expert's tokens put in and got out, and inner products of a token's results. */
#include "engine/cpu.h"

#include "engine/simd.h"

enum { COLUMNS = 256, TASK_TOKENS = 32 }; /* sums that stay in the first cache */

typedef float v8 __attribute__((vector_size(32)));
typedef double d8 __attribute__((vector_size(64)));
typedef double d8_mem __attribute__((vector_size(64), aligned(8), may_alias));

struct sums {
    const struct experts_args *a;
    const int32_t *slot, *from;
    const void *act;
    bool bf16;
    int blocks, inner_blocks; /* of COLUMNS columns */
};

/* sum += a * b in the first n lanes. */
INLINE void add_product(double *sum, v16 a, v16 b, int n)
{
    d8 lo = __builtin_convertvector((v8)__builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7), d8) *
            __builtin_convertvector((v8)__builtin_shufflevector(b, b, 0, 1, 2, 3, 4, 5, 6, 7), d8);
    d8 hi = __builtin_convertvector((v8)__builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15), d8) *
            __builtin_convertvector((v8)__builtin_shufflevector(b, b, 8, 9, 10, 11, 12, 13, 14, 15), d8);
    int i;

    if (n == LANES) {
        *(d8_mem *)sum += lo;
        *(d8_mem *)(sum + 8) += hi;
        return;
    }
    for (i = 0; i < n; i++)
        sum[i] += i < 8 ? lo[i] : hi[i - 8];
}

/* Columns from .. to-1 of the outputs and inputs of one expert. */
INLINE void add_outputs(const struct sums *s, int expert, int from, int to, bool bf16)
{
    const struct experts_args *a = s->a;
    size_t width = (size_t)a->hidden, row = (size_t)expert * width;
    double *const *sum = a->sums->sum;
    const v16 one = v16_all(1);
    int r, i;

    for (r = s->from[expert]; r < s->from[expert + 1]; r++) {
        size_t slot = (size_t)s->slot[r], token = slot / (size_t)a->topk;
        float g = a->sums->gate[slot];
        v16 gate = v16_all(g), inverse = v16_all(g != 0 ? 1 / g : 0);

        for (i = from; i < to; i += LANES) {
            int l = lanes_at(i, to);
            size_t at = row + (size_t)i;
            v16 y = elem_load(a->y, slot * width + (size_t)i, l, bf16);
            v16 x = elem_load(a->x, token * width + (size_t)i, l, bf16);

            if (a->in_gate) { /* y is gated already */
                add_product(sum[V_OUTPUT_GATED] + at, y, one, l);
                y *= inverse;
                x *= gate;
            } else {
                add_product(sum[V_OUTPUT_GATED] + at, y, gate, l);
            }
            add_product(sum[V_OUTPUT] + at, y, one, l);
            add_product(sum[V_OUTPUT_SQUARE] + at, y, y, l);
            add_product(sum[V_INPUT_SQUARE] + at, x, x, l);
        }
    }
}

INLINE void add_inner(const struct sums *s, int expert, int from, int to, bool bf16)
{
    size_t width = (size_t)s->a->inter, row = (size_t)expert * width;
    double *sum = s->a->sums->sum[V_INNER_SQUARE];
    int r, i;

    for (r = s->from[expert]; r < s->from[expert + 1]; r++)
        for (i = from; i < to; i += LANES) {
            int l = lanes_at(i, to);
            v16 h = elem_load(s->act, (size_t)r * width + (size_t)i, l, bf16);

            add_product(sum + row + (size_t)i, h, h, l);
        }
}

INLINE void add_columns(const struct sums *s, long task, bool bf16)
{
    int expert = (int)(task / (s->blocks + s->inner_blocks));
    int block = (int)(task % (s->blocks + s->inner_blocks));
    bool inner = block >= s->blocks;
    int width = inner ? s->a->inter : s->a->hidden;
    int from = (inner ? block - s->blocks : block) * COLUMNS;
    int to = width - from < COLUMNS ? width : from + COLUMNS;

    if (inner)
        add_inner(s, expert, from, to, bf16);
    else
        add_outputs(s, expert, from, to, bf16);
}

HOT static void columns_bf16(const struct sums *s, long task)
{
    add_columns(s, task, true);
}

HOT static void columns_f32(const struct sums *s, long task)
{
    add_columns(s, task, false);
}

static void sums_task(void *ctx, long task, int worker)
{
    const struct sums *s = ctx;

    (void)worker;
    (s->bf16 ? columns_bf16 : columns_f32)(s, task);
}

void cpu_sums(struct cpu *c, const struct experts_args *a, const int32_t *slot, const int32_t *from,
              const void *act)
{
    struct sums s = {.a = a,
                     .slot = slot,
                     .from = from,
                     .act = act,
                     .bf16 = c->dev.bf16,
                     .blocks = (a->hidden + COLUMNS - 1) / COLUMNS,
                     .inner_blocks = (a->inter + COLUMNS - 1) / COLUMNS};

    pool_run(c->pool, (long)a->experts * (s.blocks + s.inner_blocks), sums_task, &s);
}

/* ---- pairs ---- */

struct pairs {
    const struct pairs_args *a;
    bool bf16;
};

INLINE float inner_product(const void *y, size_t at, size_t other, int n, bool bf16)
{
    v16 sum = v16_all(0);
    int i;

    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n);

        sum += elem_load(y, at + (size_t)i, l, bf16) * elem_load(y, other + (size_t)i, l, bf16);
    }
    return v16_sum(sum);
}

INLINE void pairs_of(const struct pairs_args *a, int64_t from, int64_t to, bool bf16)
{
    size_t k = (size_t)a->topk, width = (size_t)a->width, i, j;
    float *out = a->out + (size_t)from * (k * (k - 1) / 2);
    int64_t t;

    for (t = from; t < to; t++) {
        size_t first = (size_t)t * k;

        for (i = 0; i < k; i++)
            for (j = i + 1; j < k; j++) {
                float y = inner_product(a->y, (first + i) * width, (first + j) * width, a->width, bf16);

                *out++ = a->gate ? a->gate[first + i] * a->gate[first + j] * y : y;
            }
    }
}

HOT static void pairs_bf16(const struct pairs_args *a, int64_t from, int64_t to)
{
    pairs_of(a, from, to, true);
}

HOT static void pairs_f32(const struct pairs_args *a, int64_t from, int64_t to)
{
    pairs_of(a, from, to, false);
}

static void pairs_task(void *ctx, long task, int worker)
{
    const struct pairs *p = ctx;
    int64_t from = (int64_t)task * TASK_TOKENS;

    (void)worker;
    (p->bf16 ? pairs_bf16 : pairs_f32)(p->a, from,
                                       from + TASK_TOKENS < p->a->n ? from + TASK_TOKENS : p->a->n);
}

void cpu_pairs(struct device *d, const struct pairs_args *a)
{
    struct pairs p = {a, d->bf16};

    pool_run(cpu_of(d)->pool, (long)((a->n + TASK_TOKENS - 1) / TASK_TOKENS), pairs_task, &p);
}
