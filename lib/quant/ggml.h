/*
 * ggml.h -- the blocks of ggml (dtype.h), sixteen elements at a time.
 *
 * Whatever the type, sixteen elements that follow each other are d * q - m with codes q of 8 bits: how d, m
 * and q lie in a block is all that distinguishes types. The product and the difference round to f32 one after
 * the other, and so do the products that d and m are made of, in ggml's order: the values are those of
 * dequantize_row_X of ggml-quants.c bit for bit. A type here is a function, take_X, of the block, and of
 * which of its sixteens.
 */
#ifndef MOE_QUANT_GGML_H
#define MOE_QUANT_GGML_H

#include "quant/bf16.h"
#include "quant/dtype.h"
#include "quant/ggml_grids.h"

enum { SIXTEEN = 16 };

/* For the host or for kernels, as are the grids. */
#ifdef __CUDACC__
#define GGML_INLINE static __device__ __forceinline__
#else
#define GGML_INLINE static inline
#endif

struct sixteen {
    float d, m; /* m 0: there is none (x - 0 is x, -0 too) */
    int8_t q[SIXTEEN];
};

/* Where a GPU's compiler would make one operation of two, which rounds once. */
GGML_INLINE float sixteen_at(const struct sixteen *s, int i)
{
#ifdef __CUDACC__
    return __fsub_rn(__fmul_rn(s->d, (float)s->q[i]), s->m);
#else
    return s->d * (float)s->q[i] - s->m;
#endif
}

/* ---- parts of blocks; numbers are of the little end, and lie anywhere ---- */

GGML_INLINE uint32_t le16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

GGML_INLINE uint32_t le32(const uint8_t *p)
{
    return le16(p) | le16(p + 2) << 16;
}

GGML_INLINE float half_at(const uint8_t *p)
{
    return f16_to_f32((uint16_t)le16(p));
}

/* Sixteen numbers of `bits` bits of the bytes at p, from bit `shift` on, minus `zero`. */
GGML_INLINE void take_bits(const uint8_t *p, int shift, int bits, int zero, int8_t q[SIXTEEN])
{
    int i;

    for (i = 0; i < SIXTEEN; i++)
        q[i] = (int8_t)((p[i] >> shift & ((1 << bits) - 1)) - zero);
}

/* The lower or the higher halves of the bytes at p, minus `zero`; shifts that are known are what is fast. */
GGML_INLINE void take_nibbles(const uint8_t *p, bool high, int zero, int8_t q[SIXTEEN])
{
    if (high)
        take_bits(p, 4, 4, zero, q);
    else
        take_bits(p, 0, 4, zero, q);
}

/* Sixteen numbers of 1 or 2 bits that fill the bytes at p, as `one` times them minus `zero`. */
GGML_INLINE void take_dense(const uint8_t *p, int bits, int one, int zero, int8_t q[SIXTEEN])
{
    int i, per = 8 / bits;

    for (i = 0; i < SIXTEEN; i++)
        q[i] = (int8_t)((p[i / per] >> i % per * bits & ((1 << bits) - 1)) * one - zero);
}

/* One more bit, worth `one`, of the sixteen bytes at p. */
GGML_INLINE void add_bit(const uint8_t *p, int shift, int one, int8_t q[SIXTEEN])
{
    int i;

    for (i = 0; i < SIXTEEN; i++)
        q[i] = (int8_t)(q[i] + (p[i] >> shift & 1) * one);
}

/* The values of codes 0..15: one instruction, where the processor has it. */
GGML_INLINE void look_up(const int8_t value[16], int8_t q[SIXTEEN])
{
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
    typedef int8_t bytes __attribute__((vector_size(SIXTEEN)));
    bytes v, c;

    memcpy(&v, value, sizeof v);
    memcpy(&c, q, sizeof c);
    v = __builtin_shuffle(v, c);
    memcpy(q, &v, sizeof v);
#else
    int i;

    for (i = 0; i < SIXTEEN; i++)
        q[i] = value[q[i]];
#endif
}

/* ---- 32 elements with a scale of f16, and a least value ---- */

GGML_INLINE void take_Q4_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    take_nibbles(b + 2, g, 8, s->q);
}

GGML_INLINE void take_Q4_1(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = -half_at(b + 2);
    take_nibbles(b + 4, g, 0, s->q);
}

