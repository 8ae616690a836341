#include "engine/engine_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/thread.h"
#include "device/registry.h"
#include "quant/bf16.h"

double engine_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* DEVICE_AUTO: the GPU if one can be used. Where a backend is installed and cannot be used, the note says
 * why; what cannot be had with these options is left to the CPU to refuse. */
static int open_device(struct engine *en, struct err *e)
{
    const struct engine_options *o = &en->o;
    struct err why = {0};
    bool found;

    if (o->device == DEVICE_CUDA)
        return cuda_load(&en->d, o, NULL, e) ? (err_prefix(e, "--device cuda"), -1) : 0;
    if (o->device == DEVICE_AUTO) {
        if (cuda_load(&en->d, o, &found, &why) == 0)
            return 0;
        if (found)
            snprintf(en->note, sizeof en->note, "computing on the CPU: %s", why.msg);
    }
    return cpu_open(&en->d, o, e);
}

/* Device i of the list; a CPU's threads are shared out. */
static int open_another(struct engine *en, int i, struct err *e)
{
    struct engine_options o = en->o;
    struct device **d = &en->device[i];

    o.device_index = o.devices > 0 ? o.device_list[i] : i;
    if (o.device == DEVICE_CPU)
        return cpu_open(d, &o, e);
    return cuda_load(d, &o, NULL, e) ? (err_prefix(e, "--device cuda:%d", o.device_index), -1) : 0;
}

static int open_all(struct engine *en, struct err *e)
{
    struct engine_options *o = &en->o;
    int n = o->devices;

    if (n > ENGINE_DEVICES)
        return err_set(e, ERR_USAGE, "%d devices: more than %d are not provided for", n, ENGINE_DEVICES);
    if (n > 0)
        o->device_index = o->device_list[0];
    if (n > 1 && o->device == DEVICE_CPU)
        o->threads = ((o->threads ? o->threads : cpu_count()) + n - 1) / n;
    if (open_device(en, e))
        return -1;
    en->device[0] = en->d;
    en->devices = 1;
    if (n < 0 && o->device == DEVICE_CUDA)
        n = en->d->siblings < ENGINE_DEVICES ? en->d->siblings : ENGINE_DEVICES;
    for (; en->devices < n; en->devices++)
        if (open_another(en, en->devices, e))
            return -1;
    en->d->ops->enter(en->d); /* what was opened last is this thread's otherwise */
    if (en->devices > 1)
        snprintf(en->library, sizeof en->library, "%d x %s", en->devices, en->d->library);
    return 0;
}

int engine_open(struct engine **out, const struct engine_options *o, struct err *e)
{
    struct engine *en;

    *out = NULL;
    if (o->chunk_tokens < 0)
        return err_set(e, ERR_USAGE, "a chunk of %d tokens makes no sense", o->chunk_tokens);
    en = mem_new(1, sizeof *en, e);
    if (!en)
        return -1;
    en->o = *o;
    if (open_all(en, e)) {
        engine_close(en);
        return -1;
    }
    *out = en;
    return 0;
}

void engine_close(struct engine *en)
{
    int i;

    if (!en)
        return;
    engine_heads_keep(en, NULL, 0);
    free(en->head);
    if (en->ring)
        en->d->ops->host_free(en->d, en->ring);
    for (i = en->devices; i-- > 0;) {
        en->device[i]->ops->enter(en->device[i]);
        en->device[i]->ops->close(en->device[i]);
    }
    free(en);
}

uint8_t *engine_ring(struct engine *en, size_t bytes, struct err *e)
{
    if (bytes > en->ring_bytes) {
        en->d->ops->host_free(en->d, en->ring);
        en->ring_bytes = 0;
        en->ring = en->d->ops->host_new(en->d, bytes, e);
        if (!en->ring)
            return NULL;
        en->ring_bytes = bytes;
    }
    return en->ring;
}

const char *engine_device(const struct engine *en)
{
    return en->d->kind;
}

const char *engine_note(const struct engine *en)
{
    return *en->note ? en->note : NULL;
}

const char *engine_library(const struct engine *en)
{
    return *en->library ? en->library : en->d->library;
}

const char *engine_precision(const struct engine *en)
{
    return en->d->bf16 ? "bf16" : "f32";
}

int engine_threads(const struct engine *en)
{
    return en->d->threads;
}

/* ---- peak ---- */

enum { PEAK_RUNS = 5, PEAK_AT_ONCE = 4 };

/* Noise in [-1, 1): zeros and small integers take less power, and a chip may then run faster. */
static void fill(struct device *d, void *host, size_t n)
{
    uint32_t r = 1;
    size_t i;

    for (i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        if (d->bf16)
            ((uint16_t *)host)[i] = f32_to_bf16((float)(int32_t)r * 0x1p-31f);
        else
            ((float *)host)[i] = (float)(int32_t)r * 0x1p-31f;
    }
}

/* The best of a few runs, each of at least a tenth of a second. */
static int measure(struct device *d, const struct matrix *w, const void *x, int rows, float *y, double work,
                   double *best, struct err *e)
{
    int run, i;

    *best = 0;

    for (run = 0; run < PEAK_RUNS; run++) {
        double t0 = engine_now(), t;
        int times = 0;

        do {
            for (i = 0; i < PEAK_AT_ONCE; i++)
                d->ops->linear(d, w, x, rows, NULL, y);
            if (d->ops->check(d, e)) /* a GPU has only taken notice so far */
                return -1;
            times += PEAK_AT_ONCE;
            t = engine_now() - t0;
        } while (t < 0.1);
        *best = fmax(*best, work * times / t);
    }
    return 0;
}

int engine_peak(struct engine *en, int rows, int n, int k, double *flops, struct err *e)
{
    struct device *d = en->d;
    struct source s = {.out = n, .in = k, .step = 1, .stride = k, .name = "peak"};
    struct matrix *w = NULL;
    struct matrix_job job = {.m = &w, .parts = 1};
    size_t xn = ((size_t)rows + TILE_ROWS) * (size_t)k, wn = (size_t)n * (size_t)k;
    void *host = mem_new_aligned(xn > wn ? xn : wn, d->elem_bytes, e), *x = NULL;
    float *y = NULL;
    int rc = -1;

    if (!host)
        return -1;
    fill(d, host, xn > wn ? xn : wn);
    s.type = d->bf16 ? SOURCE_BF16 : SOURCE_F32;
    s.data = host;
    job.part[0] = s;
    x = d->ops->buf_new(d, xn * d->elem_bytes, e);
    y = x ? d->ops->buf_new(d, (size_t)rows * (size_t)n * sizeof *y, e) : NULL;
    if (y && d->ops->pack(d, &job, 1, e) == 0) {
        d->ops->to_device(d, x, host, xn * d->elem_bytes);
        rc = measure(d, w, x, rows, y, 2.0 * rows * n * k, flops, e);
    }
    d->ops->matrix_free(d, w);
    d->ops->buf_free(d, x);
    d->ops->buf_free(d, y);
    free(host);
    return rc;
}
