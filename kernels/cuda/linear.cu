/* linear.cu -- products of a whole matrix. */
#include "backend.h"

static void linear_run(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                       void *y, enum gemm_mode mode)
{
    struct gemm g = {};

    g.x = x;
    g.n = n;
    g.in = m->in;
    g.out = m->out;
    g.ld = m->ld;
    g.w_rows = m->rows;
    g.w = m->w;
    g.topk = 1;
    g.bias = bias;
    g.mode = mode;
    g.y = y;
    g.bf16 = d->bf16;
    g.w_f32 = m->f32;
    cuda_gemm(cuda_of(d), m->maker, &g);
}

void cuda_linear(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                 float *y)
{
    linear_run(d, m, x, n, bias, y, GEMM_STORE);
}

void cuda_linear_add(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                     void *h)
{
    linear_run(d, m, x, n, bias, h, GEMM_ADD);
}
