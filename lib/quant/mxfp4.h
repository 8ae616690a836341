/*
 * mxfp4.h -- MXFP4 (OCP Microscaling 1.0): blocks of 32 elements E2M1 with one E8M0 scale.
 *
 * A block on disk (GPT-OSS and compressed-tensors alike) is 16 bytes, element 2k in the low nibble of
 * byte k and element 2k+1 in its high nibble, and a scale byte s: value = e2m1(code) * 2^(s-127).
 * s = 255 is NaN and is refused on reading. Codes 0..7 are 0 .5 1 1.5 2 3 4 6, 8..15 their negatives.
 */
#ifndef MOE_QUANT_MXFP4_H
#define MOE_QUANT_MXFP4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MXFP4_BLOCK = 32, MXFP4_BYTES = 16, MXFP4_MOST = 252 /* scale byte that no code overflows with */ };

/* The value of every E2M1 code. */
extern const float e2m1_value[16];

/* n_blocks blocks -> 32 * n_blocks values, exact in both types (values under the normal range included).
 * Scales 253 and 254 overflow to infinity with the larger codes, 255 gives NaN. */
void mxfp4_to_f32(const uint8_t *blocks, const uint8_t *scales, size_t n_blocks, float *dst);
void mxfp4_to_bf16(const uint8_t *blocks, const uint8_t *scales, size_t n_blocks, uint16_t *dst);
/* Index of the first scale byte 255, or n. */
size_t mxfp4_bad_scale(const uint8_t *scales, size_t n);

/*
 * Values -> blocks. The scale is the better, by squared error in f64, of the OCP rule
 * e = floor(log2 max|v|) - 2 and e + 1 (the smaller e on a tie). Of 60,000 Gauss, Laplace and heavy-tailed
 * blocks none had a better exponent than these two; a block made for it can. Elements round to
 * nearest, ties to even, saturating at 6. A zero block gets scale 0; zeros keep their sign (code 8 is -0).
 * Values that an MXFP4 block could have produced come back exactly. n = 32 * blocks values, all finite (check
 * before: mxfp4_from_f32 does not). *err2 and *sum2, if not NULL, get sum (v - q)^2 and sum v^2 added.
 */
void mxfp4_from_f32(const float *src, size_t n_blocks, uint8_t *blocks, uint8_t *scales, double *err2,
                    double *sum2);
/* The same for numbers whose squared errors weigh energy[n] >= 0: of three scales, that of the rule, half and
 * twice it, the best by weighed error. *err2 and *sum2 get what they get above, unweighed. */
void mxfp4_weighed(const float *src, const float *energy, size_t n_blocks, uint8_t *blocks, uint8_t *scales,
                   double *err2, double *sum2);

#endif
