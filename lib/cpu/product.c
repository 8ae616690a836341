/*
 * product.c -- products for any instruction set. Weights are packed in groups of COLUMNS outputs, k-major, so
 * that a product is a sum of outer products held in registers; K is cut so that a group's share stays in the
 * first-level cache while all rows pass. Every row goes through the same instructions, which OpenBLAS does
 * not promise: its rows differ in the last bits by their place in the tile. bf16 becomes f32 a share at a
 * time.
 */
#include "cpu/product.h"

#include "cpu/simd.h"
#include "quant/bf16.h"

enum { COLUMNS = 64, K_STEP = 128 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* ---- packing ---- */

static size_t elements(int k, int n)
{
    return ((size_t)n + COLUMNS - 1) / COLUMNS * COLUMNS * (size_t)k;
}

static size_t bytes_f32(int k, int n)
{
    return elements(k, n) * sizeof(float);
}

static size_t bytes_bf16(int k, int n)
{
    return elements(k, n) * sizeof(uint16_t);
}

#define PACK(name, type)                                                                                     \
    static void name(int k, int n, const void *rows, size_t ld, void *packed)                                \
    {                                                                                                        \
        const type *w = rows;                                                                                \
        type *out = packed;                                                                                  \
        int g, p, j;                                                                                         \
                                                                                                             \
        for (g = 0; g < n; g += COLUMNS)                                                                     \
            for (p = 0; p < k; p++)                                                                          \
                for (j = g; j < g + COLUMNS; j++)                                                            \
                    *out++ = j < n ? w[(size_t)j * ld + (size_t)p] : 0;                                      \
    }
PACK(pack_f32, float)
PACK(pack_bf16, uint16_t)

/* ---- the product ---- */

/* cols columns, a multiple of LANES, of y [rows][ldy], rows a multiple of QUAD: inputs p .. p+c-1 are added.
 */
INLINE void share(const float *x, size_t ldx, const float *w, int c, int rows, int cols, float *y, size_t ldy,
                  bool add)
{
    int i;

    for (i = 0; i < rows; i += QUAD)
        outer_row(x + (size_t)i * ldx, ldx, w, COLUMNS, c, y + (size_t)i * ldy, ldy, cols, add);
}

/* One group: w [k][COLUMNS]. */
static void group_f32(const float *x, int k, const float *w, struct gemm_part part, int cols, float *y,
                      size_t ldy)
{
    int p;

    for (p = 0; p < part.k; p += K_STEP)
        share(x + p, (size_t)k, w + (size_t)p * COLUMNS, least(K_STEP, part.k - p), part.rows, cols, y, ldy,
              p > 0);
}

static void group_bf16(const uint16_t *x, int k, const uint16_t *w, struct gemm_part part, int cols, float *y,
                       size_t ldy)
{
    float xs[GEMM_ROWS * K_STEP], ws[K_STEP * COLUMNS];
    int p, i;

    for (p = 0; p < part.k; p += K_STEP) {
        int c = least(K_STEP, part.k - p);

        for (i = 0; i < part.rows; i++)
            bf16_to_f32_n(x + (size_t)i * (size_t)k + p, xs + i * K_STEP, (size_t)c);
        bf16_to_f32_n(w + (size_t)p * COLUMNS, ws, (size_t)c * COLUMNS);
        share(xs, K_STEP, ws, c, part.rows, cols, y, ldy, p > 0);
    }
}

INLINE void run(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y,
                const bool bf16)
{
    float edge[GEMM_ROWS * COLUMNS];
    int g, i;

    part.rows = (part.rows + QUAD - 1) / QUAD * QUAD;
    for (g = 0; g < part.n; g += COLUMNS) {
        int w = least(COLUMNS, n - g), cols = (w + LANES - 1) / LANES * LANES;
        float *to = w == cols ? y + g : edge;
        size_t ld = w == cols ? (size_t)n : COLUMNS, at = (size_t)g * (size_t)k;

        if (bf16)
            group_bf16(x, k, (const uint16_t *)packed + at, part, cols, to, ld);
        else
            group_f32(x, k, (const float *)packed + at, part, cols, to, ld);
        for (i = 0; w < cols && i < part.rows; i++)
            memcpy(y + (size_t)i * (size_t)n + g, edge + i * COLUMNS, (size_t)w * sizeof *y);
    }
}

static void run_f32(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y)
{
    run(k, n, x, packed, part, y, false);
}

static void run_bf16(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y)
{
    run(k, n, x, packed, part, y, true);
}

extern const struct product cpu_f32, cpu_bf16;
const struct product cpu_f32 = {COLUMNS, bytes_f32, pack_f32, run_f32};
const struct product cpu_bf16 = {COLUMNS, bytes_bf16, pack_bf16, run_bf16};
