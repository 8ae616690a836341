/*
 * memory.cu -- memory of the device, counted; memory of the host that the device reaches; small arrays on
 * their way up.
 */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096, TOUCH_BYTES = 8 << 20, PIN_LARGE = 16 << 20 };

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

struct touch {
    uint8_t *p;
    size_t bytes;
};

static void touch_slice(void *ctx, long task, int worker)
{
    const struct touch *t = (const struct touch *)ctx;
    size_t at = (size_t)task * TOUCH_BYTES, end = at + TOUCH_BYTES < t->bytes ? at + TOUCH_BYTES : t->bytes;

    (void)worker;
    for (; at < end; at += PAGE_BYTES)
        ((volatile uint8_t *)t->p)[at] = 0;
}

/* Pages in use already are pinned much faster, and several threads make them so. NULL: that did not work. */
static void *pin_large(struct cuda *c, size_t bytes)
{
    struct err e = {};
    struct pool *pool = NULL;
    struct touch t = {NULL, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES};

    t.p = (uint8_t *)mem_new_aligned(t.bytes, 1, &e);
    if (!t.p || pool_open(&pool, 0, NULL, &e)) {
        free(t.p);
        return NULL;
    }
    pool_run(pool, (long)((t.bytes + TOUCH_BYTES - 1) / TOUCH_BYTES), touch_slice, &t);
    pool_close(pool);
    if (cudaHostRegister(t.p, t.bytes, cudaHostRegisterPortable) != cudaSuccess) {
        cudaGetLastError();
        free(t.p);
        return NULL;
    }
    pthread_mutex_lock(&c->lock);
    if (mem_grow(&c->pinned, &c->pinned_cap, c->pinned_n + 1, sizeof *c->pinned, &e) == 0)
        c->pinned[c->pinned_n++] = t.p;
    pthread_mutex_unlock(&c->lock);
    if (!e.kind)
        return t.p;
    cudaHostUnregister(t.p);
    free(t.p);
    return NULL;
}

void *cuda_host_new(struct device *d, size_t bytes, struct err *e)
{
    struct cuda *c = cuda_of(d);
    void *p = bytes >= PIN_LARGE ? pin_large(c, bytes) : NULL;
    cudaError_t rc;

    if (p)
        return p;
    rc = cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocPortable);
    if (rc == cudaSuccess)
        return p;
    cudaGetLastError();
    err_set(e, ERR_NOMEM, "%s: no %zu bytes of host memory that the device reaches: %s", c->name, bytes,
            cudaGetErrorString(rc));
    return NULL;
}

void cuda_host_free(struct device *d, void *p)
{
    struct cuda *c = cuda_of(d);
    bool large = false;

    if (!p)
        return;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->pinned_n && !large; i++)
        if (c->pinned[i] == p) {
            c->pinned[i] = c->pinned[--c->pinned_n];
            large = true;
        }
    pthread_mutex_unlock(&c->lock);
    cuda_ok(c, large ? cudaHostUnregister(p) : cudaFreeHost(p), "host memory");
    if (large)
        free(p);
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
