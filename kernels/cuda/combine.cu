/*
 * combine.cu -- h += the gated results of a token's experts, and what all tokens share: a block to a token.
 */
#include "backend.h"

enum { THREADS = 256 };

/* N neighbours at a time: 8, or 1 where rows do not begin at 16 bytes. */
template <int N>
__global__ void __launch_bounds__(THREADS)
    combine_rows(const struct combine_args a, bool bf16, unsigned long long *bad)
{
    size_t t = blockIdx.x, width = (size_t)a.width, topk = (size_t)a.topk, at = t * width;
    float share = a.shared_gate ? 1.0f / (1.0f + expf(-a.shared_gate[t])) : 1;
    bool odd = false;

    for (size_t i = threadIdx.x * N; i < width; i += THREADS * N) {
        float v[N] = {}, y[N];

#pragma unroll 4
        for (size_t k = 0; k < topk; k++) {
            float gate = a.gate ? a.gate[t * topk + k] : 1.0f;

            elems_load<N>(a.y, at * topk + k * width + i, y, bf16);
#pragma unroll
            for (int j = 0; j < N; j++)
                v[j] += y[j] * gate;
        }
        if (a.shared) {
            elems_load<N>(a.shared, at + i, y, bf16);
#pragma unroll
            for (int j = 0; j < N; j++)
                v[j] += y[j] * share;
        }
        elems_load<N>(a.h, at + i, y, bf16);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] += y[j];
            odd |= !isfinite(v[j]);
        }
        elems_store<N>(a.h, at + i, v, bf16);
    }
    if (odd)
        atomicMin(bad, (unsigned long long)a.first + t);
}

void cuda_combine(struct device *d, const struct combine_args *a)
{
    struct cuda *c = cuda_of(d);

    if (a->n && a->width % EIGHT == 0)
        combine_rows<EIGHT><<<(unsigned)a->n, THREADS>>>(*a, d->bf16, &c->flags->token);
    else if (a->n)
        combine_rows<1><<<(unsigned)a->n, THREADS>>>(*a, d->bf16, &c->flags->token);
    cuda_launched(c, "combine");
}
