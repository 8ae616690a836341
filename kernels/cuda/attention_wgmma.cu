/*
 * attention_wgmma.cu -- attention on Hopper. A tile of work is one head and 64 queries for each of WGS
 * warpgroups; blocks stay and take tiles until none is left, the long ones of a document first. One thread
 * lets the copy engine bring queries, keys and values, two blocks of 128 keys and where there is room one
 * tile ahead; the warpgroups stream over the keys, from their own queries back to where the mask begins.
 * While the tensor cores multiply probabilities and values of one block, the softmax of the next one runs
 * (Milakov & Gimelshein 2018; Dao 2023; Shah et al. 2024). Where the warpgroups need not meet they do not:
 * making them take turns at the tensor cores gained nothing.
 */
#include "attention.h"
#include "hopper.h"

#define LOG2E 1.44269504f

/* SLACK: see softmax. */
enum { KEYS = 128, STAGES = 2, SLACK = 8, KEY_TILE = KEYS * TILE_ROW_BYTES };

/* A tile of work; blocks of keys lo .. hi. head -1: there is no more. */
struct tile {
    struct span at;
    int head, group, lo, hi;
};

/* Addresses in shared memory: queries, twice where there is room, keys, values; barriers of 8 bytes, each for
 * what is there and for what is used up; tiles. */
template <int D, int DV, int WGS> struct room_of {
    static constexpr int rows = WGS * 64, q_stages = D > 128 ? 1 : 2;
    static constexpr uint32_t q_bytes = D / 64 * rows * TILE_ROW_BYTES, k_bytes = D / 64 * KEY_TILE,
                              v_bytes = DV / 64 * KEY_TILE, q = 0, k = q + q_stages * q_bytes,
                              v = k + STAGES * k_bytes, q_full = v + STAGES * v_bytes, q_empty = q_full + 16,
                              k_full = q_empty + 16, k_empty = k_full + 8 * STAGES,
                              v_full = k_empty + 8 * STAGES, v_empty = v_full + 8 * STAGES,
                              tiles = v_empty + 8 * STAGES, bytes = tiles + q_stages * sizeof(struct tile);
};

#ifdef HOPPER

/* The n-th use of something with `stages` places: which place, and the parity of its phase. */
static __device__ __forceinline__ int wgmma_place(int n, int stages)
{
    return n % stages;
}
static __device__ __forceinline__ int phase(int n, int stages)
{
    return n / stages & 1;
}

/* The position of the first key that a query sees: three warpgroups work where that is 0. */
template <int WGS> static __device__ __forceinline__ int wgmma_first(const struct attend &a, int query)
{
    return WGS == 3 ? 0 : first_seen(a, query);
}

template <int WGS> static __device__ __forceinline__ struct tile tile_of(const struct attend &a, int t)
{
    const int rows = WGS * 64;
    struct tile r = {};
    int end;

    if (t >= a.blocks * a.heads) {
        r.head = -1;
        return r;
    }
    r.at = a.span[t / a.heads];
    r.head = t % a.heads;
    r.group = r.head / (a.heads / a.kv_heads);
    end = r.at.from + rows < r.at.len ? r.at.from + rows : r.at.len;
    r.lo = wgmma_first<WGS>(a, r.at.from) / KEYS;
    r.hi = (end - 1) / KEYS;
    return r;
}

/* ---- the copying thread ---- */

template <int D, int ROWS>
static __device__ __forceinline__ void wgmma_load(uint32_t dst, const CUtensorMap *map, uint32_t barrier,
                                                  int64_t row, int head)
{
    barrier_expect(barrier, D / 64 * ROWS * TILE_ROW_BYTES);
#pragma unroll
    for (int i = 0; i < D / 64; i++)
        tile_load(dst + (uint32_t)(i * ROWS * TILE_ROW_BYTES), map, barrier, i * 64, (int)row, head);
}

template <int D, int DV, int WGS>
static __device__ __forceinline__ void feed(const struct attend &a, const CUtensorMap *q,
                                            const CUtensorMap *k, const CUtensorMap *v, uint32_t smem,
                                            struct tile *tiles)
{
    using room = room_of<D, DV, WGS>;
    int t = (int)blockIdx.x, keys = 0, values = 0;

