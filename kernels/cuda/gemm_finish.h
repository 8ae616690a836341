/*
 * gemm_finish.h -- from the sums of a tile of wgmma to what the operation wants of it: bias, activation,
 * residual, scatter, sums of squares and maxima, all of it in registers.
 */
#ifndef MOE_KERNELS_GEMM_FINISH_H
#define MOE_KERNELS_GEMM_FINISH_H

#include "products.h"

enum { BAND = 8, TURN = 4 };

/*
 * A thread holds, of each band of 8 columns, two neighbours (from lane % 4 * 2) of two rows: acc[4 * j + 2 *
 * r] and the next, of band j and row r * 8 + lane / 4 of its warp's 16. There are no branches on columns in
 * what follows: the compiler must be free to mix the bands.
 */
struct sums {
    int32_t row[2]; /* sorted */
    bool have[2];
    int lane2;         /* lane % 4 * 2 */
    const float *bias; /* shared, [N] in the order of W's rows */
};

/* Among the four lanes that hold pairs of the same row: v[i] is a pair of band i before, and after it pair i
 * of the lane's own band, so that 16 bytes are together; and the other way round. */
static __device__ __forceinline__ void turn(uint32_t (&v)[TURN])
{
    bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
    uint32_t a = __shfl_xor_sync(0xffffffffu, odd ? v[0] : v[1], 1),
             b = __shfl_xor_sync(0xffffffffu, odd ? v[2] : v[3], 1);
    uint32_t p = odd ? a : v[0], q = odd ? v[1] : a, r = odd ? b : v[2], s = odd ? v[3] : b;

    a = __shfl_xor_sync(0xffffffffu, high ? p : r, 2);
    b = __shfl_xor_sync(0xffffffffu, high ? q : s, 2);
    v[0] = high ? a : p;
    v[1] = high ? b : q;
    v[2] = high ? r : a;
    v[3] = high ? s : b;
}

/* Without a branch, around which nothing could be moved. */
static __device__ __forceinline__ void store16(void *at, uint32_t a, uint32_t b, uint32_t c, uint32_t d,
                                               bool yes)
{
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\n@p st.global.v4.b32 [%0], {%1, %2, %3, %4};\n}\n" ::"l"(at),
        "r"(a), "r"(b), "r"(c), "r"(d), "r"((int)yes));
}

static __device__ __forceinline__ float2 bias_at(const struct sums &s, int band)
{
    return *(const float2 *)(s.bias + band * BAND + s.lane2);
}

/* Where the lane's band of the first TURN begins in a row of y [..][width]. */
static __device__ __forceinline__ __nv_bfloat16 *row_at(const struct gemm &g, const struct sums &s,
                                                        int32_t row, int width, int column)
{
    return (__nv_bfloat16 *)g.y + (size_t)row * (size_t)width + (size_t)(column + s.lane2 / 2 * BAND);
}

/* Whether the lane's band of group j of TURN is one of the tile's N / BAND and of the result's columns. */
template <int N>
static __device__ __forceinline__ bool band_exists(int width, int column, int j, const struct sums &s)
{
    int band = j * TURN + s.lane2 / 2;

    return band < N / BAND && column + band * BAND < width;
}

/* f32: of two bands, even lanes get four neighbours of the first and odd ones of the second. */
template <int N>
static __device__ __forceinline__ void finish_store(const struct gemm &g, const struct block &b,
                                                    const struct sums &s, const float (&acc)[N / 2])
{
    bool odd = threadIdx.x & 1;
    int column = b.column + (odd ? BAND + s.lane2 - 2 : s.lane2);
    float *const to = (float *)g.y + column;
    float *const at[2] = {to + (size_t)s.row[0] * (size_t)g.out, to + (size_t)s.row[1] * (size_t)g.out};

#pragma unroll
    for (int j = 0; j < N / BAND; j += 2) {
        float2 first = bias_at(s, j), second = bias_at(s, j + 1);

#pragma unroll
        for (int r = 0; r < 2; r++) {
            float2 p = make_float2(acc[4 * j + 2 * r] + first.x, acc[4 * j + 2 * r + 1] + first.y);
            float2 q = make_float2(acc[4 * j + 4 + 2 * r] + second.x, acc[4 * j + 5 + 2 * r] + second.y);
            float x = __shfl_xor_sync(0xffffffffu, odd ? p.x : q.x, 1);
            float y = __shfl_xor_sync(0xffffffffu, odd ? p.y : q.y, 1);

            store16(at[r] + j * BAND, __float_as_uint(odd ? x : p.x), __float_as_uint(odd ? y : p.y),
                    __float_as_uint(odd ? q.x : x), __float_as_uint(odd ? q.y : y),
                    s.have[r] && column + j * BAND < g.out);
        }
    }
}

template <int N>
static __device__ __forceinline__ void finish_add(const struct gemm &g, const struct block &b,
                                                  const struct sums &s, const float (&acc)[N / 2])
{
    const int groups = (N / BAND + TURN - 1) / TURN;

#pragma unroll
    for (int r = 0; r < 2; r++) {
        __nv_bfloat16 *at = row_at(g, s, s.row[r], g.out, b.column);
        uint4 h[groups]; /* all of them are asked for before the first is used */

#pragma unroll
        for (int j = 0; j < groups; j++)
            h[j] = band_exists<N>(g.out, b.column, j, s) && s.have[r] ? *(uint4 *)(at + j * TURN * BAND)
                                                                      : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < groups; j++) {
            uint32_t v[TURN] = {h[j].x, h[j].y, h[j].z, h[j].w};

            turn(v);
#pragma unroll
            for (int i = 0; i < TURN && j * TURN + i < N / BAND; i++) {
                const float *a = acc + 4 * (j * TURN + i) + 2 * r;
                float2 bias = bias_at(s, j * TURN + i);

                v[i] = pack2(a[0] + bias.x + __uint_as_float(v[i] << 16),
                             a[1] + bias.y + __uint_as_float(v[i] & 0xffff0000u));
            }
            turn(v);
            store16(at + j * TURN * BAND, v[0], v[1], v[2], v[3],
                    band_exists<N>(g.out, b.column, j, s) && s.have[r]);
        }
    }
}

