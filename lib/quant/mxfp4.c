/* mxfp4.c -- blocks to bf16 and f32, and back. */
#include "quant/mxfp4.h"

#include <math.h>
#include <string.h>

#include "quant/bf16.h"
#include "quant/fp8.h"
#include "quant/hot.h"

/* Scales are 2^(byte - BIAS). Bytes LOW..HIGH make every element a normal bf16 number. */
enum { BIAS = 127, LOW = 2, HIGH = 252 };

const float e2m1_value[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/* 2^e for -127 <= e <= 127; -127 is subnormal in f32. */
static float power2(int e)
{
    uint32_t b = e > -127 ? (uint32_t)(e + 127) << 23 : 0x00400000;
    float f;

    memcpy(&f, &b, 4);
    return f;
}

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

/* floor(log2 v) of a positive finite number, from its exponent field. */
static int floor_log2(float v)
{
    uint32_t b;
    int e;

    memcpy(&b, &v, 4);
    if (b >> 23)
        return (int)(b >> 23) - 127;
    frexpf(v, &e);
    return e - 1;
}

static inline float largest(const float *restrict v)
{
    uint32_t b[MXFP4_BLOCK], m = 0;
    float a;
    int k;

    memcpy(b, v, sizeof b); /* magnitudes order as their bits do, and integers vectorise */
    for (k = 0; k < MXFP4_BLOCK; k++)
        m = (b[k] & 0x7fffffff) > m ? b[k] & 0x7fffffff : m;
    memcpy(&a, &m, 4);
    return a;
}

/* Sum of squares of a block, in f64. One fixed order of additions, so that the result is the same on
 * every instruction set. */
static inline double sum_squares(const float *restrict v)
{
    double part[8] = {0};
    int k, j;

    for (k = 0; k < MXFP4_BLOCK; k += 8)
        for (j = 0; j < 8; j++)
            part[j] += (double)v[k + j] * (double)v[k + j];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/*
 * The block for the scale 2^e; returns sum (v - q)^2 in units of 4^e. Every difference is exact in f32 (an
 * element that underflows is nothing beside the block's largest).
 */
static inline double mxfp4_encode_block(const float *restrict v, int e, uint8_t *restrict block)
{
    float scale = power2(-e), diff[MXFP4_BLOCK];
    int32_t code[MXFP4_BLOCK];
    int k;

    for (k = 0; k < MXFP4_BLOCK; k++) {
        float x = v[k] * scale, a = fabsf(x);
        /* round to nearest, ties to even: the thresholds passed, by the grid's steps */
        int half = (a > .25f) + (a >= .75f) + (a > 1.25f) + (a >= 1.75f);
        int one = (a > 2.5f) + (a >= 3.5f), two = a > 5;

        diff[k] = a - (.5f * (float)half + (float)(one + 2 * two));
        code[k] = (half + one + two) | (signbit(x) ? 8 : 0);
    }
    for (k = 0; k < MXFP4_BYTES; k++)
        block[k] = (uint8_t)(code[2 * k] | code[2 * k + 1] << 4);
    return sum_squares(diff);
}

/* Exponents that may be written: every code of theirs is a finite f32. */
static int clamp_exponent(int e)
{
    return e < -BIAS ? -BIAS : e > HIGH - BIAS ? HIGH - BIAS : e;
}

HOT(void, mxfp4_from_f32,
    (const float *restrict src, size_t n_blocks, uint8_t *restrict blocks, uint8_t *restrict scales,
     double *err2, double *sum2),
    (src, n_blocks, blocks, scales, err2, sum2))
{
    double err = 0, sum = 0;
    size_t i;

    for (i = 0; i < n_blocks; i++, src += MXFP4_BLOCK, blocks += MXFP4_BYTES) {
        uint8_t larger[MXFP4_BYTES];
        float a = largest(src);
        double d, d2;
        int e, e2;

        if (a == 0) {
            scales[i] = 0;
            mxfp4_encode_block(src, 0, blocks); /* zeros keep their signs */
            continue;
        }
        e = clamp_exponent(floor_log2(a) - 2);
        e2 = clamp_exponent(e + 1);
        d = mxfp4_encode_block(src, e, blocks);
        d2 = mxfp4_encode_block(src, e2, larger);
        if (e2 > e && 4 * d2 < d) {
            memcpy(blocks, larger, MXFP4_BYTES);
            d = d2;
            e = e2;
        }
        scales[i] = (uint8_t)(e + BIAS);
        err += ldexp(d, 2 * e);
        sum += sum_squares(src);
    }
    if (err2)
        *err2 += err;
    if (sum2)
        *sum2 += sum;
}
