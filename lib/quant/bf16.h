/*
 * bf16.h -- bf16 and f16 <-> f32. Inline because every hot loop uses them.
 */
#ifndef MOE_QUANT_BF16_H
#define MOE_QUANT_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff, b;
    float f;

    if (exp == 0) {
        f = (float)man * 0x1p-24f;
        memcpy(&b, &f, 4);
        b |= sign;
    } else if (exp == 31) {
        b = sign | 0x7f800000 | man << 13;
    } else {
        b = sign | (exp + 112) << 23 | man << 13;
    }
    memcpy(&f, &b, 4);
    return f;
}

void bf16_to_f32_n(const uint16_t *src, float *dst, size_t n);
void f32_to_bf16_n(const float *src, uint16_t *dst, size_t n);
void f16_to_f32_n(const uint16_t *src, float *dst, size_t n);

#endif
