/* The second half of a layer's weights: router, experts, shared expert; or the dense MLP. */
#include "load/weights_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { NAME_LEN = 256 };

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

int weights_ffn_open(struct weights_set *s, const struct arch *a, struct err *e)
{
    return ffn_new(&s->moe, a->experts, a->inter, e) || ffn_new(&s->dense, 1, a->dense_inter, e) ||
                   ffn_new(&s->shared, 1, a->shared_inter, e)
               ? -1
               : 0;
}

void weights_ffn_close(struct weights_set *s, struct device *d)
{
    ffn_free(&s->moe, d);
    ffn_free(&s->dense, d);
    ffn_free(&s->shared, d);
    d->ops->matrix_free(d, s->layer.router);
    d->ops->matrix_free(d, s->layer.shared_gate);
}

/* ---- biases ---- */

static size_t mlp_biases_size(const struct arch *a, int inter)
{
    return 2 * (size_t)inter + (size_t)a->hidden;
}

size_t weights_ffn_size(const struct arch *a)
{
    size_t n = (size_t)a->hidden + 2 * (size_t)a->experts; /* norm; router's bias and correction */

    if (a->family->expert_bias)
        n += (size_t)a->experts * mlp_biases_size(a, a->inter);
    if (a->bias_mlp)
        n += mlp_biases_size(a, a->dense_inter) + mlp_biases_size(a, a->shared_inter);
    return n;
}

static int no_room(int layer, struct err *e)
{
    return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
}

static int mlp_biases(struct weights *w, int layer, const char *module, struct ffn_weights *f, struct err *e)
{
    static const char *const part[] = {"gate_proj", "up_proj", "down_proj"};
    int hidden = w->m->arch.hidden, i;
    float *b[3];
    char name[NAME_LEN];

    b[0] = weights_reserve(w, 2 * (size_t)f->inter, &f->b_gate_up);
    b[2] = b[0] ? weights_reserve(w, (size_t)hidden, &f->b_down) : NULL;
    if (!b[2])
        return no_room(layer, e);
    b[1] = b[0] + f->inter;
    for (i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.%s.bias", module, part[i]);
        if (weights_put(w, layer, name, i == 2 ? hidden : f->inter, b[i], e))
            return -1;
    }
    return 0;
}

static int expert_biases(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    const struct tensor *gu = model_expert_tensor(w->m, layer, 0, PART_GATE_UP, PIECE_BIAS);
    const struct tensor *dn = model_expert_tensor(w->m, layer, 0, PART_DOWN, PIECE_BIAS);
    int inter = a->inter, together = w->m->layout == EXPERTS_FUSED, j;
    float *b = weights_reserve(w, (size_t)a->experts * 2 * (size_t)inter, &w->to->moe.b_gate_up);

    for (j = 0; b && j < a->experts; j++, b += 2 * inter) {
        int64_t at = (int64_t)j * 2 * inter;

        if (blob_vector(w->blob, gu, at, together ? 1 : 2, inter, b, e) ||
            blob_vector(w->blob, gu, at + (together ? inter : 1), together ? 1 : 2, inter, b + inter, e))
            return -1;
    }
    b = weights_reserve(w, (size_t)a->experts * (size_t)a->hidden, &w->to->moe.b_down);
    if (!b)
        return no_room(layer, e);
    return blob_vector(w->blob, dn, 0, 1, a->experts * a->hidden, b, e);
}

/* "MODULE.NAME", MODULE being the MoE module's name in this checkpoint. */
static void ffn_name(const struct weights *w, const char *name, char *out)
{
    snprintf(out, NAME_LEN, "%s.%s", w->m->ffn_module, name);
}