    for (int i = 0;; i++) {
        struct tile x = tile_of<WGS>(a, t);
        int s = wgmma_place(i, room::q_stages);

        if (x.head >= 0)
            t = (int)gridDim.x + (int)atomicAdd(a.taken, 1u);
        barrier_wait(smem + room::q_empty + s * 8, phase(i, room::q_stages) ^ 1);
        tiles[s] = x;
        if (x.head < 0) {
            barrier_arrive(smem + room::q_full + s * 8);
            return;
        }
        wgmma_load<D, room::rows>(smem + room::q + s * room::q_bytes, q, smem + room::q_full + s * 8,
                                  x.at.base + x.at.from, x.head);
        for (int b = x.hi + 1; b >= x.lo; b--) { /* keys of block b - 1, values of block b */
            if (b > x.lo) {
                s = wgmma_place(keys, STAGES);
                barrier_wait(smem + room::k_empty + s * 8, phase(keys++, STAGES) ^ 1);
                wgmma_load<D, KEYS>(smem + room::k + s * room::k_bytes, k, smem + room::k_full + s * 8,
                                    x.at.base + (b - 1) * KEYS, x.group);
            }
            if (b <= x.hi) {
                s = wgmma_place(values, STAGES);
                barrier_wait(smem + room::v_empty + s * 8, phase(values++, STAGES) ^ 1);
                wgmma_load<DV, KEYS>(smem + room::v + s * room::v_bytes, v, smem + room::v_full + s * 8,
                                     x.at.base + b * KEYS, x.group);
            }
        }
    }
}

/* ---- a warpgroup of 64 queries ---- */

/* Rows lane / 4 and that + 8 of a warp's 16: what is summed, the largest score times scale, this lane's share
 * of the sum of exponentials. */
template <int DV> struct state {
    float o[DV / 2], top[2], sum[2];
};

static __device__ __forceinline__ float exp2_fast(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* s [64][KEYS] = q k^T */
template <int D, int ROWS>
static __device__ __forceinline__ void wgmma_scores(float (&s)[KEYS / 2], uint64_t q, uint32_t at)
{
    uint64_t k = tile_rows(at);

#pragma unroll
    for (int i = 0; i < D / 16; i++)
        wgmma_rows(s, tile_at(q, i / 4 * ROWS * TILE_ROW_BYTES + i % 4 * 32),
                   tile_at(k, i / 4 * KEY_TILE + i % 4 * 32), i > 0);
    wgmma_commit();
}

/* o += p v */
template <int DV>
static __device__ __forceinline__ void wgmma_add_values(float (&o)[DV / 2], const uint32_t (&p)[KEYS / 4],
                                                        uint32_t at)
{
    uint64_t v = tile_columns(at, KEY_TILE);

#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        wgmma_columns(o, p + 4 * i, tile_at(v, i * 16 * TILE_ROW_BYTES));
    wgmma_commit();
}

/* Scores of what a query does not see become -infinity. query: of row lane / 4; at: the block's first key. */
template <int WGS>
static __device__ __forceinline__ void wgmma_hide(const struct attend &a, float (&s)[KEYS / 2], int query,
                                                  int at)
{
    at += (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int last = query + 8 * h - at, first = wgmma_first<WGS>(a, query + 8 * h) - at;

#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) {
            int k = i / 2 * 8 + i % 2;

            if (k > last || k < first)
                s[i / 2 * 4 + 2 * h + i % 2] = -INFINITY;
        }
    }
}

/* Scores become exponentials; shrink: what was summed before is worth in terms of the new largest score. That
 * one moves only when it must: exponentials up to 2^8 do no harm, and o need not be scaled. */
template <int DV>
static __device__ __forceinline__ void wgmma_softmax(struct state<DV> *st, float (&s)[KEYS / 2], float scale,
                                                     float shrink[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = -INFINITY, base, sum[2] = {};

#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
            top = fmaxf(top, fmaxf(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2)) * scale;
        top = top > st->top[h] + SLACK ? top : st->top[h];
        /* where nothing was seen yet, and there is no sink: any finite number will do */
        base = top == -INFINITY ? 0 : top;
        shrink[h] = exp2_fast(st->top[h] - base);
        st->top[h] = top;
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float *p = &s[4 * i + 2 * h + j];

                *p = exp2_fast(fmaf(*p, scale, -base));
                sum[j] += *p;
            }
        st->sum[h] = st->sum[h] * shrink[h] + (sum[0] + sum[1]);
    }
}

template <int DV> static __device__ __forceinline__ void rescale(struct state<DV> *st, const float shrink[2])
{
    if (__all_sync(0xffffffffu, shrink[0] == 1 && shrink[1] == 1))
        return;
#pragma unroll
    for (int i = 0; i < DV / 2; i++)
        st->o[i] *= shrink[i / 2 % 2];
}

