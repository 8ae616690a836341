/*
 * coding_awq.c -- integers of 4 bits, (q - zero) times scale. Stored rows are inputs; a word has eight
 * outputs of one, in the order 0 2 4 6 1 3 5 7 from its low bits on. Zero points are packed in the same way,
 * and go with the scales: so many neighbouring rows share them.
 */
#include "quant/coding_rows.h"
#include "quant/hot.h"

enum { PACK = 8, RUN = 128 };

/* n words of codes and of zero points; scale and dst have PACK for each. */
HOT(static void, decode,
    (const uint32_t *restrict q, const uint32_t *restrict z, const float *restrict scale, int n,
     float *restrict dst),
    (q, z, scale, n, dst))
{
    static const uint32_t shift[PACK] = {0, 16, 4, 20, 8, 24, 12, 28}; /* of output 0, 1 .. */
    int i, k;

    for (i = 0; i < n; i++)
        for (k = 0; k < PACK; k++)
            dst[i * PACK + k] = (float)((int32_t)(q[i] >> shift[k] & 15) - (int32_t)(z[i] >> shift[k] & 15)) *
                                scale[i * PACK + k];
}

static void awq_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *scales = stored_row(s, USE_SCALE, row);
    enum dtype d = s->piece[USE_SCALE].dtype;
    uint32_t q[RUN / PACK], z[RUN / PACK];
    float scale[RUN];
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = n < RUN ? n : RUN;
        memcpy(q, stored_row(s, USE_WEIGHT, row) + (size_t)col / PACK * 4, (size_t)c / PACK * 4);
        memcpy(z, stored_row(s, USE_ZERO, row) + (size_t)col / PACK * 4, (size_t)c / PACK * 4);
        floats_to_f32(d, scales + (size_t)col * dtype_bytes(d), (size_t)c, scale);
        decode(q, z, scale, c / PACK, dst);
    }
}

const struct coding_row coding_awq = {PACK, USE_SCALE, awq_f32, NULL};
