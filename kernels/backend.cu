/* The CUDA backend: opening, memory, failures, and the table of operations. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cuda_ok(struct cuda *c, cudaError_t e, const char *where)
{
    if (e != cudaSuccess && c->failed == cudaSuccess) {
        c->failed = e;
        c->failed_in = where;
    }
    return e == cudaSuccess;
}

int cuda_report(struct cuda *c, struct err *e)
{
    if (c->failed == cudaSuccess)
        return 0;
    return err_set(e, c->failed == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE, "%s: %s: %s", c->name,
                   c->failed_in, cudaGetErrorString(c->failed));
}

static void *device_new(struct cuda *c, size_t bytes, struct err *e)
{
    void *p = NULL;
    cudaError_t rc = cudaMalloc(&p, bytes ? bytes : 1);

    if (rc == cudaSuccess)
        return p;
    cudaGetLastError(); /* a failed allocation must not look like a failed kernel */
    err_set(e, rc == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE,
            "%s: no %zu bytes of device memory: %s", c->name, bytes, cudaGetErrorString(rc));
    return NULL;
}

int cuda_room(struct cuda *c, struct room *r, size_t bytes, struct err *e)
{
    if (bytes <= r->bytes)
        return 0;
    cudaFree(r->p);
    r->bytes = 0;
    r->p = device_new(c, bytes, e);
    if (!r->p)
        return -1;
    r->bytes = bytes;
    return 0;
}

void *cuda_mirror(struct cuda *c, struct mirror *m, const void *host, size_t bytes)
{
    struct err e = {};

    if (m->bytes == bytes && bytes && memcmp(m->host, host, bytes) == 0)
        return m->dev.p;
    m->bytes = 0;
    if (mem_grow(&m->host, &m->cap, bytes, 1, &e) || cuda_room(c, &m->dev, bytes, &e)) {
        cuda_ok(c, cudaErrorMemoryAllocation, "tables");
        return NULL;
    }
    memcpy(m->host, host, bytes);
    if (!cuda_ok(c, cudaMemcpy(m->dev.p, host, bytes, cudaMemcpyHostToDevice), "tables"))
        return NULL;
    m->bytes = bytes;
    return m->dev.p;
}

static void *buf_new(struct device *d, size_t bytes, struct err *e)
{
    void *p = device_new(cuda_of(d), bytes, e);

    if (p)
        cuda_ok(cuda_of(d), cudaMemset(p, 0, bytes), "memory");
    return p;
}

static void buf_free(struct device *d, void *p)
{
    (void)d;
    cudaFree(p);
}

static void to_device(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpy(dst, src, n, cudaMemcpyHostToDevice), "copy to the device");
}

static void to_host(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpy(dst, src, n, cudaMemcpyDeviceToHost), "copy from the device");
}

static void copy(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice), "copy on the device");
}

static int check(struct device *d, struct err *e)
{
    struct cuda *c = cuda_of(d);

    cuda_ok(c, cudaDeviceSynchronize(), "a kernel");
    return cuda_report(c, e);
}

static void mirror_free(struct mirror *m)
{
    free(m->host);
    cudaFree(m->dev.p);
}

static void cuda_close(struct device *d)
{
    struct cuda *c = cuda_of(d);
    struct room *const rooms[] = {&c->act, &c->part, &c->lists, &c->half, &c->logits, &c->rows, &c->scaled};
    struct mirror *const mirrors[] = {&c->weights[0], &c->weights[1], &c->mask,
                                      &c->docs,       &c->rope,       &c->blocks};

    for (struct room *r : rooms)
        cudaFree(r->p);
    for (struct mirror *m : mirrors)
        mirror_free(m);
    for (int i = 0; i < STAGES_UP; i++) {
        cudaFreeHost(c->pinned[i]);
        cudaFree(c->staged[i]);
        if (c->staged_free[i])
            cudaEventDestroy(c->staged_free[i]);
    }
    cudaFree(c->flag);
    pool_close(c->pool);
    free(c);
}

static const struct ops cuda_ops = {.close = cuda_close,
                                    .buf_new = buf_new,
                                    .buf_free = buf_free,
                                    .to_device = to_device,
                                    .to_host = to_host,
                                    .copy = copy,
                                    .pack = cuda_pack,
                                    .matrix_free = cuda_matrix_free,
                                    .norm = cuda_norm,
                                    .norm_rows = cuda_norm_rows,
                                    .linear = cuda_linear,
                                    .linear_add = cuda_linear_add,
                                    .attention = cuda_attention,
                                    .route = cuda_route,
                                    .experts = cuda_experts,
                                    .combine = cuda_combine,
                                    .head = cuda_head,
                                    .check = check};

__global__ void hello(unsigned long long *p)
{
    *p = ~0ull;
}

/* Says which of driver, device and code for its architecture is missing. */
static int find_device(int index, struct cudaDeviceProp *p, struct err *e)
{
    cudaFuncAttributes fa;
    cudaError_t rc;
    int n = 0;

    rc = cudaGetDeviceCount(&n);
    if (rc == cudaErrorInsufficientDriver)
        return err_set(e, ERR_DEVICE, "no CUDA driver, or one too old for this build (CUDA %d.%d)",
                       CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (rc == cudaErrorNoDevice || (rc == cudaSuccess && n == 0))
        return err_set(e, ERR_DEVICE, "the CUDA driver sees no GPU");
    if (rc != cudaSuccess)
        return err_set(e, ERR_DEVICE, "CUDA: %s", cudaGetErrorString(rc));
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

/* The one symbol of the shared object: see engine/cuda_load.h. */
extern "C" __attribute__((visibility("default"))) int
moe_cuda_open_v1(size_t ops_bytes, struct device **out, const struct engine_options *o, struct err *e)
{
    struct cuda *c = (struct cuda *)mem_new(1, sizeof *c, e);
    struct cudaDeviceProp p;

    *out = NULL;
    if (!c)
        return -1;
    if (ops_bytes != sizeof(struct ops)) {
        free(c);
        return err_set(e, ERR_DEVICE,
                       "the CUDA backend belongs to another build of moe-tools: run make cuda");
    }
    if (find_device(o->device_index, &p, e)) {
        free(c);
        return -1;
    }
    snprintf(c->name, sizeof c->name, "%s (CUDA %d.%d)", p.name, CUDART_VERSION / 1000,
             CUDART_VERSION % 1000 / 10);
    c->dev.ops = &cuda_ops;
    c->dev.kind = "cuda";
    c->dev.library = c->name;
    c->dev.bf16 = o->precision != PREC_F32;
    c->dev.elem_bytes = c->dev.bf16 ? 2 : 4;
    c->wgmma = cuda_gemm_wgmma();
    c->shared_max = p.sharedMemPerBlockOptin;
    if (pool_open(&c->pool, o->threads, NULL, e))
        goto fail;
    c->dev.threads = pool_threads(c->pool);
    c->flag = (unsigned long long *)device_new(c, sizeof *c->flag, e);
    if (!c->flag)
        goto fail;
    hello<<<1, 1>>>(c->flag);
    cuda_launched(c, "the first kernel");
    if (check(&c->dev, e))
        goto fail;
    *out = &c->dev;
    return 0;
fail:
    cuda_close(&c->dev);
    return -1;
}
