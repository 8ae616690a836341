/*
 * bf16.h -- bf16 and f16 <-> f32. Inline because every hot loop uses them.
 */
#ifndef MOE_QUANT_BF16_H
#define MOE_QUANT_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/device_inline.h"

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t b = (uint32_t)h << 16;
    float f;

    memcpy(&f, &b, 4);
    return f;
}

/* Round to nearest, ties to even; NaN stays a (quiet) NaN. */
static inline uint16_t f32_to_bf16(float f)
{
    uint32_t b;

    memcpy(&b, &f, 4);
    if ((b & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(b >> 16 | 0x40);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

/* Without branches, and without arithmetic on subnormal numbers. */
DEVICE_INLINE float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, b = (uint32_t)(h & 0x7fff) << 13, exp = h & 0x7c00, least;
    float f, one;

    b += (exp == 0x7c00 ? 224u : exp ? 112u : 113u) << 23;
    least = exp ? 0 : 113u << 23; /* 2^-14, to which a subnormal number adds its bits */
    memcpy(&f, &b, 4);
    memcpy(&one, &least, 4);
    f -= one;
    memcpy(&b, &f, 4);
    b |= sign;
    memcpy(&f, &b, 4);
    return f;
}

void bf16_to_f32_n(const uint16_t *src, float *dst, size_t n);
void f32_to_bf16_n(const float *src, uint16_t *dst, size_t n);
void f16_to_f32_n(const uint16_t *src, float *dst, size_t n);

#endif
