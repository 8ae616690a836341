/* cpu.c -- the CPU backend: opening, memory, and the table of operations. */
#include "cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 };

int cpu_room(void *buf_ptr, size_t *have, size_t bytes, struct err *e)
{
    void *old, *p;

    if (bytes <= *have)
        return 0;
    memcpy(&old, buf_ptr, sizeof old);
    free(old);
    *have = 0;
    p = mem_new_aligned(bytes, 1, e);
    memcpy(buf_ptr, &p, sizeof p);
    if (!p)
        return -1;
    *have = bytes;
    return 0;
}

int cpu_scratch(struct cpu *c, size_t bytes, struct err *e)
{
    int i;

    if (bytes <= c->scratch_bytes)
        return 0;
    c->scratch_bytes = 0;
    for (i = 0; i < c->dev.threads; i++) {
        size_t none = 0;

        if (cpu_room(&c->scratch[i], &none, bytes, e))
            return -1;
    }
    c->scratch_bytes = bytes;
    return 0;
}

static void *buf_new(struct device *d, size_t bytes, struct err *e)
{
    void *p;

    (void)d;
    p = mem_new_aligned(bytes, 1, e);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static void buf_free(struct device *d, void *p)
{
    (void)d;
    free(p);
}

static void copy(struct device *d, void *dst, const void *src, size_t n)
{
    (void)d;
    memcpy(dst, src, n);
}

/* A CPU's threads need no word of it, and what its operations keep is small. */
static void nothing(struct device *d)
{
    (void)d;
}

static void memory(struct device *d, struct device_memory *out)
{
    (void)d;
    *out = (struct device_memory){.free = UINT64_MAX};
}

static void *host_new(struct device *d, size_t bytes, struct err *e)
{
    (void)d;
    return mem_new_aligned(bytes, 1, e);
}

/* There is nothing to copy beside: a copy is done when it was asked for. */
static uint64_t copy_up(struct device *d, void *dst, const void *src, size_t n, uint64_t after)
{
    (void)after;
    copy(d, dst, src, n);
    return 0;
}

static uint64_t copy_down(struct device *d, void *dst, const void *src, size_t n)
{
    copy(d, dst, src, n);
    return 0;
}

static void wait_copy(struct device *d, uint64_t ticket)
{
    (void)d;
    (void)ticket;
}

static int cpu_check(struct device *d, struct err *e)
{
    if (atomic_load(&cpu_of(d)->failed))
        return err_set(e, ERR_DEVICE, "%s: a matrix product failed", d->library);
    return 0;
}

static void cpu_close(struct device *d)
{
    struct cpu *c = cpu_of(d);
    int i;

    for (i = 0; c->scratch && i < d->threads; i++)
        free(c->scratch[i]);
    free(c->scratch);
    free(c->keys);
    free(c->lists);
    free(c->acts);
    pool_close(c->pool);
    if (c->gemm_f32 != c->gemm)
        gemm_close(c->gemm_f32);
    gemm_close(c->gemm);
    free(c);
}

static const struct ops cpu_ops = {.close = cpu_close,
                                   .enter = nothing,
                                   .buf_new = buf_new,
                                   .buf_free = buf_free,
                                   .to_device = copy,
                                   .to_host = copy,
                                   .copy = copy,
                                   .host_new = host_new,
                                   .host_free = buf_free,
                                   .copy_up = copy_up,
                                   .copy_down = copy_down,
                                   .await_copy = wait_copy,
                                   .finish_copy = wait_copy,
                                   .pack = cpu_pack,
                                   .matrix_free = cpu_matrix_free,
                                   .norm = cpu_norm,
                                   .norm_rows = cpu_norm_rows,
                                   .linear = cpu_linear,
                                   .linear_add = cpu_linear_add,
                                   .attention = cpu_attention,
                                   .route = cpu_route,
                                   .experts = cpu_experts,
                                   .pairs = cpu_pairs,
                                   .view = cpu_view,
                                   .combine = cpu_combine,
                                   .bad_token = cpu_bad_token,
                                   .head = cpu_head,
                                   .check = cpu_check,
                                   .memory = memory,
                                   .trim = nothing};

static int cpu_refuse(const struct device_options *o, struct err *e)
{
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return err_set(e, ERR_USAGE, "%d threads: between 0 (all) and %d are possible", o->threads,
                       MAX_THREADS);
    if (o->index > 0)
        return err_set(e, ERR_USAGE, "there is no cpu:%d: the CPU is one device", o->index);
    if (o->products && strcmp(o->products, gemm_products[0]) != 0)
        return err_set(e, ERR_USAGE, "the CPU has no products '%s': it has %s", o->products,
                       gemm_products[0]);
    return 0;
}

static int open_gemm(struct cpu *c, enum precision p, struct err *e)
{
    struct device *d = &c->dev;

    if (gemm_open(&c->gemm, p, d->threads, e))
        return -1;
    d->library = gemm_library(c->gemm);
    d->precision = gemm_is_bf16(c->gemm) ? PREC_BF16 : PREC_F32;
    d->bf16 = precision_row(d->precision)->bf16;
    d->elem_bytes = precision_row(d->precision)->elem_bytes;
    c->gemm_f32 = c->gemm;
    return d->bf16 ? gemm_open(&c->gemm_f32, PREC_F32, d->threads, e) : 0;
}

int cpu_open(struct device **out, const struct device_options *o, struct err *e)
{
    struct cpu *c;

    *out = NULL;
    if (cpu_refuse(o, e))
        return -1;
    c = mem_new(1, sizeof *c, e);
    if (!c)
        return -1;
    c->dev.ops = &cpu_ops;
    c->dev.kind = "cpu";
    c->dev.can = (struct device_can){.codings = (UINT64_C(1) << CODING_COUNT) - 1,
                                     .products = gemm_products,
                                     .f64 = true,
                                     .unified = true};
    atomic_store(&c->bad, INT64_MAX);
    if (pool_open(&c->pool, o->threads, gemm_thread_start, e))
        goto fail;
    c->dev.threads = pool_threads(c->pool);
    c->scratch = mem_new((size_t)c->dev.threads, sizeof *c->scratch, e);
    if (!c->scratch || open_gemm(c, o->precision, e))
        goto fail;
    *out = &c->dev;
    return 0;
fail:
    cpu_close(&c->dev);
    return -1;
}
