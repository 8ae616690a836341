/*
 * gemm_amx.h -- products of bf16 by the tile instructions of x86 (AMX): W packed in tiles of 32 inputs by 16
 * outputs, f32 sums over all inputs in order. Unlike a library's, they cost what their rows cost, in steps of
 * 16, and no call of their own. See gemm.h for the arrays.
 */
#ifndef MOE_ENGINE_GEMM_AMX_H
#define MOE_ENGINE_GEMM_AMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gemm.h"

enum { AMX_STRIP = 32 };

/* Whether processor and system have them; asks the system for the right to use them. */
bool amx_open(void);
size_t amx_packed_bytes(int k, int n);
/* rows: W [n][ld]; strips of AMX_STRIP rows may be packed one after the other. */
void amx_pack(int k, int n, const uint16_t *rows, size_t ld, uint8_t *packed);
/* y [GEMM_ROWS][n] = x [GEMM_ROWS][k] W^T, of which `part` is wanted: writes whole sixteens of rows and of
 * columns, the latter within n; reads x in whole sixteens of rows and thirty-twos of inputs. */
void amx_run(int k, int n, const uint16_t *x, const uint8_t *packed, struct gemm_part part, float *y);

#endif
