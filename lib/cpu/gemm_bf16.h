/*
 * gemm_bf16.h -- products of bf16 by x86's own instructions: W packed in tiles of 32 inputs by 16 outputs,
 * f32 sums over all inputs in order. Unlike a library's they cost what their rows cost, and little for a
 * call. See gemm.h for the arrays.
 */
#ifndef MOE_ENGINE_GEMM_BF16_H
#define MOE_ENGINE_GEMM_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/gemm.h"

enum { BF16_STRIP = 32 };

/* What there is for them: AVX-512's products of pairs; tiles (AMX), which are several times as fast. */
enum bf16_unit { BF16_NONE, BF16_PAIRS, BF16_TILES };

/* The best that processor and system have; asks the system for the right to use tiles. */
enum bf16_unit bf16_unit(void);
size_t bf16_packed_bytes(int k, int n);
/* rows: W [n][ld]; strips of BF16_STRIP rows may be packed one after the other. */
void bf16_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed);
/* y [GEMM_ROWS][n] = x [GEMM_ROWS][k] W^T, of which `part` is wanted: writes whole sixteens of rows and of
 * columns, the latter within n; reads x in whole sixteens of rows and thirty-twos of inputs. */
void bf16_run(enum bf16_unit unit, int k, int n, const uint16_t *x, const uint8_t *packed,
              struct gemm_part part, float *y);

#endif
