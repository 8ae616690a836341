#include "engine/weights_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

enum { NAME_LEN = 128 };

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

static size_t vectors_size(const struct arch *a)
{
    size_t n = (size_t)a->hidden + weights_attention_size(a);

    if (a->family->expert_bias)
        n += (size_t)a->experts * (2 * (size_t)a->inter + (size_t)a->hidden);
    return n + (size_t)a->experts;
}

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

static int moe_vectors(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    const struct family *f = a->family;
    const struct tensor *gu = model_expert_tensor(w->m, layer, 0, PART_GATE_UP, PIECE_BIAS);
    const struct tensor *dn = model_expert_tensor(w->m, layer, 0, PART_DOWN, PIECE_BIAS);
    int inter = a->inter, rows_together = w->m->layout == EXPERTS_FUSED, j;
    char name[NAME_LEN];
    float *b;

    snprintf(name, sizeof name, "%s.%s.bias", f->ffn_module, f->router);
    if (f->router_bias && weights_vector(w, layer, name, a->experts, &w->layer.b_router, e))
        return -1;
    if (!f->expert_bias)
        return 0;
    b = weights_reserve(w, (size_t)a->experts * 2 * (size_t)inter, &w->moe.b_gate_up);
    for (j = 0; b && j < a->experts; j++, b += 2 * inter) {
        int64_t at = (int64_t)j * 2 * inter;

        if (blob_vector(&w->blob, gu, at, rows_together ? 1 : 2, inter, b, e) ||
            blob_vector(&w->blob, gu, at + (rows_together ? inter : 1), rows_together ? 1 : 2, inter,
                        b + inter, e))
            return -1;
    }
    b = weights_reserve(w, (size_t)a->experts * (size_t)a->hidden, &w->moe.b_down);
    if (!b)
        return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
    return blob_vector(&w->blob, dn, 0, 1, a->experts * a->hidden, b, e);
}

static int vectors(struct weights *w, int layer, struct err *e)
{
    struct layer_weights *l = &w->layer;

    w->vectors_n = 0;
    l->b_router = NULL;
    if (weights_vector(w, layer, "post_attention_layernorm.weight", w->m->arch.hidden, &l->post_norm, e) ||
        weights_attention_vectors(w, layer, e) || (l->kind == FFN_MOE && moe_vectors(w, layer, e)))
        return -1;
    w->d->ops->to_device(w->d, w->device_vectors, w->host_vectors, w->vectors_n * sizeof(float));
    return 0;
}

/* ---- matrices ---- */

static int ffn_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    const struct arch *a = &w->m->arch;
    const struct ffn_weights *f = w->layer.ffn;
    struct source s[3];
    int j;

    for (j = 0; j < f->n; j++, job += 2) {
        if (w->layer.kind == FFN_MOE) {
            if (blob_expert(&w->blob, layer, j, s, e))
                return -1;
        } else if (blob_linear(&w->blob, layer, "mlp.gate_proj", f->inter, a->hidden, &s[0], e) ||
                   blob_linear(&w->blob, layer, "mlp.up_proj", f->inter, a->hidden, &s[1], e) ||
                   blob_linear(&w->blob, layer, "mlp.down_proj", a->hidden, f->inter, &s[2], e)) {
            return -1;
        }
        job[0] = (struct matrix_job){.m = &f->gate_up[j], .part = {s[0], s[1]}, .parts = 2, .paired = true};
        job[1] = (struct matrix_job){.m = &f->down[j], .part = {s[2]}, .parts = 1};
    }
    return 0;
}

static int pack_layer(struct weights *w, int layer, struct err *e)
{
    const struct family *f = w->m->arch.family;
    int most = ATTENTION_JOBS + 2 * w->layer.ffn->n + 1, n, rc = -1;
    struct matrix_job *job = mem_new((size_t)most, sizeof *job, e);
    char name[NAME_LEN];

    if (!job)
        return -1;
    n = weights_attention_jobs(w, layer, job, e);
    if (n < 0 || ffn_jobs(w, layer, job + n, e))
        goto out;
    n += 2 * w->layer.ffn->n;
    if (w->layer.kind == FFN_MOE) {
        snprintf(name, sizeof name, "%s.%s", f->ffn_module, f->router);
        job[n] = (struct matrix_job){.m = &w->layer.router, .parts = 1};
        if (blob_linear(&w->blob, layer, name, w->m->arch.experts, w->m->arch.hidden, &job[n++].part[0], e))
            goto out;
    }
    rc = w->d->ops->pack(w->d, job, n, e);
out:
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
    if (vectors(w, layer, e) || pack_layer(w, layer, e) || start_reading(w, layer + 1, e))
        return -1;
    *out = &w->layer;
    return 0;
}

/* ---- opening and closing ---- */

static int ffn_new(struct ffn_weights *f, int n, int inter, struct err *e)
{
    f->n = n;
    f->inter = inter;
    f->gate_up = mem_new((size_t)n, sizeof *f->gate_up, e);
    f->down = mem_new((size_t)n, sizeof *f->down, e);
    return f->gate_up && f->down ? 0 : -1;
}

static void ffn_free(struct ffn_weights *f, struct device *d)
{
    int j;

    for (j = 0; f->gate_up && f->down && j < f->n; j++) {
        d->ops->matrix_free(d, f->gate_up[j]);
        d->ops->matrix_free(d, f->down[j]);
    }
    free(f->gate_up);
    free(f->down);
}

int weights_open(struct weights **out, struct device *d, const struct model *m, struct err *e)
{
    struct weights *w = mem_new(1, sizeof *w, e);

    *out = NULL;
    if (!w)
        return -1;
    w->d = d;
    w->m = m;
    w->blob.m = m;
    w->vectors_cap = vectors_size(&m->arch);
    w->host_vectors = mem_new(w->vectors_cap, sizeof *w->host_vectors, e);
    w->device_vectors = d->ops->buf_new(d, w->vectors_cap * sizeof *w->device_vectors, e);
    if (!w->host_vectors || !w->device_vectors || ffn_new(&w->moe, m->arch.experts, m->arch.inter, e) ||
        ffn_new(&w->dense, 1, m->arch.dense_inter, e) || start_reading(w, 0, e)) {
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
    ffn_free(&w->moe, w->d);
    ffn_free(&w->dense, w->d);
    w->d->ops->matrix_free(w->d, w->layer.qkv);
    w->d->ops->matrix_free(w->d, w->layer.o);
    w->d->ops->matrix_free(w->d, w->layer.q_b);
    w->d->ops->matrix_free(w->d, w->layer.kv_b);
    w->d->ops->matrix_free(w->d, w->layer.router);
    w->d->ops->buf_free(w->d, w->device_vectors);
    free(w->host_vectors);
    blob_free(&w->blob);
    free(w);
}
