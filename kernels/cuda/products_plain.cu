/*
 * products_plain.cu -- matrix products of any shape and element type on the plain units, with true f32: row
 * tiles of x times W^T, one launch for all groups (experts).
 */
#include "products_tile.h"

enum { PLAIN_DEEP = 16, PLAIN_LD = TILE_M + 4 };

/* 16 numbers of each of 128 rows, turned over, into t [PLAIN_DEEP][PLAIN_LD]. */
static __device__ __forceinline__ void plain_feed(const struct gemm &g, const struct block &b, float *x,
                                                  float *w, int k0)
{
    int k = (int)threadIdx.x % PLAIN_DEEP, first = (int)threadIdx.x / PLAIN_DEEP;
    bool half = g.bf16 && !g.w_f32;

#pragma unroll
    for (int r = first; r < TILE_M; r += THREADS / PLAIN_DEEP) {
        bool in = k0 + k < g.in;

        x[k * PLAIN_LD + r] =
            in && r < b.rows ? elem_load(g.x, (size_t)(row_of(g, b, r) * g.in + k0 + k), g.bf16) : 0;
        w[k * PLAIN_LD + r] =
            in && b.column + r < g.out
                ? elem_load(b.w, weight_at(g.w_rows, g.ld, b.column + r, k0 + k, half), half)
                : 0;
    }
}

__global__ void __launch_bounds__(THREADS) gemm_plain(const struct gemm g)
{
    extern __shared__ __align__(SHARED_ALIGN) uint8_t shared[];
    float *tile = (float *)(void *)shared, *x = tile, *w = tile + PLAIN_DEEP * PLAIN_LD;
    int tm = (int)threadIdx.x / 16 * 4, tn = (int)threadIdx.x % 16 * 4;
    float acc[8][8] = {};
    struct block b;

    if (!tile_find(g, &b))
        return;
    for (int k0 = 0; k0 < g.in; k0 += PLAIN_DEEP) {
        __syncthreads();
        plain_feed(g, b, x, w, k0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < PLAIN_DEEP; k++) {
            float a[8], v[8];

#pragma unroll
            for (int i = 0; i < 8; i++) {
                a[i] = x[k * PLAIN_LD + tm + i / 4 * 64 + i % 4];
                v[i] = w[k * PLAIN_LD + tn + i / 4 * 64 + i % 4];
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    acc[i][j] = fmaf(a[i], v[j], acc[i][j]);
        }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
            tile[(tm + i / 4 * 64 + i % 4) * TILE_LD + tn + j / 4 * 64 + j % 4] = acc[i][j];
    __syncthreads();
    products_finish(g, b, tile);
}

static bool plain_takes(const struct cuda *c, const struct matrix *m)
{
    (void)c;
    (void)m;
    return true;
}

static void plain_run(struct cuda *c, const struct gemm *g)
{
    cuda_ok(c, cudaFuncSetAttribute(gemm_plain, cudaFuncAttributeMaxDynamicSharedMemorySize, OUT_BYTES),
            "gemm");
    gemm_plain<<<tile_grid(g), THREADS, OUT_BYTES>>>(*g);
}

const struct maker maker_plain = {"plain", plain_takes, tile_columns, plain_run};
