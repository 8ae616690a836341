#include "load/weights_private.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"

enum { GROUP_SLOTS = 4 };

/* ---- biases and norms: decoded on the host, sent in one piece ---- */

float *weights_reserve(struct weights *w, size_t n, float **device)
{
    float *host = w->host_vectors + w->vectors_n;

    if (n > w->vectors_cap - w->vectors_n)
        return NULL;
    *device = w->to->vectors + w->vectors_n;
    w->vectors_n += n;
    return host;
}

int weights_put(struct weights *w, int layer, const char *name, int n, float *dst, struct err *e)
{
    return blob_vector(w->blob, model_tensor(w->m, layer, name), 0, 1, n, dst, e);
}

int weights_vector(struct weights *w, int layer, const char *name, int n, float **device, struct err *e)
{
    float *dst = weights_reserve(w, (size_t)n, device);

    if (!dst)
        return err_set(e, ERR_NOMEM, "no room for tensor '%s'", name);
    return weights_put(w, layer, name, n, dst, e);
}

static int vectors(struct weights *w, int layer, struct err *e)
{
    const struct ops *op = w->d->ops;

    w->vectors_n = 0;
    if (weights_attention_vectors(w, layer, e) || weights_ffn_vectors(w, layer, e))
        return -1;
    op->finish_copy(w->d,
                    op->copy_up(w->d, w->to->vectors, w->host_vectors, w->vectors_n * sizeof(float), 0));
    return 0;
}

/* ---- packing ---- */

static void begin_layer(struct weights *w, int layer)
{
    struct weights_set *s = w->to;

    s->layer.kind = w->m->arch.layer[layer].ffn;
    s->layer.ffn = s->layer.kind == FFN_MOE ? &s->moe : &s->dense;
    s->layer.shared = s->layer.kind == FFN_MOE && w->m->arch.shared_inter ? &s->shared : NULL;
}

/* All but the experts of a layer: how many jobs, or -1. */
static int rest_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    int n = weights_attention_jobs(w, layer, job, e),
        ffn = n < 0 ? -1 : weights_ffn_jobs(w, layer, job + n, e);

    return ffn < 0 ? -1 : n + ffn;
}

/* The next group, which is in memory. */
static int pack_group(struct weights *w, const struct group *g, struct err *e)
{
    int n = 0;

    w->to = &w->set[g->layer % w->sets];
    w->blob = &g->blob;
    if (g->rest) {
        begin_layer(w, g->layer);
        n = vectors(w, g->layer, e) ? -1 : rest_jobs(w, g->layer, w->job, e);
    }
    if (n < 0 || weights_expert_jobs(w, g->layer, g->expert, g->experts, w->job + n, e))
        return -1;
    return w->d->ops->pack(w->d, w->job, n + 2 * g->experts, e);
}

/* Waits for the next group and packs it. */
static int next_group(struct weights *w, struct err *e)
{
    double t0 = seconds_now();

    if (reader_wait(w->reader, w->next, e))
        return -1;
    if (!w->d->can.beside)
        w->wait_seconds += seconds_now() - t0;
    if (pack_group(w, &w->groups->group[w->next], e))
        return -1;
    reader_done(w->reader, w->next++);
    return 0;
}

/* ---- beside computing ---- */

/* Waits until the set of the next group is free; false: there is no more to do. */
static bool room_for_next(struct weights *w)
{
    bool go;

    pthread_mutex_lock(&w->lock);
    while (!w->stop && w->next < w->groups->n && w->groups->group[w->next].layer >= w->current + w->sets)
        pthread_cond_wait(&w->changed, &w->lock);
    go = !w->stop && w->next < w->groups->n;
    pthread_mutex_unlock(&w->lock);
    return go;
}

