/*
 * products_tile.h -- private to the products whose tiles of 128 rows by 128 columns pass through shared
 * memory: which one a block computes, and from there to what the operation wants of it (bias, activation,
 * residual, norms), so that no result makes a trip of its own through device memory.
 */
#ifndef MOE_KERNELS_PRODUCTS_TILE_H
#define MOE_KERNELS_PRODUCTS_TILE_H

#include "products.h"

enum { THREADS = 256, SHARED_ALIGN = 1024, TILE_LD = TILE_N + 4 };
enum { OUT_BYTES = TILE_M * TILE_LD * (int)sizeof(float) };

static inline int tile_columns(const struct gemm *g)
{
    (void)g;
    return TILE_N;
}

static inline dim3 tile_grid(const struct gemm *g)
{
    return dim3((unsigned)ceil_div(g->out, TILE_N),
                (unsigned)(g->tiles.count ? g->tiles.most : ceil_div(g->n, TILE_M)));
}

/* The block's tile; false: there is none. */
static __device__ __forceinline__ bool tile_find(const struct gemm &g, struct block *b)
{
    if (g.tiles.count && (int)blockIdx.y >= *g.tiles.count)
        return false;
    block_find(g, (int)blockIdx.y, b);
    b->column = (int)blockIdx.x * TILE_N;
    return true;
}

/* The row of x that goes into row r of the block. */
static __device__ __forceinline__ int64_t row_of(const struct gemm &g, const struct block &b, int r)
{
    return g.gather ? g.tiles.slot[b.at + r] / g.topk : b.at + r;
}

/* Two columns of the activation to a lane. */
static __device__ void finish_act(const struct gemm &g, const struct block &b, const float *row, size_t at)
{
    const float *bias = g.bias ? g.bias + (size_t)b.group * (size_t)g.bias_step : NULL;
    int o = (int)threadIdx.x % WARP * 2, i = b.column / 2 + o, c = o / 8 * 16 + o % 8;
    float v[2];

#pragma unroll
    for (int k = 0; k < 2; k++) {
        float gate = row[c + k], up = row[c + k + 8];

        if (bias && i + k < g.inter) {
            gate += bias[i + k];
            up += bias[g.inter + i + k];
        }
        v[k] = activate(gate, up, g.act, g.limit);
    }
    at = at * (size_t)g.inter + (size_t)i;
    if (g.bf16 && g.inter % 2 == 0 && i < g.inter) {
        *(__nv_bfloat162 *)((__nv_bfloat16 *)g.y + at) = __floats2bfloat162_rn(v[0], v[1]);
    } else {
#pragma unroll
        for (int k = 0; k < 2; k++)
            if (i + k < g.inter)
                elem_store(g.y, at + (size_t)k, v[k], g.bf16);
    }
}

enum { QUAD = 4 };

/* v to elements or floats at .., of which `have` exist; whole: all four, and they begin at a multiple of 4.
 */
static __device__ __forceinline__ void store(const struct gemm &g, size_t at, const float v[QUAD], int have,
                                             bool whole)
{
    bool half = g.mode != GEMM_STORE && g.bf16;

    if (whole && half) {
        __nv_bfloat162 *y = (__nv_bfloat162 *)((__nv_bfloat16 *)g.y + at);

        y[0] = __floats2bfloat162_rn(v[0], v[1]);
        y[1] = __floats2bfloat162_rn(v[2], v[3]);
    } else if (whole) {
        *(float4 *)((float *)g.y + at) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
#pragma unroll
        for (int k = 0; k < QUAD; k++)
            if (k < have)
                elem_store(g.y, at + (size_t)k, v[k], half);
    }
}

/* Four columns to a lane. */
static __device__ void finish_row(const struct gemm &g, const struct block &b, const float *row,
                                  int64_t sorted)
{
    const float *bias = g.bias ? g.bias + (size_t)b.group * (size_t)g.bias_step : NULL;
    int lane = (int)threadIdx.x % WARP, c = b.column + lane * QUAD, have = g.out - c;
    size_t at =
        (size_t)(g.mode == GEMM_SCATTER && g.tiles.slot ? g.tiles.slot[sorted] : sorted) * (size_t)g.out +
        (size_t)c;
    float4 raw = *(const float4 *)(const void *)(row + lane * QUAD);
    float v[QUAD] = {raw.x, raw.y, raw.z, raw.w}, sum = 0, most = 0;

#pragma unroll
    for (int k = 0; k < QUAD; k++)
        if (k < have) {
            if (bias)
                v[k] += bias[c + k];
            if (g.mode == GEMM_ADD)
                v[k] += elem_load(g.y, at + (size_t)k, g.bf16);
            sum += v[k] * v[k];
            most = fmaxf(most, fabsf(v[k]));
        }
    store(g, at, v, have, g.out % QUAD == 0 && have > 0);
    if (g.part) {
        sum = warp_sum(sum);
        most = warp_max(most);
        if (lane == 0)
            g.part[(size_t)sorted * gridDim.x + blockIdx.x] = make_float2(sum, most);
    }
}

/* tile [TILE_M][TILE_LD] in shared memory. */
static __device__ void products_finish(const struct gemm &g, const struct block &b, const float *tile)
{
    for (int r = (int)threadIdx.x / WARP; r < b.rows; r += (int)blockDim.x / WARP) {
        if (g.mode == GEMM_ACT)
            finish_act(g, b, tile + r * TILE_LD, (size_t)(b.at + r));
        else
            finish_row(g, b, tile + r * TILE_LD, b.at + r);
    }
}

#endif
