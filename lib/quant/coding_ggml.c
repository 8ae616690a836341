/*
 * coding_ggml.c -- blocks of ggml: whole numbers times a scale, minus a least value, all in one piece; and
 * one factor for the map where there is one.
 */
#include <math.h>

#include "quant/coding_rows.h"
#include "quant/ggml.h"
#include "quant/hot.h"

enum { RUN = 256, RUN_SIXTEENS = RUN / SIXTEEN };

/* ---- blocks to sixteens ---- */

#define TAKE(name, id, elements, bytes)                                                                      \
    HOT(static void, blocks_##name, (const uint8_t *restrict b, int n, struct sixteen *restrict s),          \
        (b, n, s))                                                                                           \
    {                                                                                                        \
        int i, g;                                                                                            \
                                                                                                             \
        for (i = 0; i < n; i++, b += (bytes), s += (elements) / SIXTEEN)                                     \
            for (g = 0; g < (elements) / SIXTEEN; g++)                                                       \
                take_##name(b, g, &s[g]);                                                                    \
    }
GGML_BLOCKS(TAKE)
#undef TAKE

#define TAKER(name, id, elements, bytes) blocks_##name,
static void (*const taker[])(const uint8_t *b, int n, struct sixteen *s) = {GGML_BLOCKS(TAKER)};
#undef TAKER

/* n elements (at most RUN) of a stored row from element col on, as sixteens; how many. */
static int take(const struct stored *s, int64_t row, int64_t col, int n, struct sixteen *to)
{
    const struct stored_piece *p = &s->piece[USE_WEIGHT];
    int block = (int)dtype_elements(p->dtype);

    taker[p->dtype - DT_Q4_0](stored_row(s, USE_WEIGHT, row) + col / block * dtype_bytes(p->dtype), n / block,
                              to);
    return n / SIXTEEN;
}

/* ---- sixteens to numbers ---- */

HOT(static void, sixteens_f32, (const struct sixteen *restrict s, int n, float *restrict dst), (s, n, dst))
{
    int k;

    for (; n > 0; n--, s++, dst += SIXTEEN)
        for (k = 0; k < SIXTEEN; k++)
            dst[k] = sixteen_at(s, k);
}

HOT(static void, sixteens_bf16, (const struct sixteen *restrict s, int n, uint16_t *restrict dst),
    (s, n, dst))
{
    int k;

    for (; n > 0; n--, s++, dst += SIXTEEN)
        for (k = 0; k < SIXTEEN; k++)
            dst[k] = f32_to_bf16(sixteen_at(s, k));
}

HOT(static void, multiply, (float *restrict v, int n, float by), (v, n, by))
{
    int k;

    for (k = 0; k < n; k++)
        v[k] *= by;
}

static void ggml_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *factor = s->piece[USE_GLOBAL].at;
    struct sixteen run[RUN_SIXTEENS];
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = n < RUN ? n : RUN;
        sixteens_f32(run, take(s, row, col, c, run), dst);
        if (factor)
            multiply(dst, c, float_at(s->piece[USE_GLOBAL].dtype, factor, 0));
    }
}

static void ggml_bf16(const struct stored *s, int64_t row, int64_t col, int n, uint16_t *dst)
{
    struct sixteen run[RUN_SIXTEENS];
    float number[RUN];
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = n < RUN ? n : RUN;
        if (s->piece[USE_GLOBAL].at) {
            ggml_f32(s, row, col, c, number);
            f32_to_bf16_n(number, dst, (size_t)c);
        } else {
            sixteens_bf16(run, take(s, row, col, c, run), dst);
        }
    }
}

const char *ggml_bad(enum dtype d, const void *p, size_t n, size_t *at)
{
    struct stored s = {.step = 1};
    float run[RUN];
    size_t i, k;

    s.piece[USE_WEIGHT] = (struct stored_piece){.at = p, .per = 1, .dtype = d};
    for (i = 0; i < n; i += RUN) {
        size_t c = n - i < RUN ? n - i : RUN;

        ggml_f32(&s, 0, (int64_t)i, (int)c, run);
        for (k = 0; k < c; k++)
            if (!isfinite(run[k])) {
                *at = i + k;
                return isnan(run[k]) ? "NaN" : "infinity";
            }
    }
    return NULL;
}

const struct coding_row coding_ggml = {RUN, USE_WEIGHT, ggml_f32, ggml_bf16};
