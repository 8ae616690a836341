/* fp8_encode.c -- numbers to E4M3 codes. */
#include <math.h>

#include "quant/fp8.h"
#include "quant/grid.h"
#include "quant/hot.h"

enum { LANES = 16 };

/* A run of LANES numbers. */
INTO void e4m3_run(const float *restrict src, float scale, float inverse, uint8_t *restrict dst,
                   double *restrict err, double *restrict sum)
{
    float q[LANES];
    int k;

    for (k = 0; k < LANES; k++) {
        uint32_t a = bits_of(fabsf(src[k]) * inverse);

        q[k] = e4m3_nearest(of_bits(a < 0x43e00000 ? a : 0x43e00000));
        dst[k] = (uint8_t)(e4m3_code(q[k]) | (bits_of(src[k]) >> 24 & 0x80));
    }
    for (k = 0; k < LANES; k++) {
        double d = (double)(fabsf(src[k]) - q[k] * scale);

        err[k] += d * d;
        sum[k] += (double)src[k] * (double)src[k];
    }
}

HOT(static void, e4m3_runs,
    (const float *restrict src, float scale, size_t n, uint8_t *restrict dst, double *restrict err,
     double *restrict sum),
    (src, scale, n, dst, err, sum))
{
    float inverse = 1 / scale, rest[LANES] = {0};
    uint8_t codes[LANES];
    size_t i;

    for (i = 0; i + LANES <= n; i += LANES)
        e4m3_run(src + i, scale, inverse, dst + i, err, sum);
    if (i < n) {
        memcpy(rest, src + i, (n - i) * sizeof *src);
        e4m3_run(rest, scale, inverse, codes, err, sum);
        memcpy(dst + i, codes, n - i);
    }
}

void e4m3_from_f32(const float *src, float scale, size_t n, uint8_t *dst, double *err2, double *sum2)
{
    double err[LANES] = {0}, sum[LANES] = {0};
    int k;

    e4m3_runs(src, scale, n, dst, err, sum);
    for (k = 0; k < LANES; k++) {
        *err2 += err[k];
        *sum2 += sum[k];
    }
}

HOT(static void, largest_bits, (const float *restrict src, size_t n, uint32_t *restrict most), (src, n, most))
{
    uint32_t m = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        uint32_t b = bits_of(src[i]) & 0x7fffffff;

        m = b > m ? b : m;
    }
    *most = m;
}

float largest_f32(const float *src, size_t n)
{
    uint32_t m;

    largest_bits(src, n, &m);
    return of_bits(m);
}
