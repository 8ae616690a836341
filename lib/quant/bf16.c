/* bf16.c -- arrays of bf16 and f16 to f32. */
#include "quant/bf16.h"

#include "quant/hot.h"

enum { RUN = 64 };

HOT(void, bf16_to_f32_n, (const uint16_t *restrict src, float *restrict dst, size_t n), (src, dst, n))
{
    size_t i, k;

    for (i = 0; i + RUN <= n; i += RUN)
        for (k = 0; k < RUN; k++)
            dst[i + k] = bf16_to_f32(src[i + k]);
    for (; i < n; i++)
        dst[i] = bf16_to_f32(src[i]);
}

HOT(void, f32_to_bf16_n, (const float *restrict src, uint16_t *restrict dst, size_t n), (src, dst, n))
{
    size_t i, k;

    for (i = 0; i + RUN <= n; i += RUN)
        for (k = 0; k < RUN; k++)
            dst[i + k] = f32_to_bf16(src[i + k]);
    for (; i < n; i++)
        dst[i] = f32_to_bf16(src[i]);
}

HOT(void, f16_to_f32_n, (const uint16_t *restrict src, float *restrict dst, size_t n), (src, dst, n))
{
    size_t i, k;

    for (i = 0; i + RUN <= n; i += RUN)
        for (k = 0; k < RUN; k++)
            dst[i + k] = f16_to_f32(src[i + k]);
    for (; i < n; i++)
        dst[i] = f16_to_f32(src[i]);
}