static __device__ __forceinline__ void to_halves(uint32_t (&p)[KEYS / 4], const float (&s)[KEYS / 2])
{
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++)
        p[i] = pack2(s[2 * i], s[2 * i + 1]);
}

/* Values of rows from `from` on, which another document's are: zero, as even a probability of 0 would let its
 * infinities through. All warpgroups write the same. */
template <int DV> static __device__ __forceinline__ void clear(uint8_t *v, int from, int group)
{
    for (int i = from * 8 + (int)threadIdx.x % WARPGROUP; i < KEYS * 8; i += WARPGROUP)
#pragma unroll
        for (int t = 0; t < DV / 64; t++)
            *(uint4 *)(void *)(v + t * KEY_TILE + i * 16) = make_uint4(0, 0, 0, 0);
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
    asm volatile("bar.sync %0, 128;\n" ::"r"(8 + group) : "memory");
}

/* 4 x 4 words turned over between the four lanes of a row. */
static __device__ __forceinline__ void turn_over(uint32_t w[4])
{
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const int d = 1 << n;
        bool odd = threadIdx.x & d;

#pragma unroll
        for (int i = 0; i < 4; i++)
            if (!(i & d)) {
                uint32_t r = __shfl_xor_sync(0xffffffffu, odd ? w[i] : w[i | d], d);

                w[i] = odd ? r : w[i];
                w[i | d] = odd ? w[i | d] : r;
            }
    }
}

/* o / sum to the output; row: of the warp's first query, of which there are `rows`. */
template <int DV>
static __device__ __forceinline__ void wgmma_finish(const struct attend &a, struct state<DV> *st, int64_t row,
                                                    int rows, int head)
{
    int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = lane / 4 + 8 * h;
        __nv_bfloat16 *out =
            (__nv_bfloat16 *)a.out + ((size_t)(row + r) * (size_t)a.heads + (size_t)head) * (size_t)a.v_dim;
        float inv = st->sum[h];

        inv += __shfl_xor_sync(0xffffffffu, inv, 1);
        inv += __shfl_xor_sync(0xffffffffu, inv, 2);
        inv = 1.0f / inv;
#pragma unroll
        for (int g = 0; g < DV / 32; g++) {
            uint32_t w[4];
            int column = g * 32 + lane % 4 * 8;

#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *o = st->o + (4 * g + i) * 4 + 2 * h;

                w[i] = pack2(o[0] * inv, o[1] * inv);
            }
            turn_over(w);
            if (r < rows && column < a.v_dim)
                *(uint4 *)(void *)(out + column) = make_uint4(w[0], w[1], w[2], w[3]);
        }
    }
}

static __device__ __forceinline__ void release(uint32_t barrier)
{
    if (threadIdx.x % WARP == 0)
        barrier_arrive(barrier);
}

/* Until stage n of what has barriers at `full` is there. */
static __device__ __forceinline__ void await(uint32_t full, int n)
{
    barrier_wait(full + wgmma_place(n, STAGES) * 8, phase(n, STAGES));
}

/* Tells the compiler that all lanes have the same, so that it may use uniform registers. */
static __device__ __forceinline__ int same_for_all(int v)
{
    return __shfl_sync(0xffffffffu, v, 0);
}
static __device__ __forceinline__ struct tile same_for_all(const struct tile &x)
{
    struct tile r = x;

    r.at.len = same_for_all(x.at.len);
    r.at.from = same_for_all(x.at.from);
    r.head = same_for_all(x.head);
    r.lo = same_for_all(x.lo);
    r.hi = same_for_all(x.hi);
    return r;
}

