/*
 * coding_gptq.c -- integers of 2 to 8 bits, (q - zero) times scale. Stored rows are inputs; 32 of them share
 * `bits` rows of words, of which each word has one output's: a string of bits, the low ones first, that goes
 * on from word to word. Zero points are strings of bits along the outputs. Rows have their scales and zero
 * points by groups: as many neighbours, or those that USE_ORDER says (act order).
 */
#include <math.h>

#include "quant/coding_rows.h"
#include "quant/hot.h"

enum { RUN = 128, WORD = 32 };

static uint32_t word_at(const uint8_t *p, size_t i)
{
    uint32_t w;

    memcpy(&w, p + 4 * i, 4);
    return w;
}

/* The group of a stored row; -1: one that there is not. */
static int64_t group_of(const struct stored *s, int64_t row)
{
    int64_t per = s->piece[USE_SCALE].per, groups = (s->in + per - 1) / per;
    uint32_t g;

    if (!s->piece[USE_ORDER].at)
        return row / per;
    g = word_at(stored_row(s, USE_ORDER, row), 0);
    return g < (uint64_t)groups ? (int64_t)g : -1;
}

/* The codes of n whole words, each of so many bits that a word holds a number of them. */
HOT(static void, codes_of, (const uint32_t *restrict w, int n, int bits, int more, float *restrict dst),
    (w, n, bits, more, dst))
{
    uint32_t mask = (UINT32_C(1) << bits) - 1;
    int per = WORD / bits, i, k;

    for (i = 0; i < n; i++)
        for (k = 0; k < per; k++)
            dst[i * per + k] = (float)(int32_t)((w[i] >> k * bits & mask) + (uint32_t)more);
}

/* One zero point of a row of them. */
static float zero_at(const struct stored *s, const uint8_t *p, int64_t col)
{
    uint64_t bit = (uint64_t)col * (uint64_t)s->bits;
    unsigned at = bit % WORD;
    uint32_t z = word_at(p, bit / WORD) >> at;

    if (at + (unsigned)s->bits > WORD)
        z |= word_at(p, bit / WORD + 1) << (WORD - at);
    return (float)((z & ((UINT32_C(1) << s->bits) - 1)) + (uint32_t)s->zero);
}

/* n (at most RUN) of them, from the one of output col on. */
static void zeros_at(const struct stored *s, const uint8_t *p, int64_t col, int n, float *dst)
{
    int per = WORD % s->bits ? 0 : WORD / s->bits, i = 0;
    uint32_t w[RUN];

    if (per && col % per == 0) {
        i = n / per * per;
        memcpy(w, p + 4 * (size_t)(col / per), (size_t)(n / per) * 4);
        codes_of(w, n / per, s->bits, s->zero, dst);
    }
    for (; i < n; i++)
        dst[i] = zero_at(s, p, col + i);
}

/* lo and hi: the words that the codes begin and end in, which may be the same. */
HOT(static void, decode,
    (const uint32_t *restrict lo, const uint32_t *restrict hi, unsigned at, unsigned bits,
     const float *restrict zero, const float *restrict scale, size_t n, float *restrict dst),
    (lo, hi, at, bits, zero, scale, n, dst))
{
    uint32_t mask = (UINT32_C(1) << bits) - 1, q;
    unsigned up =
        at + bits > WORD ? WORD - at : 0; /* where it is 0 hi is lo, and adds nothing that is kept */
    size_t i;

    for (i = 0; i < n; i++) {
        q = up ? lo[i] >> at | hi[i] << up : lo[i] >> at;
        dst[i] = ((float)(int32_t)(q & mask) - zero[i]) * scale[i];
    }
}

static void gptq_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const struct stored_piece *scales = &s->piece[USE_SCALE], *zeros = &s->piece[USE_ZERO];
    unsigned bit = (unsigned)(row % WORD) * (unsigned)s->bits, at = bit % WORD;
    const uint8_t *words = stored_row(s, USE_WEIGHT, row) + (size_t)(bit / WORD) * (size_t)s->stride * 4;
    const uint8_t *next = at + (unsigned)s->bits > WORD ? words + (size_t)s->stride * 4 : words;
    int64_t group = group_of(s, row), from = group - s->row0 / scales->per;
    float zero[RUN], scale[RUN];
    uint32_t lo[RUN], hi[RUN];
    int c, i;

    for (i = 0; group < 0 && i < n; i++)
        dst[i] = NAN;
    for (; group >= 0 && n > 0; n -= c, col += c, dst += c) {
        c = n < RUN ? n : RUN;
        memcpy(lo, words + 4 * (size_t)col, (size_t)c * 4);
        memcpy(hi, next + 4 * (size_t)col, (size_t)c * 4);
        zeros_at(s, zeros->at + from * (int64_t)zeros->row, col, c, zero);
        floats_to_f32(scales->dtype,
                      scales->at + from * (int64_t)scales->row + col * (int64_t)dtype_bytes(scales->dtype),
                      (size_t)c, scale);
        decode(lo, hi, at, (unsigned)s->bits, zero, scale, (size_t)c, dst);
    }
}

const struct coding_row coding_gptq = {1, USE_SCALE, gptq_f32, NULL};
