/* norm.cu -- x = h / rms(h) * w: a warp to a row. */
#include "backend.h"

enum { THREADS = 256 };

/* Rows of h begin `row` numbers apart. N neighbours at a time: 8, or 1 where rows do not begin at 16 bytes.
 */
template <int N>
__global__ void __launch_bounds__(THREADS) rms_rows(const void *h, size_t row, bool from_bf16, int64_t n,
                                                    int width, const float *w, float eps, void *x, bool bf16)
{
    int64_t t = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    size_t at = (size_t)t * row, to = (size_t)t * (size_t)width;
    int first = (int)threadIdx.x % WARP * N;
    float sum = 0, v[N], scale[N];

    if (t >= n)
        return;
#pragma unroll 4
    for (int i = first; i < width; i += WARP * N) {
        elems_load<N>(h, at + (size_t)i, v, from_bf16);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += v[j] * v[j];
    }
    sum = 1.0f / sqrtf(warp_sum(sum) / (float)width + eps);
#pragma unroll 2
    for (int i = first; i < width; i += WARP * N) {
        elems_load<N>(h, at + (size_t)i, v, from_bf16);
        elems_load<N>(w, (size_t)i, scale, false);
#pragma unroll
        for (int j = 0; j < N; j++)
            v[j] = v[j] * sum * scale[j];
        elems_store<N>(x, to + (size_t)i, v, bf16);
    }
}

static void norm_run(struct device *d, const void *h, size_t row, bool from_bf16, int64_t n, int width,
                     const float *w, float eps, void *x)
{
    unsigned blocks = (unsigned)ceil_div(n, THREADS / WARP);
    /* a latent can begin anywhere in its row */
    bool whole = ((uintptr_t)h | (uintptr_t)w | (uintptr_t)x) % VECTOR_ALIGN == 0;

    if (n && whole && width % EIGHT == 0 && row % EIGHT == 0)
        rms_rows<EIGHT><<<blocks, THREADS>>>(h, row, from_bf16, n, width, w, eps, x, d->bf16);
    else if (n)
        rms_rows<1><<<blocks, THREADS>>>(h, row, from_bf16, n, width, w, eps, x, d->bf16);
    cuda_launched(cuda_of(d), "norm");
}

void cuda_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x)
{
    norm_run(d, h, (size_t)width, d->bf16, n, width, w, eps, x);
}

void cuda_norm_rows(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                    float eps, void *x)
{
    norm_run(d, y, row, false, n, width, w, eps, x);
}
