/*
 * mxfp4_encode.c -- f32 to blocks of MXFP4: plain code, and the same by intrinsics for AVX-512, which gives
 * the same bytes and sums.
 */
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "quant/grid.h"
#include "quant/hot.h"
#include "quant/mxfp4.h"

enum { BIAS = 127 };

/* 2^e for -127 <= e <= 127; -127 is subnormal in f32. */
static float power2(int e)
{
    uint32_t b = e > -127 ? (uint32_t)(e + 127) << 23 : 0x00400000;
    float f;

    memcpy(&f, &b, 4);
    return f;
}

/* floor(log2 v) of a positive finite number, from its exponent field. */
static int floor_log2(float v)
{
    uint32_t b = bits_of(v);
    int e;

    if (b >> 23)
        return (int)(b >> 23) - 127;
    frexpf(v, &e);
    return e - 1;
}

/* Magnitudes order as their bits do, and integers vectorise. */
INTO float largest(const float *restrict v)
{
    uint32_t m = 0, b;
    int k;

    for (k = 0; k < MXFP4_BLOCK; k++) {
        b = bits_of(v[k]) & 0x7fffffff;
        m = b > m ? b : m;
    }
    return of_bits(m);
}

/*
 * The sums of squares of a block, in f64: eight partial sums, and all of them. One fixed order of additions,
 * so that the result is the same on every instruction set.
 */
enum { PARTS = 8 };

INTO void square_parts(const float *restrict v, double *restrict part)
{
    int k, j;

    for (j = 0; j < PARTS; j++)
        part[j] = (double)v[j] * (double)v[j];
    for (k = PARTS; k < MXFP4_BLOCK; k += PARTS)
        for (j = 0; j < PARTS; j++)
            part[j] += (double)v[k + j] * (double)v[k + j];
}