int weights_ffn_vectors(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    const struct family *f = a->family;
    struct layer_weights *l = &w->to->layer;
    char router[NAME_LEN], name[NAME_LEN];

    l->b_router = l->corr = NULL;
    if (weights_vector(w, layer, "post_attention_layernorm.weight", a->hidden, &l->post_norm, e))
        return -1;
    if (l->kind != FFN_MOE)
        return a->bias_mlp ? mlp_biases(w, layer, f->ffn_module, &w->to->dense, e) : 0;
    ffn_name(w, f->router, router);
    snprintf(name, sizeof name, "%.200s.bias", router);
    if (f->router_bias && weights_vector(w, layer, name, a->experts, &l->b_router, e))
        return -1;
    if (f->corr_name) {
        ffn_name(w, f->corr_name, name);
        if (weights_vector(w, layer, name, a->experts, &l->corr, e))
            return -1;
    }
    if (f->expert_bias && expert_biases(w, layer, e))
        return -1;
    if (!l->shared || !a->bias_mlp)
        return 0;
    ffn_name(w, f->shared_module, name);
    return mlp_biases(w, layer, name, &w->to->shared, e);
}

/* ---- matrices ---- */

static void put_jobs(const struct ffn_weights *f, int j, const struct source s[3], struct matrix_job *job)
{
    job[0] = (struct matrix_job){.m = &f->gate_up[j], .part = {s[0], s[1]}, .parts = 2, .paired = true};
    job[1] = (struct matrix_job){.m = &f->down[j], .part = {s[2]}, .parts = 1};
}

static int mlp_jobs(const struct weights *w, int layer, const char *module, const struct ffn_weights *f,
                    struct matrix_job *job, struct err *e)
{
    static const char *const part[] = {"gate_proj", "up_proj", "down_proj"};
    int hidden = w->m->arch.hidden, i;
    struct source s[3];
    char name[NAME_LEN];

    for (i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.%s", module, part[i]);
        if (blob_linear(w->blob, layer, name, i == 2 ? hidden : f->inter, i == 2 ? f->inter : hidden, &s[i],
                        e))
            return -1;
    }
    put_jobs(f, 0, s, job);
    return 0;
}

/* One linear of the MoE module with its own product. */
static int own_job(const struct weights *w, int layer, const char *name, struct matrix **m, int out,
                   struct matrix_job *job, struct err *e)
{
    char full[NAME_LEN];

    ffn_name(w, name, full);
    *job = (struct matrix_job){.m = m, .parts = 1};
    return blob_linear(w->blob, layer, full, out, w->m->arch.hidden, &job->part[0], e);
}

/* Returns how many, or -1. */
static int shared_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    const struct family *f = w->m->arch.family;
    char name[NAME_LEN];

    ffn_name(w, f->shared_module, name);
    if (mlp_jobs(w, layer, name, w->to->layer.shared, job, e))
        return -1;
    if (!f->shared_gated)
        return 2;
    return own_job(w, layer, "shared_expert_gate", &w->to->layer.shared_gate, 1, job + 2, e) ? -1 : 3;
}

int weights_ffn_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    const struct arch *a = &w->m->arch;
    struct layer_weights *l = &w->to->layer;
    int n;

    if (l->kind != FFN_MOE)
        return mlp_jobs(w, layer, a->family->ffn_module, l->ffn, job, e) ? -1 : 2;
    if (own_job(w, layer, a->family->router, &l->router, a->experts, job, e))
        return -1;
    /* a router kept in f32 is meant to be multiplied in f32 */
    job->f32 = a->family->router_f32 || job->part[0].type == SOURCE_F32;
    n = l->shared ? shared_jobs(w, layer, job + 1, e) : 0;
    return n < 0 ? -1 : 1 + n;
}

int weights_expert_jobs(struct weights *w, int layer, const int *expert, int n, struct matrix_job *job,
                        struct err *e)
{
    struct source s[3];
    int i;

    for (i = 0; i < n; i++, job += 2) {
        if (blob_expert(w->blob, layer, expert[i], s, e))
            return -1;
        put_jobs(w->to->layer.ffn, expert[i], s, job);
    }
    return 0;
}
