/* backend.cu -- the CUDA backend: opening, memory, failures, and the table of operations. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract.h"

bool cuda_ok(struct cuda *c, cudaError_t e, const char *where)
{
    if (e == cudaSuccess)
        return true;
    pthread_mutex_lock(&c->lock);
    if (c->failed == cudaSuccess) {
        c->failed = e;
        c->failed_in = where;
    }
    pthread_mutex_unlock(&c->lock);
    return false;
}

int cuda_report(struct cuda *c, struct err *e)
{
    if (c->failed == cudaSuccess)
        return 0;
    return err_set(e, c->failed == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE, "%s: %s: %s", c->name,
                   c->failed_in, cudaGetErrorString(c->failed));
}

static int cuda_check(struct device *d, struct err *e)
{
    struct cuda *c = cuda_of(d);

    /* not the device: packing goes on */
    cuda_ok(c, cudaStreamSynchronize(cudaStreamLegacy), "a kernel");
    return cuda_report(c, e);
}

static void enter(struct device *d)
{
    cuda_ok(cuda_of(d), cudaSetDevice(cuda_of(d)->index), "choosing the device");
}

static int64_t bad_token(struct device *d)
{
    struct cuda *c = cuda_of(d);
    unsigned long long bad = ~0ull;

    cuda_ok(c, cudaMemcpy(&bad, &c->flags->token, sizeof bad, cudaMemcpyDeviceToHost), "a kernel");
    if (bad != ~0ull)
        cuda_ok(c, cudaMemset(&c->flags->token, 0xff, sizeof bad), "a kernel");
    return bad == ~0ull ? -1 : (int64_t)bad;
}

static void trim(struct device *d)
{
    struct cuda *c = cuda_of(d);
    struct room *const rooms[] = {&c->act, &c->part, &c->lists, &c->heads, &c->logits, &c->rows, &c->scaled};

    for (struct room *r : rooms) {
        cuda_free(c, r->p);
        *r = {};
    }
}

