/*
 * fp8.h -- FP8 E4M3 (the "fn" kind: no infinity, 0x7f and 0xff are NaN, largest 448).
 */
#ifndef MOE_QUANT_FP8_H
#define MOE_QUANT_FP8_H

#include <stddef.h>
#include <stdint.h>

/* The value of every code; NaN for 0x7f and 0xff. */
extern const float e4m3_value[256];

/* n codes times one scale, multiplied in f32 and rounded once. */
void e4m3_to_f32(const uint8_t *src, float scale, size_t n, float *dst);
void e4m3_to_bf16(const uint8_t *src, float scale, size_t n, uint16_t *dst);

#endif