/* The fifth bits lie together. */
GGML_INLINE void take_fifth(const uint8_t *bits, const uint8_t *p, int g, int zero, int8_t q[SIXTEEN])
{
    uint32_t high = le16(bits + 2 * g);
    int i;

    take_nibbles(p, g, zero, q);
    for (i = 0; i < SIXTEEN; i++)
        q[i] = (int8_t)(q[i] + (int)(high >> i & 1) * 16);
}

GGML_INLINE void take_Q5_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    take_fifth(b + 2, b + 6, g, 16, s->q);
}

GGML_INLINE void take_Q5_1(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = -half_at(b + 2);
    take_fifth(b + 4, b + 8, g, 0, s->q);
}

GGML_INLINE void take_Q8_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    memcpy(s->q, b + 2 + SIXTEEN * g, SIXTEEN);
}

/* The sum after the scale is for products with other blocks. */
GGML_INLINE void take_Q8_1(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    memcpy(s->q, b + 4 + SIXTEEN * g, SIXTEEN);
}

/* ---- K: 256 elements with scales of scales ---- */

/* Codes of 2 bits lie in halves of 128, each in 32 bytes: the sixteens of a half take two bits after another.
 */
GGML_INLINE void take_crumbs(const uint8_t *p, int g, int zero, int8_t q[SIXTEEN])
{
    take_bits(p + 32 * (g / 8) + SIXTEEN * (g % 2), g % 8 / 2 * 2, 2, zero, q);
}

GGML_INLINE void take_Q2_K(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b + 80) * (float)(b[g] & 15);
    s->m = half_at(b + 82) * (float)(b[g] >> 4);
    take_crumbs(b + 16, g, 0, s->q);
}

GGML_INLINE void take_Q3_K(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *scale = b + 96;
    int low = scale[g % 8] >> g / 8 * 4 & 15, high = scale[8 + g % 4] >> g / 4 * 2 & 3;

    s->d = half_at(b + 108) * (float)((low | high << 4) - 32);
    s->m = 0;
    take_crumbs(b + 32, g, 4, s->q);
    add_bit(b + SIXTEEN * (g % 2), g / 2, 4, s->q);
}

/* Scale and least value of 32 elements, of 6 bits each. */
GGML_INLINE void k_scales(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *p = b + 4;
    int j = g / 2, scale = p[j & 7] & 63, least = p[(j & 3) + 4] & 63;

    if (j >= 4) {
        scale = (p[j + 4] & 15) | p[j - 4] >> 6 << 4;
        least = p[j + 4] >> 4 | p[j] >> 6 << 4;
    }
    s->d = half_at(b) * (float)scale;
    s->m = half_at(b + 2) * (float)least;
}

GGML_INLINE void take_Q4_K(const uint8_t *b, int g, struct sixteen *s)
{
    k_scales(b, g, s);
    take_nibbles(b + 16 + 32 * (g / 4) + SIXTEEN * (g % 2), g / 2 % 2, 0, s->q);
}

GGML_INLINE void take_Q5_K(const uint8_t *b, int g, struct sixteen *s)
{
    k_scales(b, g, s);
    take_nibbles(b + 48 + 32 * (g / 4) + SIXTEEN * (g % 2), g / 2 % 2, 0, s->q);
    add_bit(b + 16 + SIXTEEN * (g % 2), g / 2, 16, s->q);
}

GGML_INLINE void take_Q6_K(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *low = b + 64 * (g / 8) + SIXTEEN * (g % 4);
    const uint8_t *high = b + 128 + 32 * (g / 8) + SIXTEEN * (g % 2);
    int i;

    s->d = half_at(b + 208) * (float)(int8_t)b[192 + g];
    s->m = 0;
    for (i = 0; i < SIXTEEN; i++)
        s->q[i] = (int8_t)(((low[i] >> g % 8 / 4 * 4 & 15) | (high[i] >> g % 8 / 2 * 2 & 3) << 4) - 32);
}

GGML_INLINE void take_Q8_K(const uint8_t *b, int g, struct sixteen *s)
{
    uint32_t bits = le32(b);

    memcpy(&s->d, &bits, 4);
    s->m = 0;
    memcpy(s->q, b + 4 + SIXTEEN * g, SIXTEEN);
}

/* ---- -1, 0 and 1, and what else has no levels between ---- */

