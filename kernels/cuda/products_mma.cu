/*
 * products_mma.cu -- matrix products in bf16 on tensor cores of any kind: row tiles of x times W^T, one
 * launch for all groups (experts).
 */
#include "mma.h"
#include "products_tile.h"

enum { WARP_N = 32, DEEP = 64, STAGES = 3 };
enum { STAGE_BYTES = (TILE_M + TILE_N) * DEEP * 2, MMA_BYTES = STAGES * STAGE_BYTES };

/* Byte offset of 16-byte chunk c of row r in a tile of DEEP bf16 a row. */
static __device__ __forceinline__ uint32_t chunk_at(int r, int c)
{
    return (uint32_t)(r * DEEP * 2 + ((c ^ (r & 7)) << 4));
}

enum { COPIES = TILE_M * DEEP / 8 / THREADS, COPY_ROWS = THREADS / (DEEP / 8) };

/* What a thread copies of every stage: one chunk of COPIES rows of x and of W. */
struct feed {
    const __nv_bfloat16 *x[COPIES], *w[COPIES];
    unsigned have_x, have_w; /* bit i: row i exists */
};

static __device__ __forceinline__ void feed_open(struct feed *f, const struct gemm &g, const struct block &b)
{
    int chunk = (int)threadIdx.x % (DEEP / 8), first = (int)threadIdx.x / (DEEP / 8);

    f->have_x = f->have_w = 0;
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        int r = first + i * COPY_ROWS;
        bool x = r < b.rows, w = b.column + r < g.out;

        f->have_x |= (unsigned)x << i;
        f->have_w |= (unsigned)w << i;
        f->x[i] = (const __nv_bfloat16 *)g.x + (x ? row_of(g, b, r) : 0) * g.in + chunk * 8;
        f->w[i] = (const __nv_bfloat16 *)b.w + (int64_t)(w ? b.column + r : 0) * DEEP + chunk * 8;
    }
}

static __device__ __forceinline__ void feed_stage(const struct feed *f, const struct gemm &g, uint32_t smem,
                                                  int k)
{
    int chunk = (int)threadIdx.x % (DEEP / 8), first = (int)threadIdx.x / (DEEP / 8);
    bool in = k + chunk * 8 < g.in;

#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        uint32_t at = smem + chunk_at(first + i * COPY_ROWS, chunk);
        bool x = in && f->have_x >> i & 1, w = f->have_w >> i & 1;

        copy16(at, x ? f->x[i] + k : (const __nv_bfloat16 *)g.x, x ? 16 : 0);
        copy16(smem + (uint32_t)(TILE_M * DEEP * 2 + (first + i * COPY_ROWS) * DEEP * 2 + chunk * 16),
               f->w[i] + (w ? (int64_t)k * g.w_rows : 0), w ? 16 : 0);
    }
}

/* What a warp holds of x [64][16] and W [WARP_N][16]. */
struct fragments {
    uint32_t x[4][4], w[WARP_N / 16][4];
};

static __device__ __forceinline__ void fragments_load(struct fragments *f, uint32_t smem, int m0, int n0,
                                                      int ks)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < 4; i++)
        load4x(f->x[i], smem + chunk_at(m0 + i * 16 + (lane & 15), ks * 2 + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < WARP_N / 16; j++)
        load4x(f->w[j],
               smem + TILE_M * DEEP * 2 +
                   chunk_at(n0 + j * 16 + (lane & 7) + ((lane >> 4) << 3), ks * 2 + (lane >> 3 & 1)));
}

static __device__ __forceinline__ void fragments_multiply(float acc[4][WARP_N / 8][4],
                                                          const struct fragments *f)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; j++)
            mma(acc[i][j], f->x[i], &f->w[j / 2][j % 2 * 2]);
}

/* A warp's 64 x WARP_N part of one stage. */
static __device__ __forceinline__ void multiply(float acc[4][WARP_N / 8][4], uint32_t smem, int m0, int n0)
{
    struct fragments f;

#pragma unroll
    for (int ks = 0; ks < DEEP / 16; ks++) {
        fragments_load(&f, smem, m0, n0, ks);
        fragments_multiply(acc, &f);
    }
}

__global__ void __launch_bounds__(THREADS, 2) gemm_mma(const struct gemm g)
{
    extern __shared__ __align__(SHARED_ALIGN) uint8_t shared[];
    uint32_t smem = (uint32_t)__cvta_generic_to_shared(shared);
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    int m0 = warp % 2 * 64, n0 = warp / 2 * WARP_N, steps = (g.in + DEEP - 1) / DEEP;
    float acc[4][WARP_N / 8][4] = {};
    float *tile = (float *)(void *)shared;
    struct block b;
    struct feed f;

    if (!tile_find(g, &b))
        return;
    feed_open(&f, g, b);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps)
            feed_stage(&f, g, smem + (uint32_t)s * STAGE_BYTES, s * DEEP);
        copy_commit();
    }
    for (int s = 0; s < steps; s++) {
        copy_wait(STAGES - 2);
        __syncthreads();
        if (s + STAGES - 1 < steps)
            feed_stage(&f, g, smem + (uint32_t)((s + STAGES - 1) % STAGES) * STAGE_BYTES,
                       (s + STAGES - 1) * DEEP);
        copy_commit();
        multiply(acc, smem + (uint32_t)(s % STAGES) * STAGE_BYTES, m0, n0);
    }
    copy_wait(0);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; j++) {
            float *at = tile + (m0 + i * 16 + lane / 4) * TILE_LD + n0 + j * 8 + lane % 4 * 2;

            *(float2 *)(void *)at = make_float2(acc[i][j][0], acc[i][j][1]);
            *(float2 *)(void *)(at + 8 * TILE_LD) = make_float2(acc[i][j][2], acc[i][j][3]);
        }
    __syncthreads();
    products_finish(g, b, tile);
}

/* Rows must begin at 16 bytes for copies of 16. */
static bool mma_takes(const struct cuda *c, const struct matrix *m)
{
    (void)c;
    return !m->f32 && m->in % 8 == 0;
}

static void mma_run(struct cuda *c, const struct gemm *g)
{
    cuda_ok(c, cudaFuncSetAttribute(gemm_mma, cudaFuncAttributeMaxDynamicSharedMemorySize, MMA_BYTES),
            "gemm");
    gemm_mma<<<tile_grid(g), THREADS, MMA_BYTES>>>(*g);
}

const struct maker maker_mma = {"mma", mma_takes, tile_columns, mma_run};
