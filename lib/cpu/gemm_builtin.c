#ifdef MOE_BUILTIN
/*
 * Matrix products of our own (f32 only), where oneDNN is missing. Weights are packed in groups of COLUMNS
 * outputs, k-major, so that a product is a sum of outer products held in registers; K is cut so that a
 * group's share stays in the first-level cache while all rows pass. Every row goes through the same
 * instructions, which OpenBLAS does not promise: its rows differ in the last bits by their place in the tile.
 */
#include "cpu/gemm.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cpu/simd.h"

enum { COLUMNS = 64, K_STEP = 128 };

struct gemm_shape {
    int k, n;
    bool wide;
    struct gemm_shape *next;
};

struct gemm {
    struct gemm_shape *shapes;
};

void gemm_thread_start(void)
{
}

int gemm_open(struct gemm **out, enum precision p, int workers, struct err *e)
{
    (void)workers;
    *out = NULL;
    if (p == PREC_BF16)
        return err_set(
            e, ERR_DEVICE,
            "built without oneDNN, so there are no bf16 products: use --precision f32, or install oneDNN "
            "and build again");
    *out = mem_new(1, sizeof **out, e);
    return *out ? 0 : -1;
}

void gemm_close(struct gemm *g)
{
    struct gemm_shape *s, *next;

    if (!g)
        return;
    for (s = g->shapes; s; s = next) {
        next = s->next;
        free(s);
    }
    free(g);
}

const char *gemm_library(const struct gemm *g)
{
    (void)g;
    return have_wide() ? "builtin (AVX-512)" : "builtin";
}

bool gemm_is_bf16(const struct gemm *g)
{
    (void)g;
    return false;
}

bool gemm_parts(const struct gemm *g)
{
    (void)g;
    return false;
}

int gemm_shape(struct gemm *g, int k, int n, struct gemm_shape **out, struct err *e)
{
    struct gemm_shape *s;

    for (s = g->shapes; s; s = s->next)
        if (s->k == k && s->n == n) {
            *out = s;
            return 0;
        }
    s = mem_new(1, sizeof *s, e);
    if (!s)
        return -1;
    *s = (struct gemm_shape){k, n, have_wide(), g->shapes};
    g->shapes = s;
    *out = s;
    return 0;
}

static size_t groups(const struct gemm_shape *s)
{
    return ((size_t)s->n + COLUMNS - 1) / COLUMNS;
}

size_t gemm_packed_bytes(const struct gemm_shape *s)
{
    return groups(s) * COLUMNS * (size_t)s->k * sizeof(float);
}

size_t gemm_ld(int k)
{
    return (size_t)k;
}

int gemm_strip(const struct gemm_shape *s)
{
    return s->n;
}

int gemm_pack(struct gemm_shape *s, int worker, const void *rows, int from, int count, void *packed)
{
    const float *w = rows;
    float *out = packed;
    size_t g, k, j, n = (size_t)s->n, in = (size_t)s->k;

    (void)worker;
    (void)from;
    (void)count;
    for (g = 0; g < groups(s); g++)
        for (k = 0; k < in; k++)
            for (j = g * COLUMNS; j < (g + 1) * COLUMNS; j++)
                *out++ = j < n ? w[j * in + k] : 0;
    return 0;
}

/* cols: a multiple of LANES, columns of this group */
INLINE void group(const float *x, const float *w, int k, int cols, float *y, size_t ldy, const bool wide)
{
    int i, p, c;

    for (p = 0; p < k; p += c) {
        c = k - p < K_STEP ? k - p : K_STEP;
        for (i = 0; i < GEMM_ROWS; i += QUAD)
            v16_outer_row(x + (size_t)i * (size_t)k + p, (size_t)k, w + (size_t)p * COLUMNS, COLUMNS, c,
                          y + (size_t)i * ldy, ldy, cols, p > 0, wide);
    }
}

WIDE_CPU static void group_wide(const float *x, const float *w, int k, int cols, float *y, size_t ldy)
{
    group(x, w, k, cols, y, ldy, true);
}

HOT static void group_narrow(const float *x, const float *w, int k, int cols, float *y, size_t ldy)
{
    group(x, w, k, cols, y, ldy, false);
}

int gemm_run(struct gemm_shape *s, int worker, const void *x, const void *packed, struct gemm_part part,
             float *y)
{
    void (*run)(const float *, const float *, int, int, float *, size_t) =
        s->wide ? group_wide : group_narrow;
    size_t n = (size_t)s->n, whole = n / COLUMNS, rest = n % COLUMNS, g, i;
    const float *w = packed;

    (void)worker;
    (void)part;
    for (g = 0; g < whole; g++, w += COLUMNS * (size_t)s->k)
        run(x, w, s->k, COLUMNS, y + g * COLUMNS, n);
    if (rest % LANES == 0 && rest) {
        run(x, w, s->k, (int)rest, y + g * COLUMNS, n);
    } else if (rest) {
        float last[GEMM_ROWS * COLUMNS] = {0};

        run(x, w, s->k, (int)(rest / LANES + 1) * LANES, last, COLUMNS);
        for (i = 0; i < GEMM_ROWS; i++)
            memcpy(y + i * n + g * COLUMNS, last + i * COLUMNS, rest * sizeof *y);
    }
    return 0;
}

#else
typedef int moe_gemm_builtin_not_built;
#endif
