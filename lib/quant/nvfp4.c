/* nvfp4.c -- the scale of a block by a sweep of E4M3's codes. */
#include "quant/nvfp4.h"

#include <math.h>

#include "quant/fp8.h"
#include "quant/grid.h"
#include "quant/hot.h"

/* The largest code, and the last one whose half may not be a code. */
enum { CODE_MOST = 0x7e, CODE_COARSE = 0x10 };

float nvfp4_global(float most)
{
    int e;

    if (most <= 0)
        return 1;
    frexpf(most / 6, &e); /* most / 6 in [2^(e-1), 2^e) */
    if (ldexpf(6, e - 1) >= most)
        e--;
    e = 8 - e;
    return ldexpf(1, e > 100 ? 100 : e);
}

/* The values of a block for the scale d: their weighed squared error. */
INTO float try_scale(const float *restrict v, const float *restrict energy, float d, float *restrict q)
{
    float part[NVFP4_BLOCK], inverse = 1 / d;
    int k;

    for (k = 0; k < NVFP4_BLOCK; k++) {
        float a = fabsf(v[k]), diff;

        q[k] = e2m1_nearest(a * inverse);
        diff = a - q[k] * d;
        part[k] = diff * diff * energy[k];
    }
    for (k = 0; k < 8; k++)
        part[k] += part[k + 8];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/* What clipping at 6 d costs. */
INTO float clipped(const float *restrict v, const float *restrict energy, float d)
{
    float part[NVFP4_BLOCK], sum = 0;
    int k;

    for (k = 0; k < NVFP4_BLOCK; k++) {
        int32_t over = (int32_t)bits_of(fabsf(v[k]) - 6 * d);
        float o = of_bits(over > 0 ? (uint32_t)over : 0);

        part[k] = o * o * energy[k];
    }
    for (k = 0; k < NVFP4_BLOCK; k++)
        sum += part[k];
    return sum;
}

/* The least code whose six-fold reaches the largest magnitude, or the last one. */
INTO int code_reaching(float most, float unit)
{
    uint32_t x = bits_of(most / (6 * unit));
    int code = (int)e4m3_code(e4m3_nearest(of_bits(x < 0x43e00000 ? x : 0x43e00000)));

    while (code < CODE_MOST && (code == 0 || e4m3_value[code] * unit * 6 < most))
        code++;
    return code;
}

/* The best code, q its values. unit: of scales, 1 / global. */
INTO int sweep(const float *restrict v, const float *restrict energy, float most, float unit,
               float *restrict q)
{
    float least = INFINITY, err, trial[NVFP4_BLOCK];
    int first = code_reaching(most, unit), best = 0, code;

    for (code = first; code <= CODE_MOST; code++) {
        if (code > CODE_COARSE && e4m3_value[code] * unit * 3.5f > most && code > first)
            break;
        err = try_scale(v, energy, e4m3_value[code] * unit, trial);
        if (err < least) {
            least = err;
            best = code;
            memcpy(q, trial, sizeof trial);
        }
    }
    for (code = first - 1; code > 0 && clipped(v, energy, e4m3_value[code] * unit) < least; code--) {
        err = try_scale(v, energy, e4m3_value[code] * unit, trial);
        if (err < least) {
            least = err;
            best = code;
            memcpy(q, trial, sizeof trial);
        }
    }
    return best;
}

/* One block; whether its values are as they were. */
INTO int encode_nvfp4(const float *restrict v, const float *restrict energy, float unit,
                      uint8_t *restrict codes, uint8_t *restrict scale, double *restrict err2,
                      double *restrict sum2)
{
    float q[NVFP4_BLOCK] = {0}, most;
    uint32_t code[NVFP4_BLOCK], bits = 0, b;
    double err = 0, d;
    int k;

    for (k = 0; k < NVFP4_BLOCK; k++) {
        b = bits_of(v[k]) & 0x7fffffff;
        bits = b > bits ? b : bits;
    }
    most = of_bits(bits);
    *scale = (uint8_t)(most > 0 ? sweep(v, energy, most, unit, q) : 0);
    for (k = 0; k < NVFP4_BLOCK; k++) {
        code[k] = e2m1_code(q[k]) | (bits_of(v[k]) >> 28 & 8);
        d = (double)(fabsf(v[k]) - q[k] * (e4m3_value[*scale] * unit));
        err += d * d;
        *sum2 += (double)v[k] * (double)v[k];
    }
    pack_nibbles(code, NVFP4_BLOCK, codes);
    *err2 += err;
    return err == 0;
}

HOT(static void, nvfp4_blocks,
    (const float *restrict src, const float *restrict energy, size_t n, float unit, uint8_t *restrict codes,
     uint8_t *restrict scales, double *restrict err2, double *restrict sum2, size_t *restrict lossless),
    (src, energy, n, unit, codes, scales, err2, sum2, lossless))
{
    static const float same[NVFP4_BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    size_t i;

    for (i = 0; i < n; i += NVFP4_BLOCK)
        *lossless += (size_t)encode_nvfp4(src + i, energy ? energy + i : same, unit, codes + i / 2,
                                          scales + i / NVFP4_BLOCK, err2, sum2);
}

size_t nvfp4_row(const float *src, const float *energy, size_t n, float global, uint8_t *codes,
                 uint8_t *scales, double *err2, double *sum2)
{
    size_t lossless = 0;

    nvfp4_blocks(src, energy, n, 1 / global, codes, scales, err2, sum2, &lossless);
    return lossless;
}
