/*
 * products.cu -- matrix products: row tiles of x times W^T, one launch for all groups (experts). A block
 * computes 128 rows by 128 columns: bf16 on tensor cores, everything else on the plain units with true f32;
 * then the tile goes through shared memory to what the operation wants of it (bias, activation, residual,
 * norms), so that no result makes a trip of its own through device memory.
 */
#include "products.h"
#include "mma.h"

enum { WARP_N = 32, SHARED_ALIGN = 1024 };
enum { THREADS = 256, DEEP = 64, STAGES = 3, PLAIN_DEEP = 16 };
enum { TILE_LD = TILE_N + 4, PLAIN_LD = TILE_M + 4 };
enum { STAGE_BYTES = (TILE_M + TILE_N) * DEEP * 2, MMA_BYTES = STAGES * STAGE_BYTES };
enum { OUT_BYTES = TILE_M * TILE_LD * (int)sizeof(float) };

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

/* ---- tensor cores ---- */

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

/* ---- plain units ---- */

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

/* ---- makers ---- */

static dim3 grid_of(const struct gemm *g)
{
    return dim3((unsigned)ceil_div(g->out, TILE_N),
                (unsigned)(g->tiles.count ? g->tiles.most : ceil_div(g->n, TILE_M)));
}

static int plain_tile(const struct gemm *g)
{
    (void)g;
    return TILE_N;
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
    gemm_mma<<<grid_of(g), THREADS, MMA_BYTES>>>(*g);
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
    gemm_plain<<<grid_of(g), THREADS, OUT_BYTES>>>(*g);
}

const char *const cuda_products[] = {"wgmma", "mma", "plain", NULL};
static const struct maker makers[] = {{cuda_hopper_takes, cuda_hopper_tile, cuda_hopper_run},
                                      {mma_takes, plain_tile, mma_run},
                                      {plain_takes, plain_tile, plain_run}};

const struct maker *cuda_maker(const struct cuda *c, const struct matrix *m)
{
    const struct maker *by = makers;

    if (c->products >= 0 && makers[c->products].takes(c, m))
        return &makers[c->products];
    while (!by->takes(c, m))
        by++;
    return by;
}

int cuda_gemm_columns(const struct maker *by, const struct gemm *g)
{
    return (int)ceil_div(g->out, by->tile(g));
}

void cuda_gemm(struct cuda *c, const struct maker *by, const struct gemm *g)
{
    dim3 grid = grid_of(g);

    if (grid.x == 0 || grid.y == 0)
        return;
    by->run(c, g);
    cuda_launched(c, "gemm");
}
