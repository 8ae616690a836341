/*
 * weights.c -- layers in order: each read batch by batch, packed into a set of matrices, lent to who
 * computes.
 */
#include "load/host_decode.h"
#include "load/weights_private.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"

enum { RING_BATCHES = 4 };

/* ---- packing ---- */

static void begin_layer(struct weights *w, int layer)
{
    struct weights_set *s = w->to;

    s->layer.kind = w->m->arch.layer[layer].ffn;
    s->layer.ffn = s->layer.kind == FFN_MOE ? &s->moe : &s->dense;
    s->layer.shared = s->layer.kind == FFN_MOE && w->m->arch.shared_inter ? &s->shared : NULL;
}

/* The next batch, which is in memory. */
static int pack_batch(struct weights *w, const struct read_batch *g, struct err *e)
{
    int n = 0;

    w->to = &w->set[g->layer % w->sets];
    w->blob = &g->blob;
    if (g->rest) {
        begin_layer(w, g->layer);
        n = weights_layer_vectors(w, g->layer, e) ? -1 : weights_layer_jobs(w, g->layer, w->job, e);
    }
    if (n < 0 || weights_expert_jobs(w, g->layer, g->expert, g->experts, w->job + n, e))
        return -1;
    return pack_any(w->d, w->job, n + 2 * g->experts, e);
}

/* Waits for the next batch and packs it. */
static int next_batch(struct weights *w, struct err *e)
{
    double t0 = seconds_now();

    if (reader_wait(w->reader, w->next, e))
        return -1;
    if (!w->d->can.beside)
        w->wait_seconds += seconds_now() - t0;
    if (pack_batch(w, &w->batches->batch[w->next], e))
        return -1;
    reader_done(w->reader, w->next++);
    return 0;
}

/* ---- beside computing ---- */

/* Waits until the set of the next batch is free; false: there is no more to do. */
static bool room_for_next(struct weights *w)
{
    bool go;

    pthread_mutex_lock(&w->lock);
    while (!w->stop && w->next < w->batches->n && w->batches->batch[w->next].layer >= w->over + w->sets)
        pthread_cond_wait(&w->changed, &w->lock);
    go = !w->stop && w->next < w->batches->n;
    pthread_mutex_unlock(&w->lock);
    return go;
}

static void *packer_main(void *arg)
{
    struct weights *w = arg;
    struct err e = {0};

    w->d->ops->enter(w->d);
    while (!e.kind && room_for_next(w)) {
        const struct read_batch *g = &w->batches->batch[w->next];
        int rc = next_batch(w, &e);

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
        while (w->next < w->batches->n && w->batches->batch[w->next].layer == layer)
            if (next_batch(w, e))
                return -1;
    }
    *out = &w->set[layer % w->sets].layer;
    return 0;
}

void weights_done(struct weights *w, int layer)
{
    pthread_mutex_lock(&w->lock);
    w->over = layer + 1;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ---- opening and closing ---- */

int weights_plan(struct batches *g, const struct device *d, const struct model *m, struct err *e)
{
    return batches_plan(g, m, d->pack_bytes, e);
}

int weights_ring(const struct device *d)
{
    return d->pack_bytes ? RING_BATCHES : 1;
}

/* Where the device packs beside computing, a layer is packed while the one before it computes. */
static int sets(const struct device *d)
{
    return d->can.beside ? 2 : 1;
}

uint64_t weights_bytes(const struct device *d, const struct model *m)
{
    return (uint64_t)sets(d) * weights_set_bytes(d, m);
}

int weights_open(struct weights **out, struct device *d, const struct model *m, struct reader *reader,
                 const struct batches *g, struct err *e)
{
    struct weights *w = mem_new(1, sizeof *w, e);
    size_t floats = 0;
    int i;

    *out = NULL;
    if (!w)
        return -1;
    w->d = d;
    w->m = m;
    w->reader = reader;
    w->batches = g;
    w->sets = sets(d);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    for (i = 0; i < m->arch.layers; i++)
        if (weights_layer_floats(m, i) > floats)
            floats = weights_layer_floats(m, i);
    w->set = mem_new((size_t)w->sets, sizeof *w->set, e);
    w->job = mem_new(LAYER_SLOTS + 2 * (size_t)g->most_experts, sizeof *w->job, e);
    w->host_vectors = d->ops->host_new(d, floats * sizeof *w->host_vectors, e);
    if (!w->set || !w->job || !w->host_vectors || latent_room(w, e))
        goto fail;
    for (i = 0; i < w->sets; i++)
        if (weights_set_open(&w->set[i], d, &m->arch, floats, e))
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
    for (i = 0; w->set && i < w->sets; i++)
        weights_set_close(&w->set[i], w->d);
    free(w->set);
    w->d->ops->host_free(w->d, w->host_vectors);
    w->d->ops->host_free(w->d, w->joined);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->job);
    free(w);
}
