/*
 * attention_mma.cu -- attention on tensor cores: q, k, v and the weights of values in bf16, sums in f32. A
 * block is one head and 64 queries, 16 to a warp, and streams over blocks of 64 keys, the next of which is on
 * its way while one is used (Milakov & Gimelshein 2018; Dao 2023).
 */
#include "attention.h"
#include "mma.h"

enum { BLOCK = 64, WARPS = 4, THREADS = WARPS * WARP };

/* Byte offset of 16-byte chunk c of row r in a tile of DIM bf16 a row. */
template <int DIM> static __device__ __forceinline__ uint32_t chunk_at(int r, int c)
{
    return (uint32_t)(r * DIM * 2 + ((c ^ (DIM >= 64 ? r & 7 : r >> 1 & 3)) << 4));
}

/* Rows at .. at+BLOCK-1 of one head; zero past the document's end. */
template <int DIM>
static __device__ __forceinline__ void mma_fetch(uint32_t dst, const __nv_bfloat16 *src, size_t row,
                                                 int64_t at, int64_t len)
{
#pragma unroll
    for (int i = (int)threadIdx.x; i < BLOCK * DIM / 8; i += THREADS) {
        int r = i / (DIM / 8), c = i % (DIM / 8);
        bool have = at + r < len;

        copy16(dst + chunk_at<DIM>(r, c), have ? src + (size_t)(at + r) * row + c * 8 : src, have ? 16 : 0);
    }
}

/* A warp's 16 queries: what it has summed, largest scores and sums of rows r and r + 8 (r = lane / 4). */
template <int DIM> struct state {
    float o[DIM / 8][4], top[2], sum[2];
};

/* s [16][BLOCK] = q k^T; keys at smem. */
template <int DIM>
static __device__ __forceinline__ void mma_scores(float s[BLOCK / 8][4], const uint32_t q[DIM / 16][4],
                                                  uint32_t smem)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int j = 0; j < BLOCK / 8; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
#pragma unroll
    for (int ks = 0; ks < DIM / 16; ks++)
#pragma unroll
        for (int j = 0; j < BLOCK / 16; j++) {
            uint32_t k[4];

            load4x(k,
                   smem + chunk_at<DIM>(j * 16 + (lane & 7) + ((lane >> 4) << 3), ks * 2 + (lane >> 3 & 1)));
            mma(s[2 * j], q[ks], k);
            mma(s[2 * j + 1], q[ks], k + 2);
        }
}

/* Scores of what a query does not see become -infinity. query: of row lane / 4; key: of the first column. */
static __device__ __forceinline__ void mma_hide(const struct attend &a, float s[BLOCK / 8][4], int64_t query,
                                                int64_t key)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int j = 0; j < BLOCK / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t k = key + j * 8 + lane % 4 * 2 + i % 2, q = query + i / 2 * 8;

            if (k > q || k < first_seen(a, (int)q))
                s[j][i] = -INFINITY;
        }
}

/* Scores become exponentials; what was summed before is scaled to the new largest score. */
template <int DIM>
static __device__ __forceinline__ void mma_softmax(struct state<DIM> *st, float s[BLOCK / 8][4], float scale)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = -INFINITY, sum = 0, base, shrink;

#pragma unroll
        for (int j = 0; j < BLOCK / 8; j++)
            top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        top = fmaxf(st->top[h], top * scale);
        /* where nothing was seen yet, and there is no sink: any finite number will do */
        base = top == -INFINITY ? 0 : top;
        shrink = exp2f(st->top[h] - base);
#pragma unroll
        for (int j = 0; j < BLOCK / 8; j++)
#pragma unroll
            for (int i = 2 * h; i < 2 * h + 2; i++) {
                s[j][i] = exp2f(fmaf(s[j][i], scale, -base));
                sum += s[j][i];
            }
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        st->sum[h] = st->sum[h] * shrink + sum;
        st->top[h] = top;
#pragma unroll
        for (int j = 0; j < DIM / 8; j++) {
            st->o[j][2 * h] *= shrink;
            st->o[j][2 * h + 1] *= shrink;
        }
    }
}

/* o += s v; values at smem. */
template <int DIM>
static __device__ __forceinline__ void mma_add_values(struct state<DIM> *st, const float s[BLOCK / 8][4],
                                                      uint32_t smem)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int ks = 0; ks < BLOCK / 16; ks++) {
        const float *lo = s[2 * ks], *hi = s[2 * ks + 1];
        uint32_t p[4] = {pack2(lo[0], lo[1]), pack2(lo[2], lo[3]), pack2(hi[0], hi[1]), pack2(hi[2], hi[3])};

#pragma unroll
        for (int j = 0; j < DIM / 16; j++) {
            uint32_t v[4];

            load4x_turned(v, smem + chunk_at<DIM>(ks * 16 + (lane & 15), j * 2 + (lane >> 4)));
            mma(st->o[2 * j], p, v);
            mma(st->o[2 * j + 1], p, v + 2);
        }
    }
}

