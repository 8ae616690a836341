/*
 * product_bf16.c -- products of bf16 by x86's own instructions: W packed in tiles of 32 inputs by 16 outputs.
 *
 * A tile register (AMX) holds 16 rows of 64 bytes. Four of them collect 32 x 32 sums, two hold 32 rows of x
 * and two 32 columns of W, 32 inputs deep. Without tiles, a register (AVX-512) collects the sums of a row and
 * 16 columns, from the same packed W. The order of a sum is that of the inputs, whatever the number of rows.
 *
 * The Makefile compiles it with those instructions, for x86 only. tests/test_gemm.c includes it with the tile
 * instructions emulated, for machines that lack them.
 */
#include "cpu/product.h"

#include <string.h>

#ifdef EMULATED_TILES
#include EMULATED_TILES
#else
#include <immintrin.h>
#endif

#include "cpu/simd.h"

enum {
    SIDE = 16,
    BLOCK = 2 * SIDE,
    OCT = 8,
    DEPTH = 32,
    ROW_BYTES = DEPTH * 2,
    TILE_BYTES = SIDE * ROW_BYTES
};

static int tiles(int n, int of)
{
    return (n + of - 1) / of;
}

static size_t bytes_blocks(int k, int n)
{
    return (size_t)tiles(k, DEPTH) * (size_t)tiles(n, SIDE) * TILE_BYTES;
}

/* ---- packing ---- */

