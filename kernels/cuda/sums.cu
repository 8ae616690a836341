/*
 * sums.cu -- sums over what an expert's tokens put in and got out: a thread to an expert and a column walks
 * through the expert's slots in order, in f64. Inner products of a token's results: a warp to a token, whose
 * lanes keep partial sums of 8 x 8 pairs at a time in registers.
 */
#include "backend.h"

enum { THREADS = 256, ROWS = 8, AHEAD = 32 };

__global__ void __launch_bounds__(THREADS)
    sum_outputs(const struct experts_args a, const struct expert_sums s, const int32_t *slots,
                const int32_t *from, bool bf16)
{
    int expert = (int)blockIdx.x, col = (int)(blockIdx.y * THREADS + threadIdx.x), end = from[expert + 1];
    size_t at = (size_t)expert * (size_t)a.hidden + (size_t)col;
    double output, gated, square, input;

    if (col >= a.hidden)
        return;
    output = s.sum[SUM_OUTPUT][at];
    gated = s.sum[SUM_OUTPUT_GATED][at];
    square = s.sum[SUM_OUTPUT_SQUARE][at];
    input = s.sum[SUM_INPUT_SQUARE][at];
#pragma unroll 4
    for (int r = from[expert]; r < end; r++) {
        int slot = slots[r], token = slot / a.topk;
        float g = s.gate[slot], y = elem_load(a.y, (size_t)slot * (size_t)a.hidden + (size_t)col, bf16);
        float x = elem_load(a.x, (size_t)token * (size_t)a.hidden + (size_t)col, bf16);

        if (a.in_gate) { /* y is gated already */
            gated += (double)y;
            y *= g != 0 ? 1 / g : 0;
            x *= g;
        } else {
            gated += (double)y * (double)g;
        }
        output += (double)y;
        square += (double)y * (double)y;
        input += (double)x * (double)x;
    }
    s.sum[SUM_OUTPUT][at] = output;
    s.sum[SUM_OUTPUT_GATED][at] = gated;
    s.sum[SUM_OUTPUT_SQUARE][at] = square;
    s.sum[SUM_INPUT_SQUARE][at] = input;
}

__global__ void __launch_bounds__(THREADS)
    sum_inner(const void *act, int inter, const struct expert_sums s, const int32_t *slots,
              const int32_t *from, bool gated, bool bf16)
{
    int expert = (int)blockIdx.x, col = (int)(blockIdx.y * THREADS + threadIdx.x), end = from[expert + 1];
    size_t at = (size_t)expert * (size_t)inter + (size_t)col;
    double plain, weighed;

    if (col >= inter)
        return;
    plain = s.sum[SUM_INNER_SQUARE][at];
    weighed = s.sum[SUM_INNER_GATED_SQUARE][at];
#pragma unroll 4
    for (int r = from[expert]; r < end; r++) {
        double h = (double)elem_load(act, (size_t)r * (size_t)inter + (size_t)col, bf16);
        double gh = gated ? h * (double)s.gate[slots[r]] : h;

        plain += h * h;
        weighed += gh * gh;
    }
    s.sum[SUM_INNER_SQUARE][at] = plain;
    s.sum[SUM_INNER_GATED_SQUARE][at] = weighed;
}

/* The same of one expert that all rows choose: few columns and many rows, so that what is on its way counts.
 */
__global__ void __launch_bounds__(WARP)
    sum_shared(const void *act, int inter, int rows, double *sum, bool bf16)
{
    int col = (int)(blockIdx.x * WARP + threadIdx.x);
    double v;

    if (col >= inter)
        return;
    v = sum[col];
    for (int r0 = 0; r0 < rows; r0 += AHEAD) {
        float h[AHEAD];

#pragma unroll
        for (int r = 0; r < AHEAD; r++)
            h[r] = r0 + r < rows ? elem_load(act, (size_t)(r0 + r) * (size_t)inter + (size_t)col, bf16) : 0;
#pragma unroll
        for (int r = 0; r < AHEAD; r++)
            v += (double)h[r] * (double)h[r];
    }
    sum[col] = v;
}

void cuda_sums(struct cuda *c, const struct experts_args *a, const struct tiles *t, const void *act)
{
    const struct expert_sums s = *a->sums;
    dim3 outputs((unsigned)a->experts, (unsigned)ceil_div(a->hidden, THREADS));
    dim3 inner((unsigned)a->experts, (unsigned)ceil_div(a->inter, THREADS));

    if (!a->chosen) {
        sum_shared<<<(unsigned)ceil_div(a->inter, WARP), WARP>>>(act, a->inter, (int)a->n,
                                                                 s.sum[SUM_INNER_SQUARE], c->dev.bf16);
    } else {
        sum_outputs<<<outputs, THREADS>>>(*a, s, t->slot, t->from, c->dev.bf16);
        sum_inner<<<inner, THREADS>>>(act, a->inter, s, t->slot, t->from, a->in_gate == NULL, c->dev.bf16);
    }
    cuda_launched(c, "sums");
}

/* ---- pairs ---- */

/* Where the pair (i, j), i < j, stands among those of topk. */
static __device__ __forceinline__ int pair_at(int i, int j, int topk)
{
    return i * (2 * topk - i - 1) / 2 + j - i - 1;
}

/* Pairs of the results i0 .. i0 + ROWS-1 with j0 .. ; SAME: i0 = j0. */
template <bool SAME>
static __device__ __forceinline__ void pair_block(const struct pairs_args &a, size_t token, int i0, int j0,
                                                  bool bf16)
{
    int lane = (int)threadIdx.x % WARP, pairs = a.topk * (a.topk - 1) / 2;
    size_t first = token * (size_t)a.topk;
    float sum[ROWS][ROWS] = {};

    for (int col = lane; col < a.width; col += WARP) {
        float x[ROWS], y[ROWS];

#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            x[i] = i0 + i < a.topk
                       ? elem_load(a.y, (first + (size_t)(i0 + i)) * (size_t)a.width + (size_t)col, bf16)
                       : 0;
            y[i] = SAME ? x[i]
                   : j0 + i < a.topk
                       ? elem_load(a.y, (first + (size_t)(j0 + i)) * (size_t)a.width + (size_t)col, bf16)
                       : 0;
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = SAME ? i + 1 : 0; j < ROWS; j++)
                sum[i][j] += x[i] * y[j];
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = SAME ? i + 1 : 0; j < ROWS; j++)
            if (i0 + i < a.topk && j0 + j < a.topk) {
                float v = warp_sum(sum[i][j]);

                if (a.gate)
                    v *= a.gate[first + (size_t)(i0 + i)] * a.gate[first + (size_t)(j0 + j)];
                if (lane == 0)
                    a.out[token * (size_t)pairs + (size_t)pair_at(i0 + i, j0 + j, a.topk)] = v;
            }
}

__global__ void __launch_bounds__(THREADS) token_pairs(const struct pairs_args a, bool bf16)
{
    size_t token = (size_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;

    if (token >= (size_t)a.n)
        return;
    for (int i = 0; i < a.topk; i += ROWS) {
        pair_block<true>(a, token, i, i, bf16);
        for (int j = i + ROWS; j < a.topk; j += ROWS)
            pair_block<false>(a, token, i, j, bf16);
    }
}

void cuda_pairs(struct device *d, const struct pairs_args *a)
{
    if (a->n == 0)
        return;
    token_pairs<<<(unsigned)ceil_div(a->n, THREADS / WARP), THREADS>>>(*a, d->bf16);
    cuda_launched(cuda_of(d), "pairs");
}
