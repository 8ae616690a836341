/*
 * coding_awq.c -- integers of 4 bits, (q - zero) times scale. Stored rows are inputs; a word has eight
 * outputs of one, in the order 0 2 4 6 1 3 5 7 from its low bits on. Zero points are packed in the same way,
 * and go with the scales: so many neighbouring rows share them.
 */
#include "quant/coding_rows.h"

enum { PACK = 8, BITS = 4 };

static void awq_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    static const uint8_t shift[PACK] = {0, 16, 4, 20, 8, 24, 12, 28}; /* of output 0, 1 .. */
    const uint8_t *words = stored_row(s, USE_WEIGHT, row), *zeros = stored_row(s, USE_ZERO, row);
    const uint8_t *scales = stored_row(s, USE_SCALE, row);
    enum dtype d = s->piece[USE_SCALE].dtype;
    uint32_t q, z;
    int i, k;

    for (i = 0; i < n; i += PACK) {
        memcpy(&q, words + (size_t)(col + i) / PACK * 4, 4);
        memcpy(&z, zeros + (size_t)(col + i) / PACK * 4, 4);
        for (k = 0; k < PACK; k++)
            dst[i + k] = (float)((int)(q >> shift[k] & 15) - (int)(z >> shift[k] & 15)) *
                         float_at(d, scales, (size_t)(col + i + k));
    }
}

const struct coding_row coding_awq = {PACK, USE_SCALE, awq_f32, NULL};
