/* The weights of a layer's attention. */
#include "engine/weights_private.h"

size_t weights_attention_size(const struct arch *a)
{
    size_t qkv = (size_t)(a->heads + 2 * a->kv_heads) * (size_t)a->head_dim;

    return 2 * (size_t)a->hidden + 2 * (size_t)a->head_dim + (size_t)a->heads + qkv;
}

int weights_attention_vectors(struct weights *w, int layer, struct err *e)
{
    const struct arch *a = &w->m->arch;
    struct layer_weights *l = &w->layer;
    int q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    float *b;

    if (weights_vector(w, layer, "input_layernorm.weight", a->hidden, &l->in_norm, e))
        return -1;
    if (a->family->qk_norm == QKN_HEAD_PRE &&
        (weights_vector(w, layer, "self_attn.q_norm.weight", a->head_dim, &l->q_norm, e) ||
         weights_vector(w, layer, "self_attn.k_norm.weight", a->head_dim, &l->k_norm, e)))
        return -1;
    if (a->family->sinks && weights_vector(w, layer, "self_attn.sinks", a->heads, &l->sinks, e))
        return -1;
    if (a->bias_o && weights_vector(w, layer, "self_attn.o_proj.bias", a->hidden, &l->b_o, e))
        return -1;
    if (!a->bias_qkv)
        return 0;
    b = weights_reserve(w, (size_t)(q + 2 * kv), &l->b_qkv);
    if (!b)
        return err_set(e, ERR_NOMEM, "no room for the biases of layer %d", layer);
    return weights_put(w, layer, "self_attn.q_proj.bias", q, b, e) ||
                   weights_put(w, layer, "self_attn.k_proj.bias", kv, b + q, e) ||
                   weights_put(w, layer, "self_attn.v_proj.bias", kv, b + q + kv, e)
               ? -1
               : 0;
}

int weights_attention_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
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