/* Five to a byte, as the first digits to base 3 of a fraction of 256; the last sixteen four to a byte. */
GGML_INLINE void take_TQ1_0(const uint8_t *b, int g, struct sixteen *s)
{
    int i, at = g < 10 ? SIXTEEN * (g % 2) : g < 15 ? 32 : 48, digit = g < 10 ? g / 2 : g - 10;

    s->d = half_at(b + 52);
    s->m = 0;
    for (i = 0; i < SIXTEEN; i++) {
        int k = g < 15 ? digit : i / 4, power = k < 2 ? 1 + 2 * k : k == 2 ? 9 : k == 3 ? 27 : 81;
        uint8_t rest = (uint8_t)(b[at + (g < 15 ? i : i % 4)] * power);

        s->q[i] = (int8_t)((rest * 3 >> 8) - 1);
    }
}

GGML_INLINE void take_TQ2_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b + 64);
    s->m = 0;
    take_crumbs(b, g, 1, s->q);
}

GGML_INLINE void take_Q1_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    take_dense(b + 2 + 2 * g, 1, 2, 1, s->q);
}

GGML_INLINE void take_Q2_0(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    take_dense(b + 2 + 4 * g, 2, 1, 1, s->q);
}

/* ---- sixteen values, not evenly apart ---- */