/* The queries of one warpgroup: n-th block of keys so far. */
template <int D, int DV, int WGS> struct worker {
    using room = room_of<D, DV, WGS>;
    uint32_t smem;
    int group, n;
    float scale;

    /* Blocks that none of its queries sees: hi down to top + 1. */
    __device__ __forceinline__ void skip(const struct tile &x, int top)
    {
        for (int b = x.hi; b > top; b--, n++) {
            await(smem + room::k_full, n);
            release(smem + room::k_empty + wgmma_place(n, STAGES) * 8);
            await(smem + room::v_full, n);
            release(smem + room::v_empty + wgmma_place(n, STAGES) * 8);
        }
    }

    /* The first block, which is the last of its keys: there is always something to hide. */
    __device__ __forceinline__ void begin(const struct attend &a, const struct tile &x, uint8_t *shared,
                                          uint64_t q, int row, int top, struct state<DV> *st,
                                          float (&s)[KEYS / 2], uint32_t (&p)[KEYS / 4])
    {
        float shrink[2];

        await(smem + room::k_full, n);
        wgmma_begin();
        wgmma_scores<D, room::rows>(s, q, smem + room::k + wgmma_place(n, STAGES) * room::k_bytes);
        wgmma_wait(0);
        wgmma_pin(s);
        release(smem + room::k_empty + wgmma_place(n, STAGES) * 8);
        wgmma_hide<WGS>(a, s, row, top * KEYS);
        wgmma_softmax<DV>(st, s, scale, shrink);
        to_halves(p, s);
        if ((top + 1) * KEYS > x.at.len) {
            await(smem + room::v_full, n);
            clear<DV>(shared + room::v + wgmma_place(n, STAGES) * room::v_bytes, x.at.len - top * KEYS,
                      group);
        }
    }

    /* Products of block b's keys and of the block before's values; the softmax runs beside the latter. */
    __device__ __forceinline__ void step(const struct attend &a, const struct tile &x, uint64_t q, int row,
                                         int b, bool masked, struct state<DV> *st, float (&s)[KEYS / 2],
                                         uint32_t (&p)[KEYS / 4])
    {
        float shrink[2];
        int old = n;

        n = same_for_all(n + 1);
        wgmma_pin(s);
        wgmma_pin(st->o);
        wgmma_begin();
        wgmma_scores<D, room::rows>(s, q, smem + room::k + wgmma_place(n, STAGES) * room::k_bytes);
        await(smem + room::v_full, old);
        wgmma_begin();
        wgmma_add_values<DV>(st->o, p, smem + room::v + wgmma_place(old, STAGES) * room::v_bytes);
        wgmma_wait(1);
        wgmma_pin(s);
        release(smem + room::k_empty + wgmma_place(n, STAGES) * 8);
        if (masked)
            wgmma_hide<WGS>(a, s, row, b * KEYS);
        wgmma_softmax<DV>(st, s, scale, shrink);
        wgmma_pin(s);
        /* Waiting for the next keys here keeps the compiler from waiting for the products before the softmax.
         */
        if (b > x.lo)
            await(smem + room::k_full, n + 1);
        wgmma_wait(0);
        wgmma_pin(st->o);
        release(smem + room::v_empty + wgmma_place(old, STAGES) * 8);
        rescale<DV>(st, shrink);
        to_halves(p, s);
    }

    __device__ __forceinline__ void end(struct state<DV> *st, const uint32_t (&p)[KEYS / 4])
    {
        await(smem + room::v_full, n);
        wgmma_pin(st->o);
        wgmma_begin();
        wgmma_add_values<DV>(st->o, p, smem + room::v + wgmma_place(n, STAGES) * room::v_bytes);
        wgmma_wait(0);
        wgmma_pin(st->o);
        release(smem + room::v_empty + wgmma_place(n, STAGES) * 8);
        n++;
    }

    __device__ __forceinline__ void tile(const struct attend &a, const struct tile &x, uint8_t *shared,
                                         uint32_t queries, uint32_t q_empty)
    {
        int warp = (int)threadIdx.x / WARP % 4, lane = (int)threadIdx.x % WARP;
        int mine = x.at.from + group * 64, row = mine + warp * 16, low = wgmma_first<WGS>(a, mine + 63);
        int top = (mine + 63) / KEYS < x.hi ? (mine + 63) / KEYS : x.hi;
        uint64_t q = tile_rows(queries + (uint32_t)(group * 64 * TILE_ROW_BYTES));
        struct state<DV> st;
        float s[KEYS / 2];
        uint32_t p[KEYS / 4];

        if (mine >= x.at.len)
            top = x.lo - 1;
        skip(x, top);
        n = same_for_all(n);
        if (top >= x.lo) {
#pragma unroll
            for (int i = 0; i < DV / 2; i++)
                st.o[i] = 0;
            st.top[0] = st.top[1] = a.sinks ? a.sinks[x.head] * LOG2E : -INFINITY;
            st.sum[0] = st.sum[1] = a.sinks && lane % 4 == 0 ? 1 : 0;
            begin(a, x, shared, q, row + lane / 4, top, &st, s, p);
            if (top > x.lo)
                await(smem + room::k_full, n + 1);
            for (int b = top - 1; b >= x.lo; b--)
                step(a, x, q, row + lane / 4, b, b * KEYS < low, &st, s, p);
        }
        release(q_empty);
        if (top >= x.lo) {
            end(&st, p);
            wgmma_finish<DV>(a, &st, x.at.base + row, x.at.len - row, x.head);
        }
    }
};
#endif

