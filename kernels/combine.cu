/* h += the gated results of a token's experts, and what all tokens share: a block to a token. */
#include "backend.h"

enum { THREADS = 256 };

__global__ void __launch_bounds__(THREADS)
    combine_rows(const struct combine_args a, bool bf16, unsigned long long *bad)
{
    size_t t = blockIdx.x, width = (size_t)a.width, topk = (size_t)a.topk, at = t * width;
    float share = a.shared_gate ? 1.0f / (1.0f + expf(-a.shared_gate[t])) : 1;
    bool odd = false;

    for (size_t i = threadIdx.x; i < width; i += THREADS) {
        float v = 0;

        for (size_t k = 0; k < topk; k++)
            v += elem_load(a.y, at * topk + k * width + i, bf16) * (a.gate ? a.gate[t * topk + k] : 1.0f);
        if (a.shared)
            v += elem_load(a.shared, at + i, bf16) * share;
        v += elem_load(a.h, at + i, bf16);
        odd |= !isfinite(v);
        elem_store(a.h, at + i, v, bf16);
    }
    if (odd)
        atomicMin(bad, (unsigned long long)a.first + t);
}

void cuda_combine(struct device *d, const struct combine_args *a)
{
    struct cuda *c = cuda_of(d);

    if (a->n)
        combine_rows<<<(unsigned)a->n, THREADS>>>(*a, d->bf16, &c->flags->token);
    cuda_launched(c, "combine");
}
