#include "engine/weights_private.h"

#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- reading ahead ---- */

static void *reader_main(void *arg)
{
    struct weights *w = arg;
    double t0 = now();

    w->read_rc = blob_read(&w->blob, &w->stop, &w->read_err);
    w->read_seconds += now() - t0;
    return NULL;
}

static int start_reading(struct weights *w, int layer, struct err *e)
{
    blob_clear(&w->blob);
    w->next = layer;
    if (layer >= w->m->arch.layers)
        return 0;
    if (blob_add_layer(&w->blob, layer, e))
        return -1;
    if (pthread_create(&w->reader, NULL, reader_main, w))
        return err_set(e, ERR_IO, "cannot start the reader thread");
    w->reading = true;
    return 0;
}

static int finish_reading(struct weights *w, struct err *e)
{
    double t0 = now();

    if (!w->reading)
        return 0;
    pthread_join(w->reader, NULL);
    w->reading = false;
    w->wait_seconds += now() - t0;
    w->bytes_read += w->blob.size;
    return w->read_rc ? err_set(e, w->read_err.kind, "%s", w->read_err.msg) : 0;
}

/* ---- biases and norms: decoded on the host, sent in one piece ---- */

float *weights_reserve(struct weights *w, size_t n, float **device)
{
    float *host = w->host_vectors + w->vectors_n;

    if (n > w->vectors_cap - w->vectors_n)
        return NULL;
    *device = w->device_vectors + w->vectors_n;
    w->vectors_n += n;
    return host;
}

int weights_put(struct weights *w, int layer, const char *name, int n, float *dst, struct err *e)
{
    return blob_vector(&w->blob, model_tensor(w->m, layer, name), 0, 1, n, dst, e);
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
    w->vectors_n = 0;
    if (weights_attention_vectors(w, layer, e) || weights_ffn_vectors(w, layer, e))
        return -1;
    w->d->ops->to_device(w->d, w->device_vectors, w->host_vectors, w->vectors_n * sizeof(float));
    return 0;
}

/* ---- matrices ---- */

static int pack_layer(struct weights *w, int layer, struct err *e)
{
    int ffn = weights_ffn_count(w), n, rc = -1;
    struct matrix_job *job = mem_new((size_t)(ATTENTION_JOBS + ffn), sizeof *job, e);

    if (!job)
        return -1;
    n = weights_attention_jobs(w, layer, job, e);
    if (n >= 0 && weights_ffn_jobs(w, layer, job + n, e) == 0)
        rc = w->d->ops->pack(w->d, job, n + ffn, e);
    free(job);
    return rc;
}

int weights_layer(struct weights *w, int layer, const struct layer_weights **out, struct err *e)
{
    if ((w->next != layer || !w->reading) && start_reading(w, layer, e))
        return -1;
    if (finish_reading(w, e))
        return -1;
    w->layer.kind = w->m->arch.layer[layer].ffn;
    w->layer.ffn = w->layer.kind == FFN_MOE ? &w->moe : &w->dense;
    w->layer.shared = w->layer.kind == FFN_MOE && w->m->arch.shared_inter ? &w->shared : NULL;
    if (vectors(w, layer, e) || pack_layer(w, layer, e) || start_reading(w, layer + 1, e))
        return -1;
    *out = &w->layer;
    return 0;
}

/* ---- opening and closing ---- */

int weights_open(struct weights **out, struct device *d, const struct model *m, struct err *e)
{
    struct weights *w = mem_new(1, sizeof *w, e);

    *out = NULL;
    if (!w)
        return -1;
    w->d = d;
    w->m = m;
    w->blob.m = m;
    w->vectors_cap = weights_attention_size(&m->arch) + weights_ffn_size(&m->arch);
    w->host_vectors = mem_new(w->vectors_cap, sizeof *w->host_vectors, e);
    w->device_vectors = d->ops->buf_new(d, w->vectors_cap * sizeof *w->device_vectors, e);
    if (!w->host_vectors || !w->device_vectors || weights_ffn_open(w, e) || start_reading(w, 0, e)) {
        weights_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

void weights_cost(const struct weights *w, struct engine_cost *cost)
{
    cost->read_seconds += w->read_seconds;
    cost->wait_seconds += w->wait_seconds;
    cost->bytes_read += w->bytes_read;
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    if (w->reading) {
        atomic_store(&w->stop, 1);
        pthread_join(w->reader, NULL);
    }
    weights_ffn_close(w);
    w->d->ops->matrix_free(w->d, w->layer.qkv);
    w->d->ops->matrix_free(w->d, w->layer.o);
    w->d->ops->matrix_free(w->d, w->layer.q_b);
    w->d->ops->matrix_free(w->d, w->layer.kv_b);
    w->d->ops->buf_free(w->d, w->device_vectors);
    free(w->host_vectors);
    blob_free(&w->blob);
    free(w);
}
