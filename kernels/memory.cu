/* Memory of the device, counted; memory of the host that the device reaches; small arrays on their way up. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

static void note_allocation(struct cuda *c, void *p, size_t bytes)
{
    struct err e = {};

    pthread_mutex_lock(&c->lock);
    if (mem_grow(&c->held, &c->held_cap, c->held_n + 1, sizeof *c->held, &e) == 0)
        c->held[c->held_n++] = {p, bytes};
    c->memory.held += bytes;
    if (c->memory.held > c->memory.most)
        c->memory.most = c->memory.held;
    pthread_mutex_unlock(&c->lock);
}

void *cuda_new(struct cuda *c, size_t bytes, struct err *e)
{
    void *p = NULL;
    cudaError_t rc = cudaMalloc(&p, bytes ? bytes : 1);

    if (rc == cudaSuccess) {
        note_allocation(c, p, bytes);
        return p;
    }
    cudaGetLastError(); /* a failed allocation must not look like a failed kernel */
    err_set(e, rc == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE,
            "%s: no %zu bytes of device memory beside the %llu in use: %s", c->name, bytes,
            (unsigned long long)c->memory.held, cudaGetErrorString(rc));
    return NULL;
}

void cuda_free(struct cuda *c, void *p)
{
    if (!p)
        return;
    cudaFree(p);
    pthread_mutex_lock(&c->lock);
    for (size_t i = c->held_n; i-- > 0;)
        if (c->held[i].p == p) {
            c->memory.held -= c->held[i].bytes;
            c->held[i] = c->held[--c->held_n];
            break;
        }
    pthread_mutex_unlock(&c->lock);
}

int cuda_room(struct cuda *c, struct room *r, size_t bytes, struct err *e)
{
    if (bytes <= r->bytes)
        return 0;
    if (r->p)
        cuda_ok(c, cudaStreamSynchronize(cudaStreamLegacy), "a kernel");
    cuda_free(c, r->p);
    r->bytes = 0;
    r->p = cuda_new(c, bytes, e);
    if (!r->p)
        return -1;
    r->bytes = bytes;
    return 0;
}

void *cuda_buf_new(struct device *d, size_t bytes, struct err *e)
{
    struct cuda *c = cuda_of(d);
    void *p = cuda_new(c, bytes, e);

    if (!p)
        return NULL;
    cuda_ok(c, cudaMemset(p, 0, bytes), "memory");
    /* copies beside computing do not wait for the zeros */
    cuda_ok(c, cudaStreamSynchronize(cudaStreamLegacy), "memory");
    return p;
}

void cuda_buf_free(struct device *d, void *p)
{
    if (p)
        cuda_ok(cuda_of(d), cudaStreamSynchronize(cudaStreamLegacy), "a kernel");
    cuda_free(cuda_of(d), p);
}

void cuda_memory(struct device *d, struct device_memory *out)
{
    struct cuda *c = cuda_of(d);
    size_t left = 0, all = 0;

    cuda_ok(c, cudaMemGetInfo(&left, &all), "memory");
    pthread_mutex_lock(&c->lock);
    *out = c->memory;
    pthread_mutex_unlock(&c->lock);
    out->free = left;
}

/* ---- the host's ---- */

void *cuda_host_new(struct device *d, size_t bytes, struct err *e)
{
    struct cuda *c = cuda_of(d);
    void *p = NULL;
    cudaError_t rc = cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocPortable);

    if (rc == cudaSuccess)
        return p;
    cudaGetLastError();
    err_set(e, ERR_NOMEM, "%s: no %zu bytes of host memory that the device reaches: %s", c->name, bytes,
            cudaGetErrorString(rc));
    return NULL;
}

void cuda_host_free(struct device *d, void *p)
{
    if (p)
        cuda_ok(cuda_of(d), cudaFreeHost(p), "host memory");
}

void cuda_to_device(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpy(dst, src, n, cudaMemcpyHostToDevice), "copy to the device");
}

void cuda_to_host(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpy(dst, src, n, cudaMemcpyDeviceToHost), "copy from the device");
}

void cuda_copy(struct device *d, void *dst, const void *src, size_t n)
{
    cuda_ok(cuda_of(d), cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice), "copy on the device");
}

/* ---- small arrays ---- */

int cuda_small_open(struct cuda *c)
{
    cuda_ok(c, cudaMallocHost((void **)&c->small.pinned, (size_t)SMALL_SLOTS * SMALL_BYTES), "pinned memory");
    for (cudaEvent_t &sent : c->small.sent)
        cuda_ok(c, cudaEventCreateWithFlags(&sent, cudaEventDisableTiming), "an event");
    return c->failed == cudaSuccess ? 0 : -1;
}

void cuda_small_close(struct cuda *c)
{
    cudaFreeHost(c->small.pinned);
    for (cudaEvent_t sent : c->small.sent)
        if (sent)
            cudaEventDestroy(sent);
}

/* In order with what is computed, and without waiting for it unless all slots are on their way. */
static bool send_small(struct cuda *c, void *dst, const void *src, size_t n)
{
    struct small *s = &c->small;
    uint8_t *slot = s->pinned + (size_t)s->next * SMALL_BYTES;
    cudaEvent_t sent = s->sent[s->next];

    if (n > SMALL_BYTES)
        return cuda_ok(c, cudaMemcpy(dst, src, n, cudaMemcpyHostToDevice), "tables");
    if (!cuda_ok(c, cudaEventSynchronize(sent), "tables"))
        return false;
    memcpy(slot, src, n);
    s->next = (s->next + 1) % SMALL_SLOTS;
    return cuda_ok(c, cudaMemcpyAsync(dst, slot, n, cudaMemcpyHostToDevice), "tables") &&
           cuda_ok(c, cudaEventRecord(sent), "tables");
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
    if (!send_small(c, m->dev.p, host, bytes))
        return NULL;
    m->bytes = bytes;
    return m->dev.p;
}

void cuda_mirror_free(struct cuda *c, struct mirror *m)
{
    free(m->host);
    cuda_free(c, m->dev.p);
}
