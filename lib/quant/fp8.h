/*
 * fp8.h -- FP8 E4M3 (the "fn" kind: no infinity, 0x7f and 0xff are NaN, largest 448), and scales E8M0.
 */
#ifndef MOE_QUANT_FP8_H
#define MOE_QUANT_FP8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The value of every code; NaN for 0x7f and 0xff. */
extern const float e4m3_value[256];

/* n codes times one scale, multiplied in f32 and rounded once. */
void e4m3_to_f32(const uint8_t *src, float scale, size_t n, float *dst);
void e4m3_to_bf16(const uint8_t *src, float scale, size_t n, uint16_t *dst);

/* n finite numbers over a scale > 0 to the nearest codes, ties to even, 448 at most; the others' sums get
 * sum (v - code scale)^2 and sum v^2 added. */
void e4m3_from_f32(const float *src, float scale, size_t n, uint8_t *dst, double *err2, double *sum2);
/* The largest magnitude of n finite numbers. */
float largest_f32(const float *src, size_t n);

/* A scale E8M0: 2^(s - 127), NaN for 255. */
static inline float e8m0_value(uint8_t s)
{
    uint32_t bits = s == 255 ? 0x7fc00000 : s ? (uint32_t)s << 23 : 0x00400000;
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