/* Twice e2m1, whose -0 is a 0 here. */
GGML_INLINE void look_up_e2m1(int8_t q[SIXTEEN])
{
    const int8_t value[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

    look_up(value, q);
}

GGML_INLINE void look_up_nl(int8_t q[SIXTEEN])
{
    const int8_t value[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

    look_up(value, q);
}

/* Half of 2^(byte - 127), for values that are twice as large. 255 is no NaN here. */
GGML_INLINE void take_MXFP4(const uint8_t *b, int g, struct sixteen *s)
{
    uint32_t bits = b[0] < 2 ? 0x00200000u << b[0] : (uint32_t)(b[0] - 1) << 23;

    memcpy(&s->d, &bits, 4);
    s->m = 0;
    take_nibbles(b + 1, g, 0, s->q);
    look_up_e2m1(s->q);
}

/* Half of a number of e4m3 without its sign; its NaN is 0. */
GGML_INLINE float half_of_e4m3(uint8_t code)
{
    int exp = code >> 3 & 15, frac = code & 7;
    uint32_t bits = (uint32_t)(exp + 119) << 23 | (uint32_t)frac << 20;
    float f;

    memcpy(&f, &bits, 4);
    return code == 0x7f ? 0 : exp ? f : (float)frac * 0x1p-10f;
}

GGML_INLINE void take_NVFP4(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *p = b + 4 + 8 * g;
    int i;

    s->d = half_of_e4m3(b[g]);
    s->m = 0;
    for (i = 0; i < SIXTEEN; i++)
        s->q[i] = (int8_t)(p[i % 8] >> i / 8 * 4 & 15);
    look_up_e2m1(s->q);
}

GGML_INLINE void take_IQ4_NL(const uint8_t *b, int g, struct sixteen *s)
{
    s->d = half_at(b);
    s->m = 0;
    take_nibbles(b + 2, g, 0, s->q);
    look_up_nl(s->q);
}

GGML_INLINE void take_IQ4_XS(const uint8_t *b, int g, struct sixteen *s)
{
    int j = g / 2, scale = (b[4 + j / 2] >> j % 2 * 4 & 15) | (int)(le16(b + 2) >> 2 * j & 3) << 4;

    s->d = half_at(b) * (float)(scale - 32);
    s->m = 0;
    take_nibbles(b + 8 + SIXTEEN * j, g % 2, 0, s->q);
    look_up_nl(s->q);
}

/* ---- grids of magnitudes, and signs ---- */

/* Seven signs; the eighth makes the number of minuses even. */
GGML_INLINE uint32_t eight_signs(uint32_t seven)
{
    uint32_t odd = seven ^ seven >> 4;

    odd ^= odd >> 2;
    return seven | ((odd ^ odd >> 1) & 1) << 7;
}

/* Eight of an entry of the IQ2 grids. */
GGML_INLINE void put_iq2(uint32_t entry, uint32_t signs, int8_t q[8])
{
    int i;

    for (i = 0; i < 8; i++) {
        int k = (int)(entry >> 2 * i & 3), v = 8 + 17 * k + k / 2; /* 8, 25, 43 */

        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

/* Four of an entry of a grid of IQ3: 4, 12, 20 ... 52, 62, or 1, 3 ... 15. */
GGML_INLINE void put_iq3(uint32_t entry, uint32_t signs, bool xxs, int8_t q[4])
{
    int i;

    for (i = 0; i < 4; i++) {
        int k = (int)(entry >> 4 * i & 7), v = xxs ? 4 + 8 * k + k / 7 * 2 : 1 + 2 * k;

        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

/* Eight of an entry of the grid of IQ1, in eighths: -1, 0 or 1, an eighth up or down. */
GGML_INLINE void put_iq1(uint32_t entry, bool down, int8_t q[8])
{
    int i;

    for (i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * ((int)(entry >> 2 * i & 3) - 1) + (down ? -1 : 1));
}

GGML_INLINE void take_IQ2_XXS(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *p = b + 2 + 8 * (g / 2);
    uint32_t aux = le32(p + 4);
    int i, k;

    s->d = half_at(b) * (.5f + (float)(aux >> 28)) * .25f;
    s->m = 0;
    for (i = 0; i < 2; i++) {
        k = g % 2 * 2 + i;
        put_iq2(grid_iq2_xxs[p[k]], eight_signs(aux >> 7 * k & 127), s->q + 8 * i);
    }
}

GGML_INLINE void take_IQ2_XS(const uint8_t *b, int g, struct sixteen *s)
{
    int i;

    s->d = half_at(b) * (.5f + (float)(b[66 + g / 2] >> g % 2 * 4 & 15)) * .25f;
    s->m = 0;
    for (i = 0; i < 2; i++) {
        uint32_t code = le16(b + 2 + 4 * g + 2 * i);

        put_iq2(grid_iq2_xs[code & 511], eight_signs(code >> 9), s->q + 8 * i);
    }
}

GGML_INLINE void take_IQ2_S(const uint8_t *b, int g, struct sixteen *s)
{
    int i, k;

    s->d = half_at(b) * (.5f + (float)(b[74 + g / 2] >> g % 2 * 4 & 15)) * .25f;
    s->m = 0;
    for (i = 0; i < 2; i++) {
        k = 2 * g + i;
        put_iq2(grid_iq2_s[b[2 + k] | (b[66 + k / 4] >> k % 4 * 2 & 3) << 8], b[34 + k], s->q + 8 * i);
    }
}

GGML_INLINE void take_IQ3_XXS(const uint8_t *b, int g, struct sixteen *s)
{
    uint32_t aux = le32(b + 66 + 4 * (g / 2));
    int i;

    s->d = half_at(b) * (.5f + (float)(aux >> 28)) * .5f;
    s->m = 0;
    for (i = 0; i < 4; i++)
        put_iq3(grid_iq3_xxs[b[2 + 4 * g + i]],
                eight_signs(aux >> 7 * (g % 2 * 2 + i / 2) & 127) >> i % 2 * 4, true, s->q + 4 * i);
}

GGML_INLINE void take_IQ3_S(const uint8_t *b, int g, struct sixteen *s)
{
    int i, k;

    s->d = half_at(b) * (float)(1 + 2 * (b[106 + g / 4] >> g / 2 % 2 * 4 & 15));
    s->m = 0;
    for (i = 0; i < 4; i++) {
        k = 4 * g + i;
        put_iq3(grid_iq3_s[b[2 + k] | (b[66 + k / 8] >> k % 8 & 1) << 8],
                (uint32_t)b[74 + k / 2] >> k % 2 * 4, false, s->q + 4 * i);
    }
}

GGML_INLINE void take_IQ1_S(const uint8_t *b, int g, struct sixteen *s)
{
    uint32_t high = le16(b + 34 + 2 * (g / 2));
    int i;

    s->d = half_at(b) * (float)(2 * (high >> 12 & 7) + 1) * .125f;
    s->m = 0;
    for (i = 0; i < 2; i++)
        put_iq1(grid_iq1[b[2 + 2 * g + i] | (high >> 3 * (g % 2 * 2 + i) & 7) << 8], high >> 15,
                s->q + 8 * i);
}

/* The scale of f16 is in the highest four bits of four numbers. */
GGML_INLINE void take_IQ1_M(const uint8_t *b, int g, struct sixteen *s)
{
    const uint8_t *p = b + 48;
    uint32_t half = le16(p) >> 12 | (le16(p + 2) >> 8 & 0xf0), high;
    int i, k;

    half |= (le16(p + 4) >> 4 & 0xf00) | (le16(p + 6) & 0xf000);
    s->d = f16_to_f32((uint16_t)half) * (float)(2 * (le16(p + g / 4 * 2) >> g % 4 * 3 & 7) + 1) * .125f;
    s->m = 0;
    for (i = 0; i < 2; i++) {
        k = 2 * g + i;
        high = b[32 + k / 2] >> k % 2 * 4 & 15;
        put_iq1(grid_iq1[b[k] | (high & 7) << 8], high >> 3, s->q + 8 * i);
    }
}

#endif
