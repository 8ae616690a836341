/* view.cu -- what a router's logits say of a token beyond its choice: a warp to a token. */
#include "backend.h"

enum { THREADS = 256 };

__global__ void __launch_bounds__(THREADS) view_rows(const struct view_args a)
{
    size_t token = (size_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    const float *z = a.logits + token * (size_t)a.experts;
    const int32_t *chosen = a.chosen + token * (size_t)a.topk;
    int lane = (int)threadIdx.x % WARP, nearest = -1;
    float top = -INFINITY, low = INFINITY, high = -INFINITY, all = 0, weighted = 0;

    if (token >= (size_t)a.n)
        return;
    for (int i = lane; i < a.experts; i += WARP) {
        bool is = false;

        for (int k = 0; k < a.topk; k++)
            is |= chosen[k] == i;
        top = fmaxf(top, z[i]);
        if (is) {
            low = fminf(low, z[i]);
        } else if (z[i] > high) {
            high = z[i];
            nearest = i;
        }
    }
    top = warp_max(top);
    low = -warp_max(-low);
    for (int i = lane; i < a.experts; i += WARP) {
        float v = z[i] - top, x = expf(v);

        all += x;
        weighted += x * v;
    }
    all = warp_sum(all);
    weighted = warp_sum(weighted);
    for (int o = WARP / 2; o > 0; o /= 2) { /* the highest, and of equal ones the first */
        float other = __shfl_xor_sync(0xffffffffu, high, o);
        int at = __shfl_xor_sync(0xffffffffu, nearest, o);

        if (at >= 0 && (nearest < 0 || other > high || (other == high && at < nearest))) {
            high = other;
            nearest = at;
        }
    }
    if (lane == 0) {
        a.out[token].entropy = logf(all) - weighted / all;
        a.out[token].margin = nearest < 0 ? 0 : low - high;
        a.out[token].nearest = nearest;
    }
}

void cuda_view(struct device *d, const struct view_args *a)
{
    if (a->n == 0)
        return;
    view_rows<<<(unsigned)ceil_div(a->n, THREADS / WARP), THREADS>>>(*a);
    cuda_launched(cuda_of(d), "router view");
}