/* As activate(), to a few units of the last place. */
template <enum act_kind ACT>
static __device__ __forceinline__ float activate_fast(float g, float u, float limit)
{
    const float log2e = 1.4426950408889634f;
    float e, d;

    if (ACT == ACT_OSS_GLU) {
        asm("min.NaN.f32 %0, %0, %1;\n" : "+f"(g) : "f"(limit));
        asm("min.NaN.f32 %0, %0, %1;\n" : "+f"(u) : "f"(limit));
        asm("max.NaN.f32 %0, %0, %1;\n" : "+f"(u) : "f"(-limit));
        u += 1.0f;
    }
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(e) : "f"(g * (ACT == ACT_OSS_GLU ? -1.702f * log2e : -log2e)));
    asm("rcp.approx.ftz.f32 %0, %1;\n" : "=f"(d) : "f"(1.0f + e));
    return g * d * u;
}

template <int N, enum act_kind ACT>
static __device__ __forceinline__ void finish_act(const struct gemm &g, const struct block &b,
                                                  const struct sums &s, const float (&acc)[N / 2])
{
    const int bands = N / BAND / 2; /* of gate, each with one of up */
    __nv_bfloat16 *const at[2] = {row_at(g, s, s.row[0], g.inter, b.column / 2),
                                  row_at(g, s, s.row[1], g.inter, b.column / 2)};

#pragma unroll
    for (int j = 0; j < bands; j += TURN) {
        bool mine = j + s.lane2 / 2 < bands && b.column / 2 + j * BAND + s.lane2 / 2 * BAND < g.inter;
        uint32_t v[2][TURN] = {};

#pragma unroll
        for (int i = 0; i < TURN && j + i < bands; i++) {
            float2 gate = bias_at(s, 2 * (j + i)), up = bias_at(s, 2 * (j + i) + 1);

#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float *a = acc + 8 * (j + i) + 2 * r;

                v[r][i] = pack2(activate_fast<ACT>(a[0] + gate.x, a[4] + up.x, g.limit),
                                activate_fast<ACT>(a[1] + gate.y, a[5] + up.y, g.limit));
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            turn(v[r]);
            store16(at[r] + j * BAND, v[r][0], v[r][1], v[r][2], v[r][3], s.have[r] && mine);
        }
    }
}

template <int N>
static __device__ __forceinline__ void finish_scatter(const struct gemm &g, const struct block &b,
                                                      const struct sums &s, const float (&acc)[N / 2],
                                                      const int32_t (&slot)[2], int columns)
{
    __nv_bfloat16 *const at[2] = {row_at(g, s, slot[0], g.out, b.column),
                                  row_at(g, s, slot[1], g.out, b.column)};
    float sum[2][2] = {}, most[2][2] = {};

#pragma unroll
    for (int j = 0; j < N / BAND; j += TURN) {
        bool mine = j + s.lane2 / 2 < N / BAND && b.column + j * BAND + s.lane2 / 2 * BAND < g.out;
        uint32_t v[2][TURN] = {};

#pragma unroll
        for (int i = 0; i < TURN && j + i < N / BAND; i++) {
            bool in = b.column + (j + i) * BAND < g.out; /* else what was in shared memory before */
            float2 bias = bias_at(s, j + i);

#pragma unroll
            for (int r = 0; r < 2; r++) {
                float p = in ? acc[4 * (j + i) + 2 * r] + bias.x : 0;
                float q = in ? acc[4 * (j + i) + 2 * r + 1] + bias.y : 0;

                sum[r][0] = fmaf(p, p, sum[r][0]);
                sum[r][1] = fmaf(q, q, sum[r][1]);
                most[r][0] = fmaxf(most[r][0], fabsf(p));
                most[r][1] = fmaxf(most[r][1], fabsf(q));
                v[r][i] = pack2(p, q);
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            turn(v[r]);
            store16(at[r] + j * BAND, v[r][0], v[r][1], v[r][2], v[r][3], s.have[r] && mine);
        }
    }
    if (!g.part)
        return;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float all = sum[r][0] + sum[r][1], top = fmaxf(most[r][0], most[r][1]);

        for (int o = 1; o < TURN; o *= 2) {
            all += __shfl_xor_sync(0xffffffffu, all, o);
            top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, o));
        }
        if (s.have[r] && s.lane2 == 0)
            g.part[(size_t)s.row[r] * (size_t)columns + (size_t)(b.column / N)] = make_float2(all, top);
    }
}

/* The bias of row c of W. */
static __device__ __forceinline__ float bias_of(const struct gemm &g, const struct block &b, int c)
{
    bool act = g.mode == GEMM_ACT;
    int i = act ? c / (2 * BAND) * BAND + c % BAND : c;

    if (!g.bias || i >= (act ? g.inter : g.out))
        return 0;
    return g.bias[(size_t)b.group * (size_t)g.bias_step + (size_t)(act && c / BAND % 2 ? g.inter + i : i)];
}

#endif
