/* mxfp4.c -- blocks to bf16 and f32. */
#include "quant/mxfp4.h"

#include <string.h>

#include "quant/bf16.h"
#include "quant/fp8.h"
#include "quant/hot.h"

/* Scales are 2^(byte - BIAS). Bytes LOW..HIGH make every element a normal bf16 number. */
enum { BIAS = 127, LOW = 2, HIGH = MXFP4_MOST };

const float e2m1_value[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/*
 * bf16 of code 2..7 is 0x3f00 + 0x40 * code, of 1 (0.5) 0x3f00, and a scale adds to the exponent field:
 * arithmetic on 16-bit lanes, which is faster than any table.
 */
static inline void decode_normal(const uint8_t *restrict b, uint8_t scale, uint16_t *restrict dst)
{
    uint16_t one = (uint16_t)(0x3f00 + 0x80 * (scale - BIAS));
    uint16_t code[MXFP4_BLOCK];
    uint32_t pair[MXFP4_BYTES];
    int k;

    for (k = 0; k < MXFP4_BYTES; k++)
        pair[k] = (b[k] | (uint32_t)b[k] << 12) & 0x000f000f; /* the low nibble's code comes first */
    memcpy(code, pair, sizeof code);
    for (k = 0; k < MXFP4_BLOCK; k++) {
        uint16_t mag = code[k] & 7, sign = (uint16_t)((code[k] & 8) << 12);
        uint16_t bits = (uint16_t)(one + (mag << 6) - (mag == 1 ? 0x40 : 0));

        dst[k] = sign | (mag ? bits : 0);
    }
}

/* Any scale: subnormal results are exact in bf16; over its range comes infinity, from 255 NaN. */
static void decode_any(const uint8_t *b, uint8_t scale, uint16_t *dst)
{
    float s = e8m0_value(scale), v;
    int k;

    for (k = 0; k < MXFP4_BLOCK; k++) {
        int code = b[k / 2] >> 4 * (k & 1) & 15;

        v = e2m1_value[code] * s;
        dst[k] = f32_to_bf16(v);
    }
}

HOT(void, mxfp4_to_bf16,
    (const uint8_t *restrict blocks, const uint8_t *restrict scales, size_t n_blocks, uint16_t *restrict dst),
    (blocks, scales, n_blocks, dst))
{
    size_t i;

    for (i = 0; i < n_blocks; i++, blocks += MXFP4_BYTES, dst += MXFP4_BLOCK)
        if (scales[i] >= LOW && scales[i] <= HIGH)
            decode_normal(blocks, scales[i], dst);
        else
            decode_any(blocks, scales[i], dst);
}

HOT(void, mxfp4_to_f32,
    (const uint8_t *restrict blocks, const uint8_t *restrict scales, size_t n_blocks, float *restrict dst),
    (blocks, scales, n_blocks, dst))
{
    uint16_t half[MXFP4_BLOCK];
    size_t i;
    int k;

    for (i = 0; i < n_blocks; i++, blocks += MXFP4_BYTES, dst += MXFP4_BLOCK) {
        if (scales[i] >= LOW && scales[i] <= HIGH)
            decode_normal(blocks, scales[i], half);
        else
            decode_any(blocks, scales[i], half);
        for (k = 0; k < MXFP4_BLOCK; k++)
            dst[k] = bf16_to_f32(half[k]);
    }
}

size_t mxfp4_bad_scale(const uint8_t *scales, size_t n)
{
    const uint8_t *bad = n ? memchr(scales, 255, n) : NULL;

    return bad ? (size_t)(bad - scales) : n;
}
