/*
 * mixer_gqa.c -- grouped-query attention: its numbers, its tensors, its state; and what every kind of
 * attention has.
 */
#include <math.h>

#include "model/config.h"
#include "model/mixer.h"

void attention_read(struct arch *a, struct config *c, struct attention_arch *t)
{
    const struct family *f = a->family;
    bool own = f->default_kv_heads && !config_null(c, "num_key_value_heads");

    t->heads = config_int(c, "num_attention_heads", 1, MAX_DIM, 0);
    t->kv_heads = config_int(c, "num_key_value_heads", 1, MAX_DIM, own ? f->default_kv_heads : t->heads);
    if (c->e->kind)
        return;
    if (t->heads % t->kv_heads)
        err_set(c->e, ERR_INPUT, "'%s': %d attention heads do not divide among %d key-value heads", c->what,
                t->heads, t->kv_heads);
    t->qk_norm = f->qk_norm_key && !config_bool(c, "use_qk_norm", f->default_qk_norm) ? QKN_NONE : f->qk_norm;
    t->clip = config_double(c, "clip_qkv", 1e-6, INFINITY, 0);
    t->bias_qkv = f->key_attention_bias && config_bool(c, f->key_attention_bias, f->default_attention_bias);
    t->bias_o = t->bias_qkv && f->o_bias;
    t->sinks = f->sinks;
    if (f->temperature && config_bool(c, "attn_temperature_tuning", true)) {
        t->temp_floor = config_double(c, "floor_scale", 1e-6, 1e12, 8192);
        t->temp_scale = config_double(c, "attn_scale", 0, 1e6, 0.1);
    }
}

void attention_rope(struct arch *a, struct config *c, struct attention_arch *t, int rotated)
{
    int dim = t->head_dim > t->v_dim ? t->head_dim : t->v_dim, r;

    if ((int64_t)t->heads * dim > MAX_DIM) {
        err_set(c->e, ERR_INPUT, "'%s': %d attention heads of %d make no sense", c->what, t->heads, dim);
        return;
    }
    r = rope_read(a, c, rotated);
    if (t->rope >= 0)
        t->rope = r;
}

int64_t attention_kept(const struct attention_arch *t, int64_t tokens)
{
    return t->mask != MASK_FULL && t->window < tokens ? t->window : tokens;
}

static void gqa_read(struct arch *a, struct config *c, struct layer_arch *l)
{
    const struct family *f = a->family;
    struct attention_arch *t = &l->attn;
    bool own = f->default_head_dim && !config_null(c, "head_dim");

    attention_read(a, c, t);
    if (c->e->kind)
        return;
    t->head_dim = t->v_dim =
        config_int(c, "head_dim", 1, MAX_DIM, own ? f->default_head_dim : a->hidden / t->heads);
    t->scale = 1 / sqrt(t->head_dim);
    if (!c->e->kind)
        attention_rope(a, c, t, t->head_dim);
}

static int gqa_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    const struct attention_arch *t = &l->attn;
    int q = t->heads * t->head_dim, k = t->kv_heads * t->head_dim, v = t->kv_heads * t->v_dim, n = 0;
    bool full = t->qk_norm == QKN_FULL_PRE, bias = t->bias_qkv;

    if (t->qkv_one) {
        s[n++] =
            (struct slot){SLOT_QKV, "self_attn.qkv_proj", q + k + v, a->hidden, bias, true, .at = GQA_QKV};
    } else {
        s[n++] = (struct slot){SLOT_Q, "self_attn.q_proj", q, a->hidden, bias, true, .at = GQA_QKV};
        s[n++] = (struct slot){SLOT_K, "self_attn.k_proj", k, a->hidden, bias, true, .at = GQA_QKV};
        s[n++] = (struct slot){SLOT_V, "self_attn.v_proj", v, a->hidden, bias, true, .at = GQA_QKV};
    }
    s[n++] = (struct slot){SLOT_O, "self_attn.o_proj", a->hidden, t->heads * t->v_dim, t->bias_o,
                           true,   .at = GQA_O};
    if (full || t->qk_norm == QKN_HEAD_PRE) {
        s[n++] = (struct slot){SLOT_Q_NORM, "self_attn.q_norm.weight", .out = full ? q : t->head_dim,
                               .at = GQA_Q_NORM};
        s[n++] = (struct slot){SLOT_K_NORM, "self_attn.k_norm.weight", .out = full ? k : t->head_dim,
                               .at = GQA_K_NORM};
    }
    if (t->sinks)
        s[n++] = (struct slot){SLOT_SINKS, "self_attn.sinks", .out = t->heads, .at = GQA_SINKS};
    return n;
}

static uint64_t gqa_state(const struct layer_arch *l, int64_t tokens, size_t elem)
{
    const struct attention_arch *t = &l->attn;

    return (uint64_t)attention_kept(t, tokens) * (uint64_t)t->kv_heads * (uint64_t)(t->head_dim + t->v_dim) *
           elem;
}

const struct mixer mixer_gqa = {"gqa", gqa_read, gqa_slots, gqa_state};
