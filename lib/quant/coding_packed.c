/*
 * coding_packed.c -- codes of 1 to 8 bits in words of 32, without gaps, the first in the lowest bits; less a
 * zero point, times a scale of the plain dtypes. Codes and zero points have half their range added. Zero
 * points lie where scales do, but are packed so down a column, the one of 32 rows beginning a word. USE_ORDER
 * has the group of each element, where groups are not runs of them.
 */
#include <math.h>

#include "quant/coding_rows.h"

/* Code i of a row. The bytes of little-endian words are one string of bits. */
static int code_at(const uint8_t *row, size_t i, int bits)
{
    size_t at = i * (size_t)bits;
    unsigned shift = at % 8, v = row[at / 8];

    if (shift + (unsigned)bits > 8)
        v |= (unsigned)row[at / 8 + 1] << 8;
    return (int)(v >> shift & ((1u << bits) - 1));
}

/* How many groups a row has. */
static int64_t groups_of(const struct stored *s)
{
    return (int64_t)(s->piece[USE_SCALE].row / dtype_bytes(s->piece[USE_SCALE].dtype));
}

static int zero_at(const struct stored *s, int64_t row, int64_t group)
{
    size_t at = (size_t)(row % 32) * (size_t)s->bits, groups = s->piece[USE_ZERO].row / 4 / (size_t)s->bits;
    uint64_t v = 0;
    uint32_t word;

    if (!s->piece[USE_ZERO].at)
        return 1 << (s->bits - 1);
    memcpy(&word, stored_row(s, USE_ZERO, row) + (at / 32 * groups + (size_t)group) * 4, 4);
    v = word;
    if (at % 32 + (size_t)s->bits > 32) {
        memcpy(&word, stored_row(s, USE_ZERO, row) + ((at / 32 + 1) * groups + (size_t)group) * 4, 4);
        v |= (uint64_t)word << 32;
    }
    return (int)(v >> at % 32 & ((1u << s->bits) - 1));
}

static float group_scale(const struct stored *s, int64_t row, int64_t group)
{
    return float_at(s->piece[USE_SCALE].dtype, stored_row(s, USE_SCALE, row), (size_t)group);
}

static void ordered_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *code = stored_row(s, USE_WEIGHT, row);
    int64_t groups = groups_of(s);
    int32_t g;
    int i;

    for (i = 0; i < n; i++, col++) {
        memcpy(&g, s->piece[USE_ORDER].at + 4 * col, 4);
        dst[i] = g < 0 || g >= groups ? NAN
                                      : (float)(code_at(code, (size_t)col, s->bits) - zero_at(s, row, g)) *
                                            group_scale(s, row, g);
    }
}

/* Codes of 4 bits, two to a byte, from an even column on. */
static void nibbles_f32(const uint8_t *code, int n, int zero, float scale, float *dst)
{
    int i;

    for (i = 0; i + 1 < n; i += 2) {
        dst[i] = (float)((code[i / 2] & 15) - zero) * scale;
        dst[i + 1] = (float)((code[i / 2] >> 4) - zero) * scale;
    }
    if (i < n)
        dst[i] = (float)((code[i / 2] & 15) - zero) * scale;
}

static void packed_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *code = stored_row(s, USE_WEIGHT, row);
    int c, i;

    if (s->piece[USE_ORDER].at) {
        ordered_f32(s, row, col, n, dst);
        return;
    }
    for (; n > 0; n -= c, col += c, dst += c) {
        int64_t group = col / s->block;
        int zero = zero_at(s, row, group);
        float scale = group_scale(s, row, group);

        c = same_scale(s, col, n);
        if (s->bits == 4 && col % 2 == 0)
            nibbles_f32(code + col / 2, c, zero, scale, dst);
        else
            for (i = 0; i < c; i++)
                dst[i] = (float)(code_at(code, (size_t)(col + i), s->bits) - zero) * scale;
    }
}

const struct coding_row coding_packed = {1, USE_SCALE, packed_f32, NULL};