template <int D, int DV, int WGS>
__global__ void __launch_bounds__((WGS + 1) * WARPGROUP, 1)
    attention_wgmma(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                    const __grid_constant__ CUtensorMap v, const __grid_constant__ struct attend a)
{
#ifdef HOPPER
    using room = room_of<D, DV, WGS>;
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t smem = (uint32_t)__cvta_generic_to_shared(shared);
    struct tile *tiles = (struct tile *)(void *)(shared + room::tiles);

    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) {
            barrier_init(smem + room::q_full + i * 8, 1);
            barrier_init(smem + room::q_empty + i * 8, WGS * 4);
        }
        for (int i = 0; i < STAGES; i++) {
            barrier_init(smem + room::k_full + i * 8, 1);
            barrier_init(smem + room::v_full + i * 8, 1);
            barrier_init(smem + room::k_empty + i * 8, WGS * 4);
            barrier_init(smem + room::v_empty + i * 8, WGS * 4);
        }
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(WGS == 2 ? 24 : 32));
        if (threadIdx.x == 0)
            feed<D, DV, WGS>(a, &q, &k, &v, smem, tiles);
    } else {
        struct worker<D, DV, WGS> w = {
            smem, same_for_all((int)threadIdx.x / WARPGROUP) - 1, 0, a.scale *LOG2E
        };

        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(WGS == 2 ? 240 : 160));
        for (int i = 0;; i++) {
            int s = wgmma_place(i, room::q_stages);
            struct tile x;

            barrier_wait(smem + room::q_full + s * 8, phase(i, room::q_stages));
            s = same_for_all(s);
            x = same_for_all(tiles[s]);
            if (x.head < 0)
                break;
            w.tile(a, x, shared, smem + room::q + s * room::q_bytes, smem + room::q_empty + s * 8);
        }
    }
#endif
}

/* ---- launching ---- */

/* Tiles of `rows` tokens by 64 elements of a head of x, which is q, k or v of a. */
static bool map_heads(CUtensorMap *m, encode_fn encode, const struct attend *a, const void *x, int heads,
                      int dim, int rows)
{
    cuuint64_t size[3] = {(cuuint64_t)dim, (cuuint64_t)a->n, (cuuint64_t)heads};
    cuuint64_t step[2] = {(cuuint64_t)a->row * 2, (cuuint64_t)dim * 2};
    cuuint32_t box[3] = {64, (cuuint32_t)rows, 1}, one[3] = {1, 1, 1};

    return encode(m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, (void *)x, size, step, box, one,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <int D, int DV, int WGS> static void wgmma_launch(struct cuda *c, const struct attend *a)
{
    using room = room_of<D, DV, WGS>;
    encode_fn encode = encoder();
    CUtensorMap q, k, v;
    int tiles = a->blocks * a->heads;

    if (!map_heads(&q, encode, a, a->q, a->heads, a->dim, room::rows) ||
        !map_heads(&k, encode, a, a->k, a->kv_heads, a->dim, KEYS) ||
        !map_heads(&v, encode, a, a->v, a->kv_heads, a->v_dim, KEYS)) {
        cuda_ok(c, cudaErrorInvalidValue, "attention");
        return;
    }
    cuda_ok(c,
            cudaFuncSetAttribute(attention_wgmma<D, DV, WGS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)room::bytes),
            "attention");
    attention_wgmma<D, DV, WGS>
        <<<(unsigned)(tiles < c->processors ? tiles : c->processors), (WGS + 1) * WARPGROUP, room::bytes>>>(
            q, k, v, *a);
    cuda_launched(c, "attention");
}

/* Heads of any size that the copy engine can step over go through code for 64, for 128, or for 192 and values
 * of 128: what they lack is zero in shared memory. Where every query sees many keys, small heads leave
 * registers for a third warpgroup. */
int cuda_attention_wgmma_rows(const struct cuda *c, const struct attend *a)
{
    if (!c->wgmma || a->dim % 8 || a->v_dim % 8 || a->dim > 192 || a->v_dim > 128 || !encoder())
        return 0;
    return a->dim <= 64 && a->v_dim <= 64 && a->mask == MASK_FULL ? 192 : 128;
}

void cuda_attention_wgmma(struct cuda *c, const struct attend *a)
{
    if (a->dim > 128)
        wgmma_launch<192, 128, 2>(c, a);
    else if (a->dim > 64 || a->v_dim > 64)
        wgmma_launch<128, 128, 2>(c, a);
    else if (cuda_attention_wgmma_rows(c, a) == 192)
        wgmma_launch<64, 64, 3>(c, a);
    else
        wgmma_launch<64, 64, 2>(c, a);
}