INTO double sum_parts(const double *part)
{
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/* The elements of a block for the scale 2^e: the nearest of the grid to |v| 2^-e. Every difference is exact
 * in f32 (an element that underflows is nothing beside the block's largest). */
INTO void round_block(const float *restrict v, float scale, float *restrict q, float *restrict diff)
{
    int k;

    for (k = 0; k < MXFP4_BLOCK; k++) {
        float a = fabsf(v[k]) * scale;

        q[k] = e2m1_nearest(a);
        diff[k] = a - q[k];
    }
}

/* The codes of numbers of the grid, with the signs of v. */
INTO void pack_block(const float *restrict v, const float *restrict q, uint8_t *restrict block)
{
    uint32_t code[MXFP4_BLOCK];
    int k;

    for (k = 0; k < MXFP4_BLOCK; k++)
        code[k] = e2m1_code(q[k]) | (bits_of(v[k]) >> 28 & 8);
    pack_nibbles(code, MXFP4_BLOCK, block);
}

/* Exponents that may be written: every code of theirs is a finite f32. */
static int clamp_exponent(int e)
{
    return e < -BIAS ? -BIAS : e > MXFP4_MOST - BIAS ? MXFP4_MOST - BIAS : e;
}

/* 4^e */
static inline double power4(int e)
{
    uint64_t b = (uint64_t)(2 * e + 1023) << 52;
    double v;

    memcpy(&v, &b, 8);
    return v;
}

/* Returns the scale byte of a block whose largest magnitude is a; adds to eight sums. */
INTO uint8_t encode_block(const float *restrict v, float a, uint8_t *restrict block, double *restrict err,
                          double *restrict sum)
{
    int e = clamp_exponent(floor_log2(a) - 2), e2 = clamp_exponent(e + 1), best, j;
    float q[2][MXFP4_BLOCK], diff[MXFP4_BLOCK];
    double part[2][PARTS], squares[PARTS], unit;

    round_block(v, power2(-e), q[0], diff);
    square_parts(diff, part[0]);
    round_block(v, power2(-e2), q[1], diff);
    square_parts(diff, part[1]);
    best = e2 > e && 4 * sum_parts(part[1]) < sum_parts(part[0]);
    pack_block(v, q[best], block);
    square_parts(v, squares);
    unit = power4(best ? e2 : e);
    for (j = 0; j < PARTS; j++) {
        err[j] += part[best][j] * unit;
        sum[j] += squares[j];
    }
    return (uint8_t)((best ? e2 : e) + BIAS);
}

HOT(static void, plain_blocks,
    (const float *restrict src, size_t n_blocks, uint8_t *restrict blocks, uint8_t *restrict scales,
     double *restrict err, double *restrict sum),
    (src, n_blocks, blocks, scales, err, sum))
{
    static const float none[MXFP4_BLOCK];
    size_t i;

    for (i = 0; i < n_blocks; i++, src += MXFP4_BLOCK, blocks += MXFP4_BYTES) {
        float a = largest(src);

        scales[i] = 0;
        if (a > 0)
            scales[i] = encode_block(src, a, blocks, err, sum);
        else
            pack_block(src, none, blocks); /* zeros keep their signs */
    }
}

/* ---- weighed ---- */

/* Sum of w d^2, in the order of sum_parts. */
INTO double weigh(const float *restrict w, const float *restrict d)
{
    double part[PARTS] = {0};
    int k, j;

    for (k = 0; k < MXFP4_BLOCK; k += PARTS)
        for (j = 0; j < PARTS; j++)
            part[j] += (double)w[k + j] * ((double)d[k + j] * (double)d[k + j]);
    return sum_parts(part);
}

/* As encode_block, by weighed squares and of three exponents: one below the rule, too. */
INTO uint8_t weighed_block(const float *restrict v, const float *restrict w, float a, uint8_t *restrict block,
                           double *restrict err, double *restrict sum)
{
    int ocp = clamp_exponent(floor_log2(a) - 2), best = 1, i, j;
    float q[3][MXFP4_BLOCK], diff[3][MXFP4_BLOCK];
    double part[PARTS], least = INFINITY, d;

    for (i = 0; i < 3; i++) {
        int e = clamp_exponent(ocp + i - 1);

        round_block(v, power2(-e), q[i], diff[i]);
        d = weigh(w, diff[i]) * power4(e);
        if (d < least || (d == least && e == ocp)) {
            least = d;
            best = i;
        }
    }
    pack_block(v, q[best], block);
    square_parts(diff[best], part);
    i = clamp_exponent(ocp + best - 1);
    for (j = 0; j < PARTS; j++)
        err[j] += part[j] * power4(i);
    square_parts(v, part);
    for (j = 0; j < PARTS; j++)
        sum[j] += part[j];
    return (uint8_t)(i + BIAS);
}

HOT(static void, weighed_blocks,
    (const float *restrict src, const float *restrict energy, size_t n_blocks, uint8_t *restrict blocks,
     uint8_t *restrict scales, double *restrict err, double *restrict sum),
    (src, energy, n_blocks, blocks, scales, err, sum))
{
    static const float none[MXFP4_BLOCK];
    size_t i;

    for (i = 0; i < n_blocks; i++, src += MXFP4_BLOCK, energy += MXFP4_BLOCK, blocks += MXFP4_BYTES) {
        float a = largest(src);

        scales[i] = 0;
        if (a > 0)
            scales[i] = weighed_block(src, energy, a, blocks, err, sum);
        else
            pack_block(src, none, blocks);
    }
}

void mxfp4_weighed(const float *src, const float *energy, size_t n_blocks, uint8_t *blocks, uint8_t *scales,
                   double *err2, double *sum2)
{
    double err[PARTS] = {0}, sum[PARTS] = {0};

    weighed_blocks(src, energy, n_blocks, blocks, scales, err, sum);
    *err2 += sum_parts(err);
    *sum2 += sum_parts(sum);
}

/* ---- AVX-512 ---- */

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

/* As square_parts, of 32 numbers. */
AVX512 static inline __m512d parts_avx512(__m512 lo, __m512 hi)
{
    __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(lo)),
            b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(lo, 1)),
            c = _mm512_cvtps_pd(_mm512_castps512_ps256(hi)),
            d = _mm512_cvtps_pd(_mm512_extractf32x8_ps(hi, 1));

    /* squares of 24 bits are exact: fusing changes nothing */
    return _mm512_fmadd_pd(d, d, _mm512_fmadd_pd(c, c, _mm512_fmadd_pd(b, b, _mm512_mul_pd(a, a))));
}

/* sum_parts of two, x's in the even elements and y's in the odd ones. */
AVX512 static inline __m512d sums_avx512(__m512d x, __m512d y)
{
    __m512d s = _mm512_add_pd(_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));

    s = _mm512_add_pd(s, _mm512_shuffle_f64x2(s, s, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm512_add_pd(s, _mm512_shuffle_f64x2(s, s, _MM_SHUFFLE(1, 0, 3, 2)));
}

/* As round_block, of 16 magnitudes. */
AVX512 static inline __m512 round_avx512(__m512 a)
{
    __m512 power = _mm512_max_ps(_mm512_and_ps(a, _mm512_set1_ps(INFINITY)), _mm512_set1_ps(1)),
           big = _mm512_mul_ps(power, _mm512_set1_ps(0x1p22f));

    return _mm512_min_ps(_mm512_sub_ps(_mm512_add_ps(a, big), big), _mm512_set1_ps(6));
}

/* Codes of 16 numbers of the grid as bytes, with signs. */
AVX512 static inline __m128i codes_avx512(__m512 v, __m512 q)
{
    __m128i code = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_add_ps(q, q)));
    __m128i sign = _mm512_cvtepi32_epi8(_mm512_srli_epi32(_mm512_castps_si512(v), 28));

    /* twice a value of the grid is a whole number, whose code this is */
    code = _mm_shuffle_epi8(_mm_setr_epi8(0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0), code);
    return _mm_or_si128(code, _mm_and_si128(sign, _mm_set1_epi8(8)));
}