static void *packer_main(void *arg)
{
    struct weights *w = arg;
    struct err e = {0};

    w->d->ops->enter(w->d);
    while (!e.kind && room_for_next(w)) {
        const struct group *g = &w->groups->group[w->next];
        int rc = next_group(w, &e);

        pthread_mutex_lock(&w->lock);
        if (rc)
            w->err = e;
        else if (g->last)
            w->packed = g->layer + 1;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

static int wait_packed(struct weights *w, int layer, struct err *e)
{
    double t0 = seconds_now();
    int rc = 0;

    pthread_mutex_lock(&w->lock);
    w->current = layer;
    pthread_cond_signal(&w->changed);
    while (w->packed <= layer && !w->err.kind)
        pthread_cond_wait(&w->changed, &w->lock);
    if (w->packed <= layer)
        rc = err_set(e, w->err.kind, "%s", w->err.msg);
    pthread_mutex_unlock(&w->lock);
    w->wait_seconds += seconds_now() - t0;
    return rc;
}

int weights_layer(struct weights *w, int layer, const struct layer_weights **out, struct err *e)
{
    if (w->packing) {
        if (wait_packed(w, layer, e))
            return -1;
    } else {
        while (w->next < w->groups->n && w->groups->group[w->next].layer == layer)
            if (next_group(w, e))
                return -1;
    }
    *out = &w->set[layer % w->sets].layer;
    return 0;
}

/* ---- opening and closing ---- */

int weights_plan(struct groups *g, const struct device *d, const struct model *m, struct err *e)
{
    return groups_plan(g, m, d->group_bytes, e);
}

int weights_slots(const struct device *d)
{
    return d->group_bytes ? GROUP_SLOTS : 1;
}

/* Rows are padded, and memory comes in pages. */
static uint64_t matrix_bytes(const struct device *d, int64_t out, int64_t in)
{
    const uint64_t page = 2 << 20;
    uint64_t n = (uint64_t)out * (uint64_t)((in + 63) / 64 * 64) * d->elem_bytes;

    return n < page / 2 ? n : (n + page - 1) / page * page;
}

static uint64_t mlp_bytes(const struct device *d, int hidden, int inter)
{
    return inter ? matrix_bytes(d, 2 * (int64_t)inter, hidden) + matrix_bytes(d, hidden, inter) : 0;
}

uint64_t weights_bytes(const struct device *d, const struct model *m)
{
    const struct arch *a = &m->arch;
    uint64_t n = weights_attention_bytes(d, a, matrix_bytes) + matrix_bytes(d, a->experts, a->hidden) +
                 (uint64_t)a->experts * mlp_bytes(d, a->hidden, a->inter) +
                 mlp_bytes(d, a->hidden, a->dense_inter) + mlp_bytes(d, a->hidden, a->shared_inter) +
                 (weights_attention_size(a) + weights_ffn_size(a)) * sizeof(float);

    return n * (d->can.beside ? 2 : 1);
}

static int set_open(struct weights *w, struct weights_set *s, struct err *e)
{
    s->vectors = w->d->ops->buf_new(w->d, w->vectors_cap * sizeof *s->vectors, e);
    return s->vectors ? weights_ffn_open(s, &w->m->arch, e) : -1;
}

static void set_close(struct weights_set *s, struct device *d)
{
    struct matrix *const own[] = {s->layer.qkv, s->layer.o, s->layer.q_b, s->layer.kv_b};
    size_t i;

    weights_ffn_close(s, d);
    for (i = 0; i < sizeof own / sizeof *own; i++)
        d->ops->matrix_free(d, own[i]);
    d->ops->buf_free(d, s->vectors);
}

int weights_open(struct weights **out, struct device *d, const struct model *m, struct reader *reader,
                 const struct groups *g, struct err *e)
{
    struct weights *w = mem_new(1, sizeof *w, e);
    int i;

    *out = NULL;
    if (!w)
        return -1;
    w->d = d;
    w->m = m;
    w->reader = reader;
    w->groups = g;
    w->sets = d->can.beside ? 2 : 1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->vectors_cap = weights_attention_size(&m->arch) + weights_ffn_size(&m->arch);
    w->job = mem_new(ATTENTION_JOBS + FFN_JOBS + 2 * (size_t)g->most_experts, sizeof *w->job, e);
    w->host_vectors = d->ops->host_new(d, w->vectors_cap * sizeof *w->host_vectors, e);
    if (!w->job || !w->host_vectors)
        goto fail;
    for (i = 0; i < w->sets; i++)
        if (set_open(w, &w->set[i], e))
            goto fail;
    if (d->can.beside) {
        w->packing = pthread_create(&w->packer, NULL, packer_main, w) == 0;
        if (!w->packing) {
            err_set(e, ERR_IO, "cannot start the thread that packs weights");
            goto fail;
        }
    }
    *out = w;
    return 0;
fail:
    weights_close(w);
    return -1;
}

double weights_waited(const struct weights *w)
{
    return w->wait_seconds;
}

void weights_close(struct weights *w)
{
    static const struct err closed = {ERR_CANCELLED, "stopped"};
    bool all;
    int i;

    if (!w)
        return;
    if (w->packing) {
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        all = w->packed == w->m->arch.layers;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
        if (!all)
            reader_stop(w->reader, &closed); /* the packer may wait for it */
        pthread_join(w->packer, NULL);
    }
    for (i = 0; i < w->sets; i++)
        set_close(&w->set[i], w->d);
    w->d->ops->host_free(w->d, w->host_vectors);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->job);
    free(w);
}
