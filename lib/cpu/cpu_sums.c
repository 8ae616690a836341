/*
 * cpu_sums.c -- sums over what an expert's tokens put in and got out, and inner products of a token's
 * results.
 */
#include "cpu/cpu.h"

#include "cpu/simd.h"

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

/* STRIP columns of a sum, in registers while the rows of an expert pass. */
enum { STRIP = 2 * LANES, PARTS = STRIP / 8, ROWS = 32 };
struct strip {
    d8 part[PARTS];
};

/* The first n columns; those past them are zero, or not stored. */
INLINE struct strip strip_load(const double *sum, int n)
{
    double some[STRIP] = {0};
    struct strip s;
    int q;

    if (n < STRIP) {
        memcpy(some, sum, (size_t)n * sizeof *some);
        sum = some;
    }
    for (q = 0; q < PARTS; q++)
        s.part[q] = *(const d8_mem *)(sum + 8 * q);
    return s;
}

INLINE void strip_store(double *sum, const struct strip *s, int n)
{
    double some[STRIP], *to = n < STRIP ? some : sum;
    int q;

    for (q = 0; q < PARTS; q++)
        *(d8_mem *)(to + 8 * q) = s->part[q];
    if (n < STRIP)
        memcpy(sum, some, (size_t)n * sizeof *some);
}

/* s += a * b in the half of the strip that begins with part `at`. */
INLINE void add_product(struct strip *s, int at, v16 a, v16 b)
{
    s->part[at] += __builtin_convertvector((v8)__builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7), d8) *
                   __builtin_convertvector((v8)__builtin_shufflevector(b, b, 0, 1, 2, 3, 4, 5, 6, 7), d8);
    s->part[at + 1] +=
        __builtin_convertvector((v8)__builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15), d8) *
        __builtin_convertvector((v8)__builtin_shufflevector(b, b, 8, 9, 10, 11, 12, 13, 14, 15), d8);
}

/* Some rows of one expert: where their results and inputs begin, and those of the rows ROWS later. */
struct block {
    int n;
    size_t y[ROWS], x[ROWS], next_y[ROWS], next_x[ROWS];
    float gate[ROWS];
};

INLINE void block_of(struct block *b, const struct sums *s, int r, int end, int last)
{
    const struct experts_args *a = s->a;
    size_t width = (size_t)a->hidden;
    int i;

    b->n = end - r;
    for (i = 0; i < b->n; i++) {
        uint32_t slot = (uint32_t)s->slot[r + i];
        uint32_t next = (uint32_t)s->slot[r + i + ROWS < last ? r + i + ROWS : last];

        b->y[i] = slot * width;
        b->x[i] = slot / (uint32_t)a->topk * width;
        b->next_y[i] = next * width;
        b->next_x[i] = next / (uint32_t)a->topk * width;
        b->gate[i] = a->sums->gate[slot];
    }
}

/* LANES columns from column i on of an input and an output, l of them within the row. */
INLINE void add_row(struct strip *sum, int at, const struct experts_args *a, const struct block *b, int r,
                    int i, int l, bool bf16)
{
    v16 y = elem_load(a->y, b->y[r] + (size_t)i, l, bf16);
    v16 x = elem_load(a->x, b->x[r] + (size_t)i, l, bf16);
    const v16 one = v16_all(1);
    float g = b->gate[r];

    if (a->in_gate) { /* y is gated already */
        add_product(&sum[SUM_OUTPUT_GATED], at, y, one);
        y *= v16_all(g != 0 ? 1 / g : 0);
        x *= v16_all(g);
    } else {
        add_product(&sum[SUM_OUTPUT_GATED], at, y, v16_all(g));
    }
    add_product(&sum[SUM_OUTPUT], at, y, one);
    add_product(&sum[SUM_OUTPUT_SQUARE], at, y, y);
    add_product(&sum[SUM_INPUT_SQUARE], at, x, x);
}

