/* int4.c -- the scale of a group by trial, and its codes. */
#include "quant/int4.h"

#include <math.h>

#include "quant/bf16.h"
#include "quant/grid.h"
#include "quant/hot.h"

enum { TRIALS = 21, LANES = 8 };
#define ROUNDER 0x1.8p23f /* what is added to it and taken off again is a whole number */

/* The whole number from -8 to 7 that a number is nearest to, in steps of 1 / inverse. */
INTO float int4_nearest(float v, float inverse)
{
    float x = v * inverse;

    x = x < -8 ? -8 : x;
    x = x > 7 ? 7 : x;
    return (x + ROUNDER) - ROUNDER;
}

/* Weighed squared error of a group with this scale; energy NULL: unweighed. */
INTO double int4_error(const float *restrict v, const float *restrict energy, size_t n, float scale)
{
    float inverse = 1 / scale, part[LANES] = {0};
    size_t i, k;

    for (i = 0; i + LANES <= n; i += LANES)
        for (k = 0; k < LANES; k++) {
            float d = v[i + k] - int4_nearest(v[i + k], inverse) * scale;

            part[k] += d * d * (energy ? energy[i + k] : 1);
        }
    return (((double)part[0] + (double)part[1]) + ((double)part[2] + (double)part[3])) +
           (((double)part[4] + (double)part[5]) + ((double)part[6] + (double)part[7]));
}

INTO float int4_scale(const float *restrict v, const float *restrict energy, size_t n)
{
    float most = 0, best = 1;
    double least = INFINITY;
    size_t i;

    for (i = 0; i < n; i++)
        most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    for (i = 0; most > 0 && i < TRIALS; i++) {
        float scale = bf16_to_f32(f32_to_bf16(most / (6.5f + .25f * (float)i)));
        double err = scale > 0 ? int4_error(v, energy, n, scale) : INFINITY;

        if (err < least) {
            least = err;
            best = scale;
        }
    }
    return best;
}

HOT(void, int4_row,
    (const float *restrict src, const float *restrict energy, size_t n, size_t group, uint8_t *restrict codes,
     uint16_t *restrict scales, double *restrict err2, double *restrict sum2),
    (src, energy, n, group, codes, scales, err2, sum2))
{
    size_t i, k;

    for (i = 0; i < n; i += group) {
        float scale = int4_scale(src + i, energy ? energy + i : NULL, group), inverse = 1 / scale;

        scales[i / group] = f32_to_bf16(scale);
        for (k = 0; k < group; k++) {
            float q = int4_nearest(src[i + k], inverse);
            double d = (double)src[i + k] - (double)(q * scale);
            unsigned code = (unsigned)((int)q + 8);

            codes[(i + k) / 2] = (uint8_t)(k & 1 ? codes[(i + k) / 2] | code << 4 : code);
            *err2 += d * d;
            *sum2 += (double)src[i + k] * (double)src[i + k];
        }
    }
}
