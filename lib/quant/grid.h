/*
 * grid.h -- the nearest numbers of small floating-point formats, in plain arithmetic that vectorises: numbers
 * that are not negative are compared by their bits. Ties go to even. Inlined everywhere, so that each set of
 * instructions (quant/hot.h) has its own.
 */
#ifndef MOE_QUANT_GRID_H
#define MOE_QUANT_GRID_H

#include <stdint.h>
#include <string.h>

#define INTO static inline __attribute__((always_inline))

INTO uint32_t bits_of(float v)
{
    uint32_t b;

    memcpy(&b, &v, 4);
    return b;
}

INTO float of_bits(uint32_t b)
{
    float v;

    memcpy(&v, &b, 4);
    return v;
}

/*
 * The nearest to a >= 0 of the numbers with so many bits behind the first one, from `least` (bits of a power
 * of two) on; under it in steps of its own; no more than `most` (bits). Adding 2^(23-fraction) times the
 * power of two under a number leaves that many bits of it.
 */
INTO float grid_nearest(float a, uint32_t least, int fraction, uint32_t most)
{
    uint32_t power = bits_of(a) & 0x7f800000, r;
    float big = of_bits((power > least ? power : least) + ((23u - (uint32_t)fraction) << 23));

    r = bits_of((a + big) - big);
    return of_bits(r < most ? r : most);
}

/* E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6. */
INTO float e2m1_nearest(float a)
{
    return grid_nearest(a, 0x3f800000, 1, 0x40c00000);
}

/* The code of one of them. */
INTO uint32_t e2m1_code(float q)
{
    uint32_t b = bits_of(q), c = b >> 22 > 0xfc ? (b >> 22) - 0xfc : 1;

    return b ? c : 0;
}

/* E4M3, of a <= 448. */
INTO float e4m3_nearest(float a)
{
    return grid_nearest(a, 0x3c800000, 3, 0x43e00000);
}

INTO uint32_t e4m3_code(float q)
{
    uint32_t b = bits_of(q);

    /* subnormal: in steps of 2^-9, which are the last bits of numbers from 2^14 on */
    return b < 0x3c800000 ? bits_of(q + 0x1p14f) & 7 : (b >> 20) - (120 << 3);
}

/* Two codes of 4 bits to a byte, the first in the low one; n even. */
INTO void pack_nibbles(const uint32_t *restrict code, int n, uint8_t *restrict dst)
{
    uint64_t pair;
    int k;

    for (k = 0; k < n / 2; k++) {
        memcpy(&pair, code + 2 * k, sizeof pair);
        dst[k] = (uint8_t)(pair | pair >> 28);
    }
}

#endif
