/* engine.c -- opening and closing, what there is to ask of an engine, and the peak of its products. */
#include "engine/engine_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "quant/bf16.h"

static int open_one(struct engine *en, int index, struct device **out, struct err *e)
{
    const struct engine_options *o = &en->o;
    struct device_options to = {index, o->precision, o->threads, NULL};

    if (en->backend == &cpu_backend && o->devices > 1) /* they share out its threads */
        to.threads = ((to.threads ? to.threads : cpu_count()) + o->devices - 1) / o->devices;
    return backend_open(en->backend, out, &to, e);
}

/* The best backend that can be used. Where one is installed and cannot be used, the note says why; what
 * cannot be had with these options is left to the CPU to refuse. */
static int open_best(struct engine *en, struct err *e)
{
    int n, i, rc = -1;
    char **kind = backend_kinds(&n, e);

    for (i = 0; kind && i < n && rc; i++) {
        struct err why = {0};

        en->backend = backend_find(kind[i], NULL, &why);
        if (en->backend)
            rc = open_one(en, en->o.device_index, &en->d, &why);
        if (rc && i == n - 1)
            err_set(e, why.kind, "%s", why.msg);
        else if (rc && !*en->note)
            snprintf(en->note, sizeof en->note, "computing on the CPU: %s", why.msg);
    }
    if (rc == 0 && en->backend != &cpu_backend)
        en->note[0] = '\0';
    backend_kinds_free(kind);
    return rc;
}

static int open_device(struct engine *en, struct err *e)
{
    const char *kind = en->o.device;

    if (!kind || strcmp(kind, "auto") == 0)
        return open_best(en, e);
    en->backend = backend_find(kind, NULL, e);
    if (en->backend && open_one(en, en->o.device_index, &en->d, e) == 0)
        return 0;
    if (en->backend != &cpu_backend)
        err_prefix(e, "--device %s", kind);
    return -1;
}

/* Device i of the list. */
static int open_another(struct engine *en, int i, struct err *e)
{
    int index = en->o.devices > 0 ? en->o.device_list[i] : i;

    return open_one(en, index, &en->device[i], e)
               ? (err_prefix(e, "--device %s:%d", en->backend->kind, index), -1)
               : 0;
}

/* All that the backend has, if that was asked for. */
static int count_all(struct engine *en, int *n, struct err *e)
{
    if (*n >= 0)
        return 0;
    *n = en->backend->count(e);
    if (*n > ENGINE_DEVICES)
        *n = ENGINE_DEVICES;
    return *n > 0 ? 0 : -1;
}

static int open_all(struct engine *en, struct err *e)
{
    struct engine_options *o = &en->o;
    int n = o->devices;

    if (n > ENGINE_DEVICES)
        return err_set(e, ERR_USAGE, "%d devices: more than %d are not provided for", n, ENGINE_DEVICES);
    if (n > 0)
        o->device_index = o->device_list[0];
    if (open_device(en, e))
        return -1;
    en->device[0] = en->d;
    en->devices = 1;
    if (count_all(en, &n, e))
        return -1;
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

const struct precision_row *engine_precision(const struct engine *en)
{
    return precision_row(en->d->precision);
}

int engine_threads(const struct engine *en)
{
    return en->d->threads;
}

/* ---- peak ---- */

enum { PEAK_RUNS = 5, PEAK_AT_ONCE = 4, PEAK_HOST = 2048, PEAK_DEVICE = 8192 };

/* Noise in [-1, 1): zeros and small integers take less power, and a chip may then run faster. */
static void peak_fill(struct device *d, void *host, size_t n)
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
static int peak_measure(struct device *d, const struct matrix *w, const void *x, int rows, float *y,
                        double work, double *best, struct err *e)
{
    int run, i;

    *best = 0;

    for (run = 0; run < PEAK_RUNS; run++) {
        double t0 = seconds_now(), t;
        int times = 0;

        do {
            for (i = 0; i < PEAK_AT_ONCE; i++)
                d->ops->linear(d, w, x, rows, NULL, y);
            if (d->ops->check(d, e)) /* a GPU has only taken notice so far */
                return -1;
            times += PEAK_AT_ONCE;
            t = seconds_now() - t0;
        } while (t < 0.1);
        *best = fmax(*best, work * times / t);
    }
    return 0;
}

int engine_peak(struct engine *en, int size, double *flops, struct err *e)
{
    struct device *d = en->d;
    int n = size ? size : d->can.beside ? PEAK_DEVICE : PEAK_HOST;
    struct matrix *w = NULL;
    struct matrix_job job = {.m = &w, .parts = 1};
    size_t xn = ((size_t)n + TILE_ROWS) * (size_t)n;
    void *host = mem_new_aligned(xn, d->elem_bytes, e), *x = NULL;
    float *y = NULL;
    int rc = -1;

    if (!host)
        return -1;
    peak_fill(d, host, xn);
    job.part[0] = stored_floats(d->bf16 ? DT_BF16 : DT_F32, host, n, n, "peak");
    x = d->ops->buf_new(d, xn * d->elem_bytes, e);
    y = x ? d->ops->buf_new(d, (size_t)n * (size_t)n * sizeof *y, e) : NULL;
    if (y && d->ops->pack(d, &job, 1, e) == 0) {
        d->ops->to_device(d, x, host, xn * d->elem_bytes);
        rc = peak_measure(d, w, x, n, y, 2.0 * n * n * n, flops, e);
    }
    d->ops->matrix_free(d, w);
    d->ops->buf_free(d, x);
    d->ops->buf_free(d, y);
    free(host);
    return rc;
}
