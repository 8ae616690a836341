/*
 * floats.h -- numbers of the plain dtypes, BF16, F16 and F32 (dtype_is_float), as f32 and back.
 */
#ifndef MOE_QUANT_FLOATS_H
#define MOE_QUANT_FLOATS_H

#include "quant/bf16.h"
#include "quant/dtype.h"

/* Element i; p need not be aligned. */
static inline float float_at(enum dtype d, const void *p, size_t i)
{
    uint16_t half;
    float f;

    if (d == DT_F32) {
        memcpy(&f, (const char *)p + 4 * i, 4);
        return f;
    }
    memcpy(&half, (const char *)p + 2 * i, 2);
    return d == DT_BF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

/* Of F32 or BF16, which rounds. */
static inline void float_put(enum dtype d, void *p, size_t i, float v)
{
    uint16_t half;

    if (d == DT_F32) {
        memcpy((char *)p + 4 * i, &v, 4);
    } else {
        half = f32_to_bf16(v);
        memcpy((char *)p + 2 * i, &half, 2);
    }
}

static inline void floats_to_f32(enum dtype d, const void *p, size_t n, float *dst)
{
    if (d == DT_F32)
        memcpy(dst, p, n * sizeof *dst);
    else
        (d == DT_BF16 ? bf16_to_f32_n : f16_to_f32_n)((const uint16_t *)p, dst, n);
}

#endif
