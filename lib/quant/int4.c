/* int4.c -- the scale of a group by trial, and its codes. */
#include "quant/int4.h"

#include <float.h>
#include <math.h>

#include "quant/bf16.h"
#include "quant/grid.h"
#include "quant/hot.h"

enum { TRIALS = 21, LANES = 8 };
/* What is added to a number leaves a whole one in its last bits. */
#define ROUNDER 0x1.8p23f

/* The whole number from -8 to 7 that a number is nearest to, in steps of 1 / inverse, of which there are
 * fewer than 2^22. */
INTO int32_t int4_nearest(float v, float inverse)
{
    int32_t q = (int32_t)(bits_of(v * inverse + ROUNDER) - bits_of(ROUNDER));

    q = q < -8 ? -8 : q;
    return q > 7 ? 7 : q;
}

/* Weighed squared error of a group with this scale. */
INTO double int4_error(const float *restrict v, const float *restrict energy, size_t n, float scale)
{
    float inverse = 1 / scale, part[LANES] = {0};
    size_t i, k;

    for (i = 0; i + LANES <= n; i += LANES)
        for (k = 0; k < LANES; k++) {
            float d = v[i + k] - (float)int4_nearest(v[i + k], inverse) * scale;

            part[k] += d * d * energy[i + k];
        }
    return (((double)part[0] + (double)part[1]) + ((double)part[2] + (double)part[3])) +
           (((double)part[4] + (double)part[5]) + ((double)part[6] + (double)part[7]));
}

INTO float int4_scale(const float *restrict v, const float *restrict energy, size_t n)
{
    uint32_t most = 0, b;
    float best = 1;
    double least = INFINITY;
    size_t i;

    for (i = 0; i < n; i++) {
        b = bits_of(v[i]) & 0x7fffffff;
        most = b > most ? b : most;
    }
    for (i = 0; most && i < TRIALS; i++) {
        float scale = bf16_to_f32(f32_to_bf16(of_bits(most) / (6.5f + .25f * (float)i)));
        double err = scale >= FLT_MIN ? int4_error(v, energy, n, scale) : INFINITY;

        if (err < least) {
            least = err;
            best = scale;
        }
    }
    return best;
}

/* A group with its scale. */
INTO void int4_group(const float *restrict v, size_t n, float scale, uint8_t *restrict codes,
                     double *restrict err, double *restrict sum)
{
    float inverse = 1 / scale;
    uint32_t code[LANES];
    size_t i, k;

    for (i = 0; i + LANES <= n; i += LANES) {
        for (k = 0; k < LANES; k++) {
            int32_t q = int4_nearest(v[i + k], inverse);
            double d = (double)(v[i + k] - (float)q * scale);

            code[k] = (uint32_t)(q + 8);
            err[k] += d * d;
            sum[k] += (double)v[i + k] * (double)v[i + k];
        }
        pack_nibbles(code, LANES, codes + i / 2);
    }
}

HOT(static void, int4_groups,
    (const float *restrict src, const float *restrict energy, size_t n, size_t group, uint8_t *restrict codes,
     uint16_t *restrict scales, double *restrict err, double *restrict sum),
    (src, energy, n, group, codes, scales, err, sum))
{
    float same[INT4_GROUP];
    size_t i;

    for (i = 0; i < INT4_GROUP; i++)
        same[i] = 1;
    for (i = 0; i < n; i += group) {
        float scale = int4_scale(src + i, energy ? energy + i : same, group);

        scales[i / group] = f32_to_bf16(scale);
        int4_group(src + i, group, scale, codes + i / 2, err, sum);
    }
}

void int4_row(const float *src, const float *energy, size_t n, size_t group, uint8_t *codes, uint16_t *scales,
              double *err2, double *sum2)
{
    double err[LANES] = {0}, sum[LANES] = {0};
    int k;

    int4_groups(src, energy, n, group, codes, scales, err, sum);
    for (k = 0; k < LANES; k++) {
        *err2 += err[k];
        *sum2 += sum[k];
    }
}
