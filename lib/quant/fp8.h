/*
 * fp8.h -- FP8 E4M3 (the "fn" kind: no infinity, 0x7f and 0xff are NaN, largest 448), block-scaled as
 * DeepSeek-V3 ships it: one f32 scale per 128 x 128 block, which multiplies (although it is called
 * weight_scale_inv); blocks at the edges may be partial.
 */
#ifndef MOE_QUANT_FP8_H
#define MOE_QUANT_FP8_H

#include <stddef.h>
#include <stdint.h>

enum { FP8_BLOCK = 128 };

/* The value of every code; NaN for 0x7f and 0xff. */
extern const float e4m3_value[256];

/*
 * Rows first .. first+rows-1 of a matrix [out][in] of codes to f32 or bf16: value = e4m3(code) * scale[row /
 * 128][col / 128], multiplied in f32, rounded once. src points at row `first`; scale at the matrix's own
 * [ceil(out/128)][ceil(in/128)].
 */
void fp8_to_f32(const uint8_t *src, const float *scale, size_t first, size_t rows, size_t in, float *dst);
void fp8_to_bf16(const uint8_t *src, const float *scale, size_t first, size_t rows, size_t in, uint16_t *dst);

#endif
