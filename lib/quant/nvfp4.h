/*
 * nvfp4.h -- numbers to NVFP4: blocks of 16 elements E2M1 with one E4M3 scale each, and one number for the
 * whole map, here always a power of two. So a scale is a number of 4 bits times a power of two, every value
 * has 6 bits and is exact in BF16, and blocks that came from MXFP4 with scales not more than 2^17 apart come
 * back exactly.
 */
#ifndef MOE_QUANT_NVFP4_H
#define MOE_QUANT_NVFP4_H

#include <stddef.h>
#include <stdint.h>

enum { NVFP4_BLOCK = 16 };

/* What scales are divided by, for maps with this largest magnitude: 2^8, which E4M3 has, becomes the least
 * power of two that 6 times reaches it. */
float nvfp4_global(float most);

/*
 * A row of n numbers, whole blocks, all finite, to n / 2 bytes, the first code in the low nibble, and n / 16
 * scales. Each scale is the best of all codes of E4M3 by squared error, weighed by energy[n] if that is not
 * NULL. Those not tried cannot be better: under one whose clipping alone costs more than the best, clipping
 * costs more; over amax / 3.5 half of the scale holds every value that the scale does, where E4M3 has the
 * half. *err2 and *sum2 get sum (v - q)^2 and sum v^2 added, unweighed; returns the blocks whose values are
 * as they were.
 */
size_t nvfp4_row(const float *src, const float *energy, size_t n, float global, uint8_t *codes,
                 uint8_t *scales, double *err2, double *sum2);

#endif
