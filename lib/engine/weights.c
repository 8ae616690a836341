#include "engine/weights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "engine/blob.h"

enum { NAME_LEN = 128, EMBED_ROWS = 1024 };

struct weights {
    struct device *d;
    const struct model *m;
    struct blob blob;
    pthread_t reader;
    bool reading;
    atomic_int stop;
    int next, read_rc;
    struct err read_err;
    double read_seconds, wait_seconds;
    uint64_t bytes_read;
    struct layer_weights layer;
    struct ffn_weights moe, dense;
    float *device_vectors, *host_vectors; /* one piece for all biases and norms */
    size_t vectors_cap, vectors_n;
};

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
    size_t qkv = (size_t)(a->heads + 2 * a->kv_heads) * (size_t)a->head_dim;
    size_t n = 3 * (size_t)a->hidden + 2 * (size_t)a->head_dim + (size_t)a->heads + qkv;

    if (a->family->expert_bias)
        n += (size_t)a->experts * (2 * (size_t)a->inter + (size_t)a->hidden);
    return n + (size_t)a->experts;
}

/* Room for n floats; NULL when vectors_size was wrong. Offsets are the same on both sides. */
static float *reserve(struct weights *w, size_t n, float **device)
{
    float *host = w->host_vectors + w->vectors_n;

    if (n > w->vectors_cap - w->vectors_n)
        return NULL;
    *device = w->device_vectors + w->vectors_n;
    w->vectors_n += n;
    return host;
}

/* Tensor "NAME" of a layer, n elements, appended at *at. */
static int put_vector(struct weights *w, int layer, const char *name, int n, float *dst, struct err *e)
{
    return blob_vector(&w->blob, model_tensor(w->m, layer, name), 0, 1, n, dst, e);
}

static int vector(struct weights *w, int layer, const char *name, int n, float **device, struct err *e)
{
    float *dst = reserve(w, (size_t)n, device);

    if (!dst)
        return err_set(e, ERR_NOMEM, "no room for tensor '%s'", name);
    return put_vector(w, layer, name, n, dst, e);
}

static int attention_vectors(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    struct layer_weights *l = &w->layer;
    int q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    float *b;

    if (vector(w, layer, "input_layernorm.weight", a->hidden, &l->in_norm, e) ||
        vector(w, layer, "post_attention_layernorm.weight", a->hidden, &l->post_norm, e))
        return -1;
    if (a->family->qk_norm == QKN_HEAD_PRE &&
        (vector(w, layer, "self_attn.q_norm.weight", a->head_dim, &l->q_norm, e) ||
         vector(w, layer, "self_attn.k_norm.weight", a->head_dim, &l->k_norm, e)))
        return -1;
    if (a->family->sinks && vector(w, layer, "self_attn.sinks", a->heads, &l->sinks, e))
        return -1;
    if (a->bias_o && vector(w, layer, "self_attn.o_proj.bias", a->hidden, &l->b_o, e))
        return -1;
    if (!a->bias_qkv)
        return 0;
    b = reserve(w, (size_t)(q + 2 * kv), &l->b_qkv);
    if (!b)
        return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
    return put_vector(w, layer, "self_attn.q_proj.bias", q, b, e) ||
                   put_vector(w, layer, "self_attn.k_proj.bias", kv, b + q, e) ||
                   put_vector(w, layer, "self_attn.v_proj.bias", kv, b + q + kv, e)
               ? -1
               : 0;
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
    if (f->router_bias && vector(w, layer, name, a->experts, &w->layer.b_router, e))
        return -1;
    if (!f->expert_bias)
        return 0;
    b = reserve(w, (size_t)a->experts * 2 * (size_t)inter, &w->moe.b_gate_up);
    for (j = 0; b && j < a->experts; j++, b += 2 * inter) {
        int64_t at = (int64_t)j * 2 * inter;

        if (blob_vector(&w->blob, gu, at, rows_together ? 1 : 2, inter, b, e) ||
            blob_vector(&w->blob, gu, at + (rows_together ? inter : 1), rows_together ? 1 : 2, inter,
                        b + inter, e))
            return -1;
    }
    b = reserve(w, (size_t)a->experts * (size_t)a->hidden, &w->moe.b_down);
    if (!b)
        return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
    return blob_vector(&w->blob, dn, 0, 1, a->experts * a->hidden, b, e);
}

static int vectors(struct weights *w, int layer, struct err *e)
{
    struct layer_weights *l = &w->layer;

    w->vectors_n = 0;
    l->q_norm = l->k_norm = l->sinks = l->b_qkv = l->b_o = l->b_router = NULL;
    if (attention_vectors(w, layer, e) || (l->kind == FFN_MOE && moe_vectors(w, layer, e)))
        return -1;
    w->d->ops->to_device(w->d, w->device_vectors, w->host_vectors, w->vectors_n * sizeof(float));
    return 0;
}

