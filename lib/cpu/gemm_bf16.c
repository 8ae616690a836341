/*
 * A tile register holds 16 rows of 64 bytes. Four of them collect 32 x 32 sums, two hold 32 rows of x and two
 * 32 columns of W, 32 inputs deep. Without tiles, a register collects the sums of a row and 16 columns, from
 * the same packed W. The order of a sum is that of the inputs, whatever the number of rows.
 *
 * tests/test_gemm.c includes this file with the tile instructions emulated, for machines that lack them.
 */
#define _DEFAULT_SOURCE /* syscall */
#include "cpu/gemm_bf16.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __GNUC__ >= 11 && !defined(__clang__)
#define HAVE_BF16
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cpu/simd.h"

#ifdef HAVE_BF16

#define PAIRS_CPU __attribute__((target("arch=x86-64-v4,avx512bf16")))
#ifdef EMULATED_TILES
#include EMULATED_TILES
#define TILES_CPU
#else
#define TILES_CPU __attribute__((target("arch=x86-64-v4,amx-tile,amx-bf16")))
#endif

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

size_t bf16_packed_bytes(int k, int n)
{
    return (size_t)tiles(k, DEPTH) * (size_t)tiles(n, SIDE) * TILE_BYTES;
}

#ifndef EMULATED_TILES
static bool may_use_tiles(void)
{
    enum { TILE_PRODUCTS = 1 << 22, TILES = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE_PRODUCTS) && (d & TILES) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

enum bf16_unit bf16_unit(void)
{
    if (!have_wide() || !__builtin_cpu_supports("avx512bf16"))
        return BF16_NONE;
    return may_use_tiles() ? BF16_TILES : BF16_PAIRS;
}
#endif

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
HOT void bf16_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed)
{
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

TILES_CPU INLINE void tile_block(const struct block *o, const bool tall, const bool wide)
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

TILES_CPU static void by_tiles(const struct block *o, bool wide)
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

/* Sums of OCT rows and 16 or 32 columns stay in registers. */
PAIRS_CPU INLINE void pairs_block(const struct block *o, int row, const bool wide)
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

PAIRS_CPU static void by_pairs(const struct block *o, bool wide)
{
    int row;

    for (row = 0; row < o->rows; row += OCT)
        if (wide)
            pairs_block(o, row, true);
        else
            pairs_block(o, row, false);
}

/* The compiler does not know all that the tile instructions read. */
static inline void publish(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

TILES_CPU static void configure(void)
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
    publish(&c);
    _tile_loadconfig(&c);
}

TILES_CPU static void release(void)
{
    _tile_release();
}

/* The last k % DEPTH inputs of each row, with zeros, to rest [rows][DEPTH]. */
static void last_inputs(const uint16_t *x, int k, int rows, uint16_t *rest)
{
    size_t left = (size_t)(k % DEPTH);
    int i;

    memset(rest, 0, (size_t)rows * ROW_BYTES);
    for (i = 0; i < rows; i++)
        memcpy(rest + i * DEPTH, x + (size_t)(i + 1) * (size_t)k - left, left * sizeof *x);
    publish(rest);
}

void bf16_run(enum bf16_unit unit, int k, int n, const uint16_t *x, const uint8_t *packed,
              struct gemm_part part, float *y)
{
    uint16_t rest[GEMM_ROWS * DEPTH];
    float edge[BLOCK * BLOCK];
    size_t column = (size_t)tiles(k, DEPTH) * TILE_BYTES; /* of tiles */
    int steps = tiles(part.k, DEPTH), i, j, r;
    bool left = steps * DEPTH > k;

    if (left)
        last_inputs(x, k, tiles(part.rows, SIDE) * SIDE, rest);
    if (unit == BF16_TILES)
        configure();
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

            (unit == BF16_TILES ? by_tiles : by_pairs)(&o, w > SIDE);
            for (r = 0; !whole && r < o.rows; r++)
                memcpy(to + (size_t)r * (size_t)n, edge + r * BLOCK, (size_t)w * sizeof *y);
        }
    }
    if (unit == BF16_TILES)
        release();
}

#else

enum bf16_unit bf16_unit(void)
{
    return BF16_NONE;
}

size_t bf16_packed_bytes(int k, int n)
{
    (void)k, (void)n;
    return 0;
}

void bf16_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed)
{
    (void)k, (void)n, (void)rows, (void)ld, (void)packed;
}

void bf16_run(enum bf16_unit unit, int k, int n, const uint16_t *x, const uint8_t *packed,
              struct gemm_part part, float *y)
{
    (void)unit, (void)k, (void)n, (void)x, (void)packed, (void)part, (void)y;
}

#endif
