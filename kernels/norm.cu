/* x = h / rms(h) * w: a warp to a row. */
#include "backend.h"

enum { THREADS = 256 };

/* Rows of h begin `row` numbers apart. */
__global__ void __launch_bounds__(THREADS) rms_rows(const void *h, size_t row, bool from_bf16, int64_t n,
                                                    int width, const float *w, float eps, void *x, bool bf16)
{
    int64_t t = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    size_t at = (size_t)t * row, to = (size_t)t * (size_t)width;
    float sum = 0;

    if (t >= n)
        return;
    for (int i = (int)threadIdx.x % WARP; i < width; i += WARP) {
        float v = elem_load(h, at + (size_t)i, from_bf16);

        sum += v * v;
    }
    sum = 1.0f / sqrtf(warp_sum(sum) / (float)width + eps);
    for (int i = (int)threadIdx.x % WARP; i < width; i += WARP)
        elem_store(x, to + (size_t)i, elem_load(h, at + (size_t)i, from_bf16) * sum * w[i], bf16);
}

static void run(struct device *d, const void *h, size_t row, bool from_bf16, int64_t n, int width,
                const float *w, float eps, void *x)
{
    if (n)
        rms_rows<<<(unsigned)ceil_div(n, THREADS / WARP), THREADS>>>(h, row, from_bf16, n, width, w, eps, x,
                                                                     d->bf16);
    cuda_launched(cuda_of(d), "norm");
}

void cuda_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x)
{
    run(d, h, (size_t)width, d->bf16, n, width, w, eps, x);
}

void cuda_norm_rows(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                    float eps, void *x)
{
    run(d, y, row, false, n, width, w, eps, x);
}
