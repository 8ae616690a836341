/*
 * A tile register holds 16 rows of 64 bytes. Four of them collect 32 x 32 sums, two hold 32 rows of x and two
 * 32 columns of W, 32 inputs deep. The order of a sum is that of the inputs, whatever the number of rows.
 *
 * tests/test_gemm.c includes this file with the tile instructions emulated, for machines that lack them.
 */
#define _DEFAULT_SOURCE /* syscall */
#include "engine/gemm_amx.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __GNUC__ >= 11 &&                      \
    !defined(__clang__) && !defined(AMX_EMULATED)
#define HAVE_AMX
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "engine/simd.h"

#if defined(HAVE_AMX) || defined(AMX_EMULATED)

#ifdef AMX_EMULATED
#include AMX_EMULATED
#define AMX_CPU
#else
#define AMX_CPU __attribute__((target("arch=x86-64-v4,amx-tile,amx-bf16")))
#endif

enum { SIDE = 16, DEPTH = 32, TILE = SIDE * DEPTH, TILE_BYTES = TILE * 2, ROW_BYTES = DEPTH * 2 };

static int tiles(int n, int of)
{
    return (n + of - 1) / of;
}

size_t amx_packed_bytes(int k, int n)
{
    return (size_t)tiles(k, DEPTH) * (size_t)tiles(n, SIDE) * TILE_BYTES;
}

bool amx_open(void)
{
#ifdef HAVE_AMX
    enum { BF16_PRODUCTS = 1 << 22, TILES = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;

    return have_wide() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16_PRODUCTS) && (d & TILES) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
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
HOT void amx_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed)
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

/* The compiler does not know all that the tile instructions read. */
static inline void publish(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

struct operands {
    const uint16_t *x, *rest; /* rest: the last inputs, fewer than DEPTH, [64][DEPTH] */
    size_t ld;
    const uint8_t *w;
    int steps;
    float *y;
    size_t ldy;
};

/* [16 or 32][16 or 32] of y */
AMX_CPU static inline __attribute__((always_inline)) void block(const struct operands *o, const bool tall,
                                                                const bool wide)
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
    for (s = 0; s <= o->steps; s++, x += DEPTH, low += DEPTH, w += step) {
        if (s == o->steps) {
            if (!o->rest)
                break;
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

AMX_CPU static void any_block(const struct operands *o, bool tall, bool wide)
{
    if (tall && wide)
        block(o, true, true);
    else if (tall)
        block(o, true, false);
    else if (wide)
        block(o, false, true);
    else
        block(o, false, false);
}

AMX_CPU static void configure(void)
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

AMX_CPU void amx_run(int k, int n, const uint16_t *x, const uint8_t *packed, struct gemm_part part, float *y)
{
    uint16_t rest[GEMM_ROWS * DEPTH];
    float edge[2 * SIDE * 2 * SIDE];
    size_t column = (size_t)tiles(k, DEPTH) * TILE_BYTES; /* of tiles */
    int tall = tiles(part.rows, SIDE), steps = tiles(part.k, DEPTH), left = steps * DEPTH > k ? k % DEPTH : 0;
    struct operands o = {.ld = (size_t)k, .steps = left ? steps - 1 : steps};
    int i, j, r;

    if (left) {
        memset(rest, 0, sizeof rest);
        for (i = 0; i < tall * SIDE; i++)
            memcpy(rest + i * DEPTH, x + (size_t)(i + 1) * (size_t)k - left, (size_t)left * sizeof *x);
        publish(rest);
    }
    configure();
    for (j = 0; j < part.n; j += 2 * SIDE) {
        int w = n - j < 2 * SIDE ? n - j : 2 * SIDE; /* columns that there are */
        bool whole = w % SIDE == 0;

        for (i = 0; i < tall; i += 2) {
            float *to = y + (size_t)(i * SIDE) * (size_t)n + j;

            o.x = x + (size_t)(i * SIDE) * (size_t)k;
            o.rest = left ? rest + i * SIDE * DEPTH : NULL;
            o.w = packed + (size_t)(j / SIDE) * column;
            o.y = whole ? to : edge;
            o.ldy = whole ? (size_t)n : 2 * SIDE;
            any_block(&o, i + 1 < tall, w > SIDE);
            for (r = 0; !whole && r < (i + 1 < tall ? 2 : 1) * SIDE; r++)
                memcpy(to + (size_t)r * (size_t)n, edge + r * 2 * SIDE, (size_t)w * sizeof *y);
        }
    }
    _tile_release();
}

#else

bool amx_open(void)
{
    return false;
}

size_t amx_packed_bytes(int k, int n)
{
    (void)k;
    (void)n;
    return 0;
}

void amx_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed)
{
    (void)k, (void)n, (void)rows, (void)ld, (void)packed;
}

void amx_run(int k, int n, const uint16_t *x, const uint8_t *packed, struct gemm_part part, float *y)
{
    (void)k, (void)n, (void)x, (void)packed, (void)part, (void)y;
}

#endif