/* ---- matrices ---- */

static int attention_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    static const char *const names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    const struct arch *a = &w->m->arch;
    int i;

    job[0] = (struct matrix_job){.m = &w->layer.qkv, .parts = 3};
    job[1] = (struct matrix_job){.m = &w->layer.o, .parts = 1};
    for (i = 0; i < 3; i++)
        if (blob_linear(&w->blob, layer, names[i], (i ? a->kv_heads : a->heads) * a->head_dim, a->hidden,
                        &job[0].part[i], e))
            return -1;
    return blob_linear(&w->blob, layer, "self_attn.o_proj", a->hidden, a->heads * a->head_dim,
                       &job[1].part[0], e);
}

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
    int n = 2 + 2 * w->layer.ffn->n + (w->layer.kind == FFN_MOE), rc = -1;
    struct matrix_job *job = mem_new((size_t)n, sizeof *job, e);
    char name[NAME_LEN];

    if (!job)
        return -1;
    if (attention_jobs(w, layer, job, e) || ffn_jobs(w, layer, job + 2, e))
        goto out;
    if (w->layer.kind == FFN_MOE) {
        snprintf(name, sizeof name, "%s.%s", f->ffn_module, f->router);
        job[n - 1] = (struct matrix_job){.m = &w->layer.router, .parts = 1};
        if (blob_linear(&w->blob, layer, name, w->m->arch.experts, w->m->arch.hidden, &job[n - 1].part[0], e))
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
    w->d->ops->matrix_free(w->d, w->layer.router);
    w->d->ops->buf_free(w->d, w->device_vectors);
    free(w->host_vectors);
    blob_free(&w->blob);
    free(w);
}

/* ---- outside the layers ---- */

int weights_embed(struct device *d, const struct model *m, const int32_t *ids, int64_t n, void *h,
                  uint64_t *bytes, struct err *e)
{
    size_t row = (size_t)m->arch.hidden * d->elem_bytes;
    struct blob b = {.m = m};
    uint8_t *stage = NULL;
    struct source s;
    int64_t t, i, c;
    int rc = -1;

    if (blob_add_linear(&b, -1, "model.embed_tokens", e) || blob_read(&b, NULL, e) ||
        blob_linear(&b, -1, "model.embed_tokens", m->arch.vocab, m->arch.hidden, &s, e))
        goto out;
    *bytes += b.size;
    stage = mem_new_aligned(EMBED_ROWS, row, e);
    if (!stage)
        goto out;
    for (t = 0; t < n; t += c) {
        c = n - t < EMBED_ROWS ? n - t : EMBED_ROWS;
        for (i = 0; i < c; i++)
            if (!source_rows(&s, ids[t + i], 1, stage + (size_t)i * row, (size_t)m->arch.hidden, d->bf16)) {
                err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number (row %d)",
                        s.name, (int)ids[t + i]);
                goto out;
            }
        d->ops->to_device(d, (uint8_t *)h + (size_t)t * row, stage, (size_t)c * row);
    }
    rc = 0;
out:
    free(stage);
    blob_free(&b);
    return rc;
}

int weights_final_norm(struct device *d, const struct model *m, float **out, struct err *e)
{
    size_t n = (size_t)m->arch.hidden;
    const struct tensor *t = model_tensor(m, -1, "model.norm.weight");
    float *host = mem_new(n, sizeof *host, e);
    int rc = -1;

    *out = NULL;
    if (!host)
        return -1;
    if (!t) {
        err_set(e, ERR_INPUT, "'%s': tensor 'model.norm.weight' is missing", m->dir);
    } else if (model_read_f32(m, t, host, e) == 0 &&
               (*out = d->ops->buf_new(d, n * sizeof *host, e)) != NULL) {
        d->ops->to_device(d, *out, host, n * sizeof *host);
        rc = 0;
    }
    free(host);
    return rc;
}

int weights_head(struct device *d, const struct model *m, struct matrix **out, struct err *e)
{
    const char *name = "lm_head";
    struct matrix_job job = {.m = out, .parts = 1, .for_head = true};
    struct blob b = {.m = m};
    int rc = -1;

    *out = NULL;
    if (!model_tensor(m, -1, "lm_head.weight") && !model_tensor(m, -1, "lm_head.weight_packed"))
        name = "model.embed_tokens";
    if (blob_add_linear(&b, -1, name, e) == 0 && blob_read(&b, NULL, e) == 0 &&
        blob_linear(&b, -1, name, m->arch.vocab, m->arch.hidden, &job.part[0], e) == 0)
        rc = d->ops->pack(d, &job, 1, e);
    if (rc) {
        d->ops->matrix_free(d, *out);
        *out = NULL;
    }
    blob_free(&b);
    return rc;
}
