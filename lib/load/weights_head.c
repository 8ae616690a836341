/* weights_head.c -- weights that are in no layer: embedding, final norm, and the map to the vocabulary. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"
#include "load/host_decode.h"
#include "load/weights.h"

enum { TASK_ROWS = 256 };

/* Reads a linear that is in no layer into memory of its own, the blob's. */
static int read_linear(struct blob *b, const struct slot *x, struct stored *s, struct err *e)
{
    if (blob_add_linear(b, -1, x->name, e))
        return -1;
    blob_sort(b);
    b->bytes = mem_new_aligned((size_t)b->size, 1, e);
    return !b->bytes || reader_read(b, e) ? -1 : blob_linear(b, -1, x->name, x->out, x->in, s, e);
}

/* ---- embedding ---- */

struct embedding {
    struct blob blob;
    uint8_t *bytes;
    struct stored s;
    struct pool *pool;
    pthread_mutex_t lock; /* of the pool, which does one thing at a time */
    bool bf16;
    int users; /* still to come */
};

struct rows {
    const struct embedding *t;
    const int32_t *ids;
    int64_t n;
    uint8_t *dst;
    _Atomic(int64_t) bad; /* the first of the n with a value that is not finite; n: none */
};

int embedding_open(struct embedding **out, const struct model *m, bool bf16, int threads, int users,
                   struct err *e)
{
    struct embedding *t = mem_new(1, sizeof *t, e);
    const struct slot s = model_slot(m, SLOT_EMBEDDING);
    int rc;

    *out = t;
    if (!t)
        return -1;
    t->blob.m = m;
    t->bf16 = bf16;
    t->users = users;
    pthread_mutex_init(&t->lock, NULL);
    rc = read_linear(&t->blob, &s, &t->s, e);
    t->bytes = t->blob.bytes;
    if (rc || pool_open(&t->pool, threads, NULL, e)) {
        embedding_close(t);
        *out = NULL;
        return -1;
    }
    return 0;
}

static void rows_task(void *ctx, long task, int worker)
{
    struct rows *r = ctx;
    int64_t i = (int64_t)task * TASK_ROWS, end = i + TASK_ROWS < r->n ? i + TASK_ROWS : r->n, seen;
    size_t width = (size_t)r->t->s.in;

    (void)worker;
    for (; i < end; i++)
        if (!stored_rows(&r->t->s, r->ids[i], 1, r->dst + (size_t)i * width * (r->t->bf16 ? 2 : 4), width,
                         r->t->bf16)) {
            for (seen = atomic_load(&r->bad); i < seen && !atomic_compare_exchange_weak(&r->bad, &seen, i);)
                ;
            return;
        }
}

int embedding_rows(struct embedding *t, const int32_t *ids, int64_t n, void *dst, struct err *e)
{
    struct rows r = {t, ids, n, dst, n};

    pthread_mutex_lock(&t->lock);
    pool_run(t->pool, (long)((n + TASK_ROWS - 1) / TASK_ROWS), rows_task, &r);
    pthread_mutex_unlock(&t->lock);
    if (r.bad < n)
        return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number (row %d)",
                       t->s.name, (int)ids[r.bad]);
    return 0;
}

void embedding_done(struct embedding *t)
{
    pthread_mutex_lock(&t->lock);
    if (--t->users == 0) {
        free(t->bytes);
        t->bytes = NULL;
    }
    pthread_mutex_unlock(&t->lock);
}

uint64_t embedding_bytes(const struct embedding *t)
{
    uint64_t n = 0;
    size_t i;

    for (i = 0; i < t->blob.n; i++)
        n += t->blob.item[i].size;
    return n;
}

void embedding_close(struct embedding *t)
{
    if (!t)
        return;
    pool_close(t->pool);
    pthread_mutex_destroy(&t->lock);
    blob_free(&t->blob);
    free(t->bytes);
    free(t);
}

/* ---- final norm and head ---- */

/* A vector that is in no layer: n elements, device. */
static int vector(struct device *d, const struct model *m, const char *name, size_t n, float more,
                  float **out, struct err *e)
{
    const struct tensor *t = model_tensor(m, -1, name);
    float *host = mem_new(n, sizeof *host, e);
    int rc = -1;
    size_t i;

    *out = NULL;
    if (!host)
        return -1;
    if (!t) {
        err_set(e, ERR_INPUT, "'%s': tensor '%s' is missing", m->dir, name);
    } else if (model_read_f32(m, t, host, e) == 0 &&
               (*out = d->ops->buf_new(d, n * sizeof *host, e)) != NULL) {
        for (i = 0; i < n; i++)
            host[i] += more;
        d->ops->to_device(d, *out, host, n * sizeof *host);
        rc = 0;
    }
    free(host);
    return rc;
}

int weights_final_norm(struct device *d, const struct model *m, float **out, struct err *e)
{
    const struct slot s = model_slot(m, SLOT_FINAL_NORM);

    return vector(d, m, s.name, (size_t)s.out, s.plus_one ? 1 : 0, out, e);
}

void head_weights_free(struct device *d, struct head_weights *h)
{
    d->ops->matrix_free(d, h->w);
    d->ops->buf_free(d, h->bias);
    *h = (struct head_weights){0};
}

int weights_head(struct device *d, const struct model *m, struct head_weights *out, struct err *e)
{
    const struct slot head = model_slot(m, SLOT_HEAD), embedding = model_slot(m, SLOT_EMBEDDING);
    struct linear_tensors l;
    struct matrix_job job = {.m = &out->w, .parts = 1, .for_head = true};
    struct blob b = {.m = m};
    char bias[SLOT_NAME + 8];
    uint8_t *bytes;
    int rc;

    *out = (struct head_weights){0};
    rc = read_linear(&b, model_linear(m, -1, head.name, &l) ? &head : &embedding, &job.part[0], e);
    bytes = b.bytes;
    if (rc == 0)
        rc = pack_any(d, &job, 1, e);
    snprintf(bias, sizeof bias, "%s.bias", head.name);
    if (rc == 0 && head.bias)
        rc = vector(d, m, bias, (size_t)head.out, 0, &out->bias, e);
    if (rc)
        head_weights_free(d, out);
    blob_free(&b);
    free(bytes);
    return rc;
}
