/*
 * combine.cu -- h += the gated results of a token's experts, and what all tokens share: a block to a token.
 */
#include "backend.h"

enum { THREADS = 256 };

/* What the block saw of its token, from what each thread added up. */
static __device__ void put_view(float hh, float hd, float dd, struct residual_view *to)
{
    __shared__ float part[3][THREADS / WARP];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;

    hh = warp_sum(hh);
    hd = warp_sum(hd);
    dd = warp_sum(dd);
    if (lane == 0) {
        part[0][warp] = hh;
        part[1][warp] = hd;
        part[2][warp] = dd;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = 1; i < THREADS / WARP; i++) {
        hh += part[0][i];
        hd += part[1][i];
        dd += part[2][i];
    }
    to->norm = sqrtf(hh);
    to->turn = residual_turn(hh, hd, dd);
}

/* N neighbours at a time: 8, or 1 where rows do not begin at 16 bytes. VIEW: a.seen is wanted. */
template <int N, bool VIEW>
__global__ void __launch_bounds__(THREADS)
    combine_rows(const struct combine_args a, bool bf16, unsigned long long *bad)
{
    size_t t = blockIdx.x, width = (size_t)a.width, topk = (size_t)a.topk, at = t * width;
    float share = a.shared_gate ? 1.0f / (1.0f + expf(-a.shared_gate[t])) : 1;
    float hh = 0, hd = 0, dd = 0;
    bool odd = false;

    for (size_t i = threadIdx.x * N; i < width; i += THREADS * N) {
        float v[N] = {}, y[N], h[N];

        elems_load<N>(a.h, at + i, h, bf16);

#pragma unroll 4
        for (size_t k = 0; k < topk; k++) {
            float gate = a.gate ? a.gate[t * topk + k] : 1.0f;

            elems_load<N>(a.y, at * topk + k * width + i, y, bf16);
#pragma unroll
            for (int j = 0; j < N; j++)
                v[j] += y[j] * gate;
        }
        if (VIEW) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                hh += h[j] * h[j];
                hd += h[j] * v[j];
                dd += v[j] * v[j];
            }
        }
        if (a.shared) {
            elems_load<N>(a.shared, at + i, y, bf16);
#pragma unroll
            for (int j = 0; j < N; j++)
                v[j] += y[j] * share;
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] += h[j];
            odd |= !isfinite(v[j]);
        }
        elems_store<N>(a.h, at + i, v, bf16);
    }
    if (odd)
        atomicMin(bad, (unsigned long long)a.first + t);
    if (VIEW)
        put_view(hh, hd, dd, &a.seen[t]);
}

template <bool VIEW> static void combine(struct cuda *c, const struct combine_args *a)
{
    if (a->width % EIGHT == 0)
        combine_rows<EIGHT, VIEW><<<(unsigned)a->n, THREADS>>>(*a, c->dev.bf16, &c->flags->token);
    else
        combine_rows<1, VIEW><<<(unsigned)a->n, THREADS>>>(*a, c->dev.bf16, &c->flags->token);
}

void cuda_combine(struct device *d, const struct combine_args *a)
{
    struct cuda *c = cuda_of(d);

    if (a->n == 0)
        return;
    if (a->seen)
        combine<true>(c, a);
    else
        combine<false>(c, a);
    cuda_launched(c, "combine");
}