template <int DIM>
static __device__ __forceinline__ void mma_finish(const struct attend &a, const struct state<DIM> *st,
                                                  int64_t row, int rows, int head)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = lane / 4 + 8 * h;
        __nv_bfloat16 *out = (__nv_bfloat16 *)a.out +
                             ((size_t)(row + r) * (size_t)a.heads + (size_t)head) * DIM + lane % 4 * 2;
        float inv = 1.0f / st->sum[h];

        if (r < rows)
#pragma unroll
            for (int j = 0; j < DIM / 8; j++)
                *(uint32_t *)(void *)(out + j * 8) = pack2(st->o[j][2 * h] * inv, st->o[j][2 * h + 1] * inv);
    }
}

/* Shared memory: two blocks of keys, then two of values; queries pass through the first. */
template <int DIM> __global__ void __launch_bounds__(THREADS) attention_mma(const struct attend a)
{
    extern __shared__ __align__(128) uint8_t shared[];
    const uint32_t one = BLOCK * DIM * 2, keys = (uint32_t)__cvta_generic_to_shared(shared),
                   values = keys + 2 * one;
    int head = (int)blockIdx.y, group = head / (a.heads / a.kv_heads);
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP, turn = 0;
    struct span b = a.span[blockIdx.x];
    int64_t base = b.base, len = b.len, from = b.from, mine = from + warp * 16, at, end;
    const __nv_bfloat16 *k = (const __nv_bfloat16 *)a.k + (size_t)base * a.row + (size_t)group * DIM;
    const __nv_bfloat16 *v = (const __nv_bfloat16 *)a.v + (size_t)base * a.row + (size_t)group * DIM;
    float scale = a.scale * 1.44269504f;
    float sink = a.sinks ? a.sinks[head] * 1.44269504f : -INFINITY, s[BLOCK / 8][4];
    uint32_t q[DIM / 16][4];
    struct state<DIM> st = {
        {}, {sink, sink},
        {
            a.sinks ? 1.0f : 0.0f, a.sinks ? 1.0f : 0.0f
        }
    };

    end = from + BLOCK < len ? from + BLOCK : len;
    mma_fetch<DIM>(keys, (const __nv_bfloat16 *)a.q + (size_t)base * a.row + (size_t)head * DIM, a.row, from,
                   len);
    copy_commit();
    copy_wait(0);
    __syncthreads();
#pragma unroll
    for (int ks = 0; ks < DIM / 16; ks++)
        load4x(q[ks], keys + chunk_at<DIM>(warp * 16 + (lane & 15), ks * 2 + (lane >> 4)));
    __syncthreads();
    at = first_seen(a, (int)from) / BLOCK * BLOCK;
    mma_fetch<DIM>(keys, k, a.row, at, len);
    mma_fetch<DIM>(values, v, a.row, at, len);
    copy_commit();
    for (; at < end; at += BLOCK, turn ^= 1) {
        if (at + BLOCK < end) {
            mma_fetch<DIM>(keys + (uint32_t)(turn ^ 1) * one, k, a.row, at + BLOCK, len);
            mma_fetch<DIM>(values + (uint32_t)(turn ^ 1) * one, v, a.row, at + BLOCK, len);
        }
        copy_commit();
        copy_wait(1);
        __syncthreads();
        mma_scores<DIM>(s, q, keys + (uint32_t)turn * one);
        if (at + BLOCK - 1 > mine || at < first_seen(a, (int)mine + 15))
            mma_hide(a, s, mine + lane / 4, at);
        mma_softmax<DIM>(&st, s, scale);
        mma_add_values<DIM>(&st, s, values + (uint32_t)turn * one);
        __syncthreads();
    }
    mma_finish<DIM>(a, &st, base + mine, (int)(len - mine < 16 ? len - mine : 16), head);
}

template <int DIM> static void mma_launch(struct cuda *c, const struct attend *a)
{
    int bytes = 4 * BLOCK * DIM * 2;

    cuda_ok(c, cudaFuncSetAttribute(attention_mma<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "attention");
    attention_mma<DIM><<<dim3((unsigned)a->blocks, (unsigned)a->heads), THREADS, (size_t)bytes>>>(*a);
    cuda_launched(c, "attention");
}

void cuda_attention_mma(struct cuda *c, const struct attend *a)
{
    (a->dim == 32 ? mma_launch<32> : a->dim == 64 ? mma_launch<64> : mma_launch<128>)(c, a);
}