static void cuda_close(struct device *d)
{
    struct cuda *c = cuda_of(d);
    struct mirror *const mirrors[] = {&c->weights[0], &c->weights[1], &c->mask, &c->docs, &c->rope,
                                      &c->blocks,     &c->kept,       &c->key,  &c->past};

    trim(d);
    for (struct mirror *m : mirrors)
        cuda_mirror_free(c, m);
    cuda_pack_close(c);
    cuda_lanes_close(c);
    cuda_small_close(c);
    cuda_free(c, c->flags);
    free(c->held);
    free(c->pinned);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static const struct ops cuda_ops = {.close = cuda_close,
                                    .enter = enter,
                                    .buf_new = cuda_buf_new,
                                    .buf_free = cuda_buf_free,
                                    .to_device = cuda_to_device,
                                    .to_host = cuda_to_host,
                                    .copy = cuda_copy,
                                    .host_new = cuda_host_new,
                                    .host_free = cuda_host_free,
                                    .copy_up = cuda_copy_up,
                                    .copy_down = cuda_copy_down,
                                    .await_copy = cuda_await_copy,
                                    .finish_copy = cuda_finish_copy,
                                    .pack = cuda_pack,
                                    .matrix_free = cuda_matrix_free,
                                    .norm = cuda_norm,
                                    .norm_rows = cuda_norm_rows,
                                    .linear = cuda_linear,
                                    .linear_add = cuda_linear_add,
                                    .attention = cuda_attention,
                                    .route = cuda_route,
                                    .experts = cuda_experts,
                                    .pairs = cuda_pairs,
                                    .view = cuda_view,
                                    .combine = cuda_combine,
                                    .bad_token = bad_token,
                                    .head = cuda_head,
                                    .check = cuda_check,
                                    .memory = cuda_memory,
                                    .trim = trim};

extern "C" __attribute__((visibility("default"))) const struct backend moe_backend;

__global__ void hello(struct flags *f)
{
    f->matrix = f->token = ~0ull;
}

/* 0: no driver or no GPU, and which it is. */
static int cuda_count(struct err *e)
{
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc == cudaSuccess && n > 0)
        return n;
    if (rc == cudaErrorInsufficientDriver)
        err_set(e, ERR_DEVICE, "no CUDA driver, or one too old for this build (CUDA %d.%d)",
                CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    else if (rc == cudaErrorNoDevice || rc == cudaSuccess)
        err_set(e, ERR_DEVICE, "the CUDA driver sees no GPU");
    else
        return err_set(e, ERR_DEVICE, "CUDA: %s", cudaGetErrorString(rc));
    return 0;
}

/* Says which of device and code for its architecture is missing. */
static int find_device(int index, struct cudaDeviceProp *p, struct err *e)
{
    cudaFuncAttributes fa;
    cudaError_t rc;
    int n = cuda_count(e);

    if (n <= 0)
        return -1;
    if (index >= n)
        return err_set(e, ERR_DEVICE, "there is no cuda:%d: the driver sees %d", index, n);
    rc = cudaSetDevice(index);
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(p, index);
    if (rc != cudaSuccess)
        return err_set(e, ERR_DEVICE, "cuda:%d: %s", index, cudaGetErrorString(rc));
    rc = cudaFuncGetAttributes(&fa, hello);
    if (rc != cudaSuccess || p->major < 8)
        return err_set(e, ERR_DEVICE, "%s has compute capability %d.%d, for which this build has no code",
                       p->name, p->major, p->minor);
    return 0;
}

static int cuda_open(struct device **out, const struct device_options *o, struct err *e)
{
    struct cuda *c = (struct cuda *)mem_new(1, sizeof *c, e);
    const struct precision_row *row;
    struct cudaDeviceProp p;

    *out = NULL;
    if (!c)
        return -1;
    if (find_device(o->index, &p, e)) {
        free(c);
        return -1;
    }
    snprintf(c->name, sizeof c->name, "%s (CUDA %d.%d)", p.name, CUDART_VERSION / 1000,
             CUDART_VERSION % 1000 / 10);
    pthread_mutex_init(&c->lock, NULL);
    c->index = o->index;
    c->dev.ops = &cuda_ops;
    c->dev.kind = moe_backend.kind;
    c->dev.library = c->name;
    c->dev.precision = o->precision == PREC_AUTO ? PREC_BF16 : o->precision;
    row = precision_row(c->dev.precision);
    c->dev.bf16 = row->bf16;
    c->dev.elem_bytes = row->elem_bytes;
    c->dev.can = {cuda_codings, cuda_products, true, true, p.integrated != 0};
    c->processors = p.multiProcessorCount;
    c->wgmma = cuda_gemm_wgmma();
    c->shared_max = p.sharedMemPerBlockOptin;
    if (cuda_products_prefer(c, o->products, e))
        goto fail;
    c->dev.threads = o->threads > 0 ? o->threads : cpu_count();
    c->dev.pack_bytes = PACK_BYTES;
    if (cuda_lanes_open(c) || cuda_small_open(c) || cuda_pack_open(c)) {
        cuda_report(c, e);
        goto fail;
    }
    c->flags = (struct flags *)cuda_new(c, sizeof *c->flags, e);
    if (!c->flags)
        goto fail;
    hello<<<1, 1>>>(c->flags);
    cuda_launched(c, "the first kernel");
    if (cuda_check(&c->dev, e))
        goto fail;
    *out = &c->dev;
    return 0;
fail:
    cuda_close(&c->dev);
    return -1;
}

/* The one symbol of the shared object. */
extern "C" const struct backend moe_backend = {MOE_CONTRACT, "cuda", cuda_count,
                                               1u << PREC_AUTO | 1u << PREC_BF16 | 1u << PREC_F32, cuda_open};