AVX512 static inline void pack_avx512(const __m512 v[2], __m512 lo, __m512 hi, uint8_t *block)
{
    __m256i code = _mm256_set_m128i(codes_avx512(v[1], hi), codes_avx512(v[0], lo));

    code = _mm256_maddubs_epi16(code, _mm256_set1_epi16(0x1001));
    _mm_storeu_si128((__m128i *)block, _mm256_cvtepi16_epi8(code));
}

/* As encode_block. */
AVX512 static inline uint8_t encode_avx512(const __m512 v[2], float a, uint8_t *block, __m512d *err,
                                           __m512d *sum)
{
    int e = clamp_exponent(floor_log2(a) - 2), e2 = clamp_exponent(e + 1);
    __m512 s = _mm512_set1_ps(power2(-e)), s2 = _mm512_set1_ps(power2(-e2));
    __m512 x = _mm512_mul_ps(_mm512_abs_ps(v[0]), s), y = _mm512_mul_ps(_mm512_abs_ps(v[1]), s);
    __m512 x2 = _mm512_mul_ps(_mm512_abs_ps(v[0]), s2), y2 = _mm512_mul_ps(_mm512_abs_ps(v[1]), s2);
    __m512 q = round_avx512(x), r = round_avx512(y), q2 = round_avx512(x2), r2 = round_avx512(y2);
    __m512d part = parts_avx512(_mm512_sub_ps(x, q), _mm512_sub_ps(y, r));
    __m512d part2 = parts_avx512(_mm512_sub_ps(x2, q2), _mm512_sub_ps(y2, r2));
    __m512d both = sums_avx512(part, part2);
    double d = _mm512_cvtsd_f64(both), d2 = _mm512_cvtsd_f64(_mm512_unpackhi_pd(both, both));
    int best = (e2 > e) & (4 * d2 < d);
    __mmask16 m = (__mmask16)-best;

    pack_avx512(v, _mm512_mask_mov_ps(q, m, q2), _mm512_mask_mov_ps(r, m, r2), block);
    part = _mm512_mask_mov_pd(part, (__mmask8)m, part2);
    *err = _mm512_add_pd(*err, _mm512_mul_pd(part, _mm512_set1_pd(power4(e + best * (e2 - e)))));
    *sum = _mm512_add_pd(*sum, parts_avx512(v[0], v[1]));
    return (uint8_t)(e + best * (e2 - e) + BIAS);
}

AVX512 static void blocks_avx512(const float *src, size_t n_blocks, uint8_t *blocks, uint8_t *scales,
                                 double *err, double *sum)
{
    __m512d all_err = _mm512_setzero_pd(), all_sum = _mm512_setzero_pd();
    size_t i;

    for (i = 0; i < n_blocks; i++, src += MXFP4_BLOCK, blocks += MXFP4_BYTES) {
        __m512 v[2] = {_mm512_loadu_ps(src), _mm512_loadu_ps(src + 16)};
        float a = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v[0]), _mm512_abs_ps(v[1])));

        scales[i] = 0;
        if (a > 0)
            scales[i] = encode_avx512(v, a, blocks, &all_err, &all_sum);
        else
            pack_avx512(v, _mm512_setzero_ps(), _mm512_setzero_ps(), blocks);
    }
    _mm512_storeu_pd(err, all_err);
    _mm512_storeu_pd(sum, all_sum);
}
#endif

void mxfp4_from_f32(const float *src, size_t n_blocks, uint8_t *blocks, uint8_t *scales, double *err2,
                    double *sum2)
{
    double err[PARTS] = {0}, sum[PARTS] = {0};

#if defined(__x86_64__)
    if (isa_best() >= ISA_AVX512)
        blocks_avx512(src, n_blocks, blocks, scales, err, sum);
    else
#endif
        plain_blocks(src, n_blocks, blocks, scales, err, sum);
    if (err2)
        *err2 += sum_parts(err);
    if (sum2)
        *sum2 += sum_parts(sum);
}