/* Columns from .. to-1 of the outputs and inputs of a block. */
INLINE void add_outputs(const struct sums *s, int expert, const struct block *b, int from, int to, bool bf16)
{
    const struct experts_args *a = s->a;
    struct strip sum[SUM_INPUT_SQUARE + 1];
    size_t elem = bf16 ? 2 : 4;
    int r, i, v;

    for (i = from; i < to; i += STRIP) {
        size_t at = (size_t)expert * (size_t)a->hidden + (size_t)i;
        int n = to - i < STRIP ? to - i : STRIP;

        for (v = 0; v <= SUM_INPUT_SQUARE; v++)
            sum[v] = strip_load(a->sums->sum[v] + at, n);
        for (r = 0; r < b->n; r++) { /* rows are far from each other: the block after this one is fetched */
            __builtin_prefetch((const uint8_t *)a->y + (b->next_y[r] + (size_t)i) * elem);
            __builtin_prefetch((const uint8_t *)a->x + (b->next_x[r] + (size_t)i) * elem);
            add_row(sum, 0, a, b, r, i, lanes_at(0, n), bf16);
            if (n > LANES)
                add_row(sum, PARTS / 2, a, b, r, i + LANES, lanes_at(LANES, n), bf16);
        }
        for (v = 0; v <= SUM_INPUT_SQUARE; v++)
            strip_store(a->sums->sum[v] + at, &sum[v], n);
    }
}

/* s += (g h)^2 in the half of the strip that begins with part `at`; g h is exact in f64. */
INLINE void add_gated_square(struct strip *s, int at, v16 h, double g)
{
    d8 low = g * __builtin_convertvector((v8)__builtin_shufflevector(h, h, 0, 1, 2, 3, 4, 5, 6, 7), d8);
    d8 high =
        g * __builtin_convertvector((v8)__builtin_shufflevector(h, h, 8, 9, 10, 11, 12, 13, 14, 15), d8);

    s->part[at] += low * low;
    s->part[at + 1] += high * high;
}

/* Columns from .. to-1 of the activations of an expert's rows r0 .. end-1, in sorted order. */
INLINE void add_inner(const struct sums *s, int expert, int r0, int end, int from, int to, bool bf16,
                      const bool gated)
{
    const struct experts_args *a = s->a;
    size_t width = (size_t)a->inter;
    int r, i, half;

    for (i = from; i < to; i += STRIP) {
        size_t at = (size_t)expert * width + (size_t)i;
        int n = to - i < STRIP ? to - i : STRIP;
        struct strip sum = strip_load(a->sums->sum[SUM_INNER_SQUARE] + at, n), weighed = {0};

        if (gated)
            weighed = strip_load(a->sums->sum[SUM_INNER_GATED_SQUARE] + at, n);
        for (r = r0; r < end; r++) {
            double g = gated && !a->in_gate ? (double)a->sums->gate[s->slot[r]] : 1;

            for (half = 0; half * LANES < n; half++) {
                v16 h = elem_load(s->act, (size_t)r * width + (size_t)(i + half * LANES),
                                  lanes_at(half * LANES, n), bf16);

                add_product(&sum, half * PARTS / 2, h, h);
                if (gated)
                    add_gated_square(&weighed, half * PARTS / 2, h, g);
            }
        }
        strip_store(a->sums->sum[SUM_INNER_SQUARE] + at, &sum, n);
        if (gated)
            strip_store(a->sums->sum[SUM_INNER_GATED_SQUARE] + at, &weighed, n);
    }
}

INLINE void add_columns(const struct sums *s, long task, bool bf16)
{
    int expert = (int)(task / (s->blocks + s->inner_blocks));
    int block = (int)(task % (s->blocks + s->inner_blocks));
    bool inner = block >= s->blocks;
    int width = inner ? s->a->inter : s->a->hidden;
    int from = (inner ? block - s->blocks : block) * COLUMNS;
    int to = width - from < COLUMNS ? width : from + COLUMNS, last = s->from[expert + 1], r, end;
    struct block rows;

    for (r = s->from[expert]; r < last; r = end) {
        end = last - r < ROWS ? last : r + ROWS;
        if (inner && s->a->sums->sum[SUM_INNER_GATED_SQUARE]) {
            add_inner(s, expert, r, end, from, to, bf16, true);
        } else if (inner) {
            add_inner(s, expert, r, end, from, to, bf16, false);
        } else {
            block_of(&rows, s, r, end, last - 1);
            add_outputs(s, expert, &rows, from, to, bf16);
        }
    }
}

static void columns_bf16(const struct sums *s, long task)
{
    add_columns(s, task, true);
}

static void columns_f32(const struct sums *s, long task)
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
                     .blocks = a->sums->sum[SUM_OUTPUT] ? (a->hidden + COLUMNS - 1) / COLUMNS : 0,
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

static void pairs_bf16(const struct pairs_args *a, int64_t from, int64_t to)
{
    pairs_of(a, from, to, true);
}

static void pairs_f32(const struct pairs_args *a, int64_t from, int64_t to)
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
