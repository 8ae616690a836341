/*
 * emulated_tiles.h -- the tile instructions of x86 in plain C, for test_gemm.c: 8 registers of 16 rows of
 * 64 bytes.
 */
#ifndef MOE_TESTS_EMULATED_TILES_H
#define MOE_TESTS_EMULATED_TILES_H

#include <stdint.h>
#include <string.h>

#include "quant/bf16.h"

static uint8_t tile_register[8][16][64];
static int tiles_configured;

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(c) ((void)(c), tiles_configured++)
#define _tile_release()     (tiles_configured--)
#define _tile_zero(t)       memset(tile_register[t], 0, sizeof *tile_register)
#define _tile_loadd         tile_load
#define _tile_stored        tile_store
#define _tile_dpbf16ps      tile_product

static inline void tile_load(int t, const void *p, size_t step)
{
    int i;

    for (i = 0; i < 16; i++)
        memcpy(tile_register[t][i], (const uint8_t *)p + (size_t)i * step, 64);
}

static inline void tile_store(int t, void *p, size_t step)
{
    int i;

    for (i = 0; i < 16; i++)
        memcpy((uint8_t *)p + (size_t)i * step, tile_register[t][i], 64);
}

/* sum [16][16] += a [16][32] times b [16 pairs of inputs][16 columns][2] */
static inline void tile_product(int sum, int a, int b)
{
    uint16_t x[16][32], w[16][16][2];
    float y[16][16];
    int i, j, k;

    memcpy(x, tile_register[a], sizeof x);
    memcpy(w, tile_register[b], sizeof w);
    memcpy(y, tile_register[sum], sizeof y);
    for (i = 0; i < 16; i++)
        for (k = 0; k < 32; k++)
            for (j = 0; j < 16; j++)
                y[i][j] += bf16_to_f32(x[i][k]) * bf16_to_f32(w[k / 2][j][k % 2]);
    memcpy(tile_register[sum], y, sizeof y);
}

#endif
