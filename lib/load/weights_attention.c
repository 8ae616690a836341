/* The weights of a layer's attention. */
#include "load/weights_private.h"

#include <stdio.h>
#include <string.h>

enum { NAME_LEN = 128, PARTS = 3 };

/* What is stacked into the first product of a layer's attention. */
struct stacked {
    const char *name;
    int out;
    bool bias;
};

/* Returns how many. */
static int first_parts(const struct arch *a, struct stacked part[PARTS])
{
    int q = a->layer->attn.heads * a->layer->attn.head_dim,
        kv = a->layer->attn.kv_heads * a->layer->attn.head_dim;

    if (a->layer->mixer == MIXER_MLA) {
        part[0] = a->layer->latent.q
                      ? (struct stacked){"self_attn.q_a_proj", a->layer->latent.q, a->layer->attn.bias_qkv}
                      : (struct stacked){"self_attn.q_proj", q, false};
        part[1] = (struct stacked){"self_attn.kv_a_proj_with_mqa",
                                   a->layer->latent.kv + a->layer->attn.head_dim - a->layer->latent.nope,
                                   a->layer->attn.bias_qkv};
        return 2;
    }
    part[0] = (struct stacked){"self_attn.q_proj", q, a->layer->attn.bias_qkv};
    part[1] = (struct stacked){"self_attn.k_proj", kv, a->layer->attn.bias_qkv};
    part[2] = (struct stacked){"self_attn.v_proj", kv, a->layer->attn.bias_qkv};
    return 3;
}

/* Lengths of the vectors of q_norm and k_norm. */
static int norm_width(const struct arch *a, int heads)
{
    return a->layer->attn.qk_norm == QKN_FULL_PRE ? heads * a->layer->attn.head_dim : a->layer->attn.head_dim;
}

size_t weights_attention_size(const struct arch *a)
{
    struct stacked part[PARTS];
    int n = first_parts(a, part), i;
    size_t size = 2 * (size_t)a->hidden + (size_t)a->layer->attn.heads +
                  (size_t)norm_width(a, a->layer->attn.heads) +
                  (size_t)norm_width(a, a->layer->attn.kv_heads) + (size_t)a->layer->latent.q +
                  (size_t)a->layer->latent.kv;

    for (i = 0; i < n; i++)
        size += (size_t)part[i].out;
    return size;
}

uint64_t weights_attention_bytes(const struct device *d, const struct arch *a,
                                 uint64_t (*bytes)(const struct device *d, int64_t out, int64_t in))
{
    struct stacked part[PARTS];
    int n = first_parts(a, part), i, out = 0;
    uint64_t all = bytes(d, a->hidden, (int64_t)a->layer->attn.heads * a->layer->attn.v_dim);

    for (i = 0; i < n; i++)
        out += part[i].out;
    all += bytes(d, out, a->hidden);
    if (a->layer->mixer == MIXER_MLA)
        all += bytes(d, (int64_t)a->layer->attn.heads * a->layer->attn.head_dim, a->layer->latent.q) +
               bytes(d, (int64_t)a->layer->attn.heads * (a->layer->latent.nope + a->layer->attn.v_dim),
                     a->layer->latent.kv);
    return all;
}

/* The biases of the first product; a part without one has zeros. */
static int first_bias(struct weights *w, int layer, const struct stacked *part, int n, struct err *e)
{
    int i, width = 0;
    char name[NAME_LEN];
    float *b;

    for (i = 0; i < n; i++)
        width += part[i].out;
    b = weights_reserve(w, (size_t)width, &w->to->layer.b_qkv);
    if (!b)
        return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
    memset(b, 0, (size_t)width * sizeof *b);
    for (i = 0; i < n; b += part[i++].out) {
        snprintf(name, sizeof name, "%s.bias", part[i].name);
        if (part[i].bias && weights_put(w, layer, name, part[i].out, b, e))
            return -1;
    }
    return 0;
}

int weights_attention_vectors(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    struct layer_weights *l = &w->to->layer;
    struct stacked part[PARTS];
    bool latent = a->layer->mixer == MIXER_MLA;

    l->q_norm = l->k_norm = l->sinks = l->b_qkv = l->b_o = l->q_latent_norm = l->kv_latent_norm = NULL;
    if (weights_vector(w, layer, "input_layernorm.weight", a->hidden, &l->in_norm, e))
        return -1;
    if ((a->layer->attn.qk_norm == QKN_HEAD_PRE || a->layer->attn.qk_norm == QKN_FULL_PRE) &&
        (weights_vector(w, layer, "self_attn.q_norm.weight", norm_width(a, a->layer->attn.heads), &l->q_norm,
                        e) ||
         weights_vector(w, layer, "self_attn.k_norm.weight", norm_width(a, a->layer->attn.kv_heads),
                        &l->k_norm, e)))
        return -1;
    if (latent && a->layer->latent.q &&
        weights_vector(w, layer, "self_attn.q_a_layernorm.weight", a->layer->latent.q, &l->q_latent_norm, e))
        return -1;
    if (latent && weights_vector(w, layer, "self_attn.kv_a_layernorm.weight", a->layer->latent.kv,
                                 &l->kv_latent_norm, e))
        return -1;
    if (a->layer->attn.sinks &&
        weights_vector(w, layer, "self_attn.sinks", a->layer->attn.heads, &l->sinks, e))
        return -1;
    if (a->layer->attn.bias_o && weights_vector(w, layer, "self_attn.o_proj.bias", a->hidden, &l->b_o, e))
        return -1;
    return a->layer->attn.bias_qkv ? first_bias(w, layer, part, first_parts(a, part), e) : 0;
}

static int one_job(struct weights *w, int layer, struct matrix **m, const char *name, int out, int in,
                   struct matrix_job *job, struct err *e)
{
    *job = (struct matrix_job){.m = m, .parts = 1};
    return blob_linear(w->blob, layer, name, out, in, &job->part[0], e);
}

int weights_attention_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    const struct arch *a = &w->m->arch;
    struct layer_weights *l = &w->to->layer;
    struct stacked part[PARTS];
    int n = first_parts(a, part), i, jobs = 2;

    job[0] = (struct matrix_job){.m = &l->qkv, .parts = n};
    for (i = 0; i < n; i++)
        if (blob_linear(w->blob, layer, part[i].name, part[i].out, a->hidden, &job[0].part[i], e))
            return -1;
    if (one_job(w, layer, &l->o, "self_attn.o_proj", a->hidden, a->layer->attn.heads * a->layer->attn.v_dim,
                &job[1], e))
        return -1;
    if (a->layer->mixer != MIXER_MLA)
        return jobs;
    if (a->layer->latent.q &&
        one_job(w, layer, &l->q_b, "self_attn.q_b_proj", a->layer->attn.heads * a->layer->attn.head_dim,
                a->layer->latent.q, &job[jobs++], e))
        return -1;
    if (one_job(w, layer, &l->kv_b, "self_attn.kv_b_proj",
                a->layer->attn.heads * (a->layer->latent.nope + a->layer->attn.v_dim), a->layer->latent.kv,
                &job[jobs++], e))
        return -1;
    return jobs;
}