/* 16 x 16 pairs turned over. */
INLINE void turn(v16u v[SIDE])
{
#define PAIRS(s, lo, hi)                                                                                     \
    for (i = 0; i < SIDE; i++)                                                                               \
        if (!(i & (s))) {                                                                                    \
            v16u a = v[i], b = v[i + (s)];                                                                   \
                                                                                                             \
            v[i] = lo;                                                                                       \
            v[i + (s)] = hi;                                                                                 \
        }
    int i;

    PAIRS(8, __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
          __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    PAIRS(4, __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
          __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    PAIRS(2, __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
          __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    PAIRS(1, __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
          __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef PAIRS
}

/* Blocks of 32 columns (the last may have 16), in each the tiles of all inputs, side by side. */
static void pack_blocks(int k, int n, const void *from, size_t ld, void *to)
{
    const uint16_t *rows = from;
    uint8_t *packed = to;
    int j, p, c;

    for (j = 0; j < n; j += 2 * SIDE)
        for (p = 0; p < k; p += DEPTH)
            for (c = j; c < n && c < j + 2 * SIDE; c += SIDE, packed += TILE_BYTES) {
                size_t bytes = (size_t)(k - p < DEPTH ? k - p : DEPTH) * sizeof *rows;
                v16u v[SIDE];
                int i;

                for (i = 0; i < SIDE; i++) {
                    v[i] = (v16u){0};
                    if (c + i < n)
                        memcpy(&v[i], rows + (size_t)(c + i) * ld + p, bytes);
                }
                turn(v);
                memcpy(packed, v, sizeof v);
            }
}

/* ---- the product ---- */

/* Of 32 rows and 32 columns of y, or fewer. */
struct block {
    const uint16_t *x, *rest; /* rest: the last inputs, fewer than DEPTH, [32][DEPTH]; or NULL */
    size_t ld;
    const uint8_t *w;
    int steps; /* of DEPTH inputs in x */
    int rows;
    float *y;
    size_t ldy;
};

INLINE void tile_block(const struct block *o, const bool tall, const bool wide)
{
    const uint16_t *x = o->x, *low = x + SIDE * o->ld;
    const uint8_t *w = o->w;
    size_t step = wide ? 2 * TILE_BYTES : TILE_BYTES, ld = o->ld * sizeof *x, ldy = o->ldy * sizeof *o->y;
    int s;

    _tile_zero(0);
    if (wide)
        _tile_zero(1);
    if (tall)
        _tile_zero(2);
    if (tall && wide)
        _tile_zero(3);
    for (s = 0; s < o->steps + !!o->rest; s++, x += DEPTH, low += DEPTH, w += step) {
        if (s == o->steps) {
            x = o->rest;
            low = x + SIDE * DEPTH;
            ld = ROW_BYTES;
        }
        _tile_loadd(6, w, ROW_BYTES);
        _tile_loadd(4, x, ld);
        _tile_dpbf16ps(0, 4, 6);
        if (wide) {
            _tile_loadd(7, w + TILE_BYTES, ROW_BYTES);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, low, ld);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (tall && wide)
            _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, o->y, ldy);
    if (wide)
        _tile_stored(1, o->y + SIDE, ldy);
    if (tall)
        _tile_stored(2, o->y + SIDE * o->ldy, ldy);
    if (tall && wide)
        _tile_stored(3, o->y + SIDE * o->ldy + SIDE, ldy);
}

static void by_tiles(const struct block *o, bool wide)
{
    bool tall = o->rows > SIDE;

    if (tall && wide)
        tile_block(o, true, true);
    else if (tall)
        tile_block(o, true, false);
    else if (wide)
        tile_block(o, false, true);
    else
        tile_block(o, false, false);
}

#ifndef EMULATED_TILES
/* Sums of OCT rows and 16 or 32 columns stay in registers. */
INLINE void pairs_block(const struct block *o, int row, const bool wide)
{
    const uint16_t *x = o->x + (size_t)row * o->ld;
    const uint8_t *w = o->w;
    size_t ld = o->ld;
    __m512 sum[OCT][2];
    int s, p, i, two;

    for (i = 0; i < OCT; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (s = 0; s < o->steps + !!o->rest; s++, x += DEPTH, w += wide ? 2 * TILE_BYTES : TILE_BYTES) {
        if (s == o->steps) {
            x = o->rest + row * DEPTH;
            ld = DEPTH;
        }
        for (p = 0; p < SIDE; p++) {
            __m512bh left = (__m512bh)_mm512_load_si512(w + p * ROW_BYTES), right = left;

            if (wide)
                right = (__m512bh)_mm512_load_si512(w + TILE_BYTES + p * ROW_BYTES);
#pragma GCC unroll 8
            for (i = 0; i < OCT; i++) {
                memcpy(&two, x + (size_t)i * ld + 2 * p, sizeof two);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], (__m512bh)_mm512_set1_epi32(two), left);
                if (wide)
                    sum[i][1] = _mm512_dpbf16_ps(sum[i][1], (__m512bh)_mm512_set1_epi32(two), right);
            }
        }
    }
    for (i = 0; i < OCT; i++) {
        _mm512_storeu_ps(o->y + (size_t)(row + i) * o->ldy, sum[i][0]);
        if (wide)
            _mm512_storeu_ps(o->y + (size_t)(row + i) * o->ldy + SIDE, sum[i][1]);
    }
}

static void by_pairs(const struct block *o, bool wide)
{
    int row;

    for (row = 0; row < o->rows; row += OCT)
        if (wide)
            pairs_block(o, row, true);
        else
            pairs_block(o, row, false);
}
#endif

/* The compiler does not know all that the tile instructions read. */
static inline void written(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

static void configure(void)
{
    struct {
        uint8_t palette, start, none[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    int i;

    for (i = 0; i < 8; i++) {
        c.row_bytes[i] = ROW_BYTES;
        c.rows[i] = SIDE;
    }
    written(&c);
    _tile_loadconfig(&c);
}

/* The last k % DEPTH inputs of each row, with zeros, to rest [rows][DEPTH]. */
static void last_inputs(const uint16_t *x, int k, int rows, uint16_t *rest)
{
    size_t left = (size_t)(k % DEPTH);
    int i;

    memset(rest, 0, (size_t)rows * ROW_BYTES);
    for (i = 0; i < rows; i++)
        memcpy(rest + i * DEPTH, x + (size_t)(i + 1) * (size_t)k - left, left * sizeof *x);
    written(rest);
}

/* Products of blocks of 32 rows and columns. */
INLINE void run_blocks(int k, int n, const uint16_t *x, const uint8_t *packed, struct gemm_part part,
                       float *y, void (*block)(const struct block *o, bool wide))
{
    uint16_t rest[GEMM_ROWS * DEPTH];
    float edge[BLOCK * BLOCK];
    size_t column = (size_t)tiles(k, DEPTH) * TILE_BYTES; /* of tiles */
    int steps = tiles(part.k, DEPTH), i, j, r;
    bool left = steps * DEPTH > k;

    if (left)
        last_inputs(x, k, tiles(part.rows, SIDE) * SIDE, rest);
    for (j = 0; j < part.n; j += BLOCK) {
        int w = n - j < BLOCK ? n - j : BLOCK; /* columns that there are */
        bool whole = w % SIDE == 0;

        for (i = 0; i < part.rows; i += BLOCK) {
            float *to = y + (size_t)i * (size_t)n + j;
            const struct block o = {.x = x + (size_t)i * (size_t)k,
                                    .rest = left ? rest + i * DEPTH : NULL,
                                    .ld = (size_t)k,
                                    .w = packed + (size_t)(j / SIDE) * column,
                                    .steps = steps - left,
                                    .rows = part.rows - i < BLOCK ? part.rows - i : BLOCK,
                                    .y = whole ? to : edge,
                                    .ldy = whole ? (size_t)n : BLOCK};

            block(&o, w > SIDE);
            for (r = 0; !whole && r < o.rows; r++)
                memcpy(to + (size_t)r * (size_t)n, edge + r * BLOCK, (size_t)w * sizeof *y);
        }
    }
}

static void run_tiles(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y)
{
    configure();
    run_blocks(k, n, x, packed, part, y, by_tiles);
    _tile_release();
}

extern const struct product product_tiles;
const struct product product_tiles = {BLOCK, bytes_blocks, pack_blocks, run_tiles};

#ifndef EMULATED_TILES
static void run_pairs(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y)
{
    run_blocks(k, n, x, packed, part, y, by_pairs);
}

extern const struct product product_pairs;
const struct product product_pairs = {BLOCK, bytes_blocks, pack_blocks, run_pairs};
#endif
