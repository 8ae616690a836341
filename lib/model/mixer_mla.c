/*
 * mixer_mla.c -- multi-head latent attention (DeepSeek-V2, section 2.1): its numbers, its tensors, its state.
 */
#include <math.h>

#include "model/config.h"
#include "model/mixer.h"

/* The attention scale grows with the rope's stretch: times m^2, m = 0.1 * mscale_all_dim * ln(factor) + 1. */
static double stretched(const struct rope *r)
{
    double m = r->factor > 1 ? 0.1 * r->mscale_all * log(r->factor) + 1 : 1;

    return r->type != ROPE_DEFAULT && r->mscale_all != 0 ? m * m : 1;
}

static void mla_read(struct arch *a, struct config *c, struct layer_arch *l)
{
    const struct family *f = a->family;
    struct attention_arch *t = &l->attn;
    int rotated;

    attention_read(a, c, t);
    rotated = config_int(c, "qk_rope_head_dim", 2, MAX_DIM, 64);
    /* absent means the class default, null means a plain q projection */
    l->latent.q =
        config_null(c, "q_lora_rank") ? 0 : config_int(c, "q_lora_rank", 1, MAX_DIM, f->default_q_lora);
    l->latent.kv = config_int(c, "kv_lora_rank", 1, MAX_DIM, 512);
    l->latent.nope = config_int(c, "qk_nope_head_dim", 1, MAX_DIM, f->default_nope);
    l->latent.eps = 1e-6; /* a constant of the reference implementation, not rms_norm_eps */
    t->v_dim = config_int(c, "v_head_dim", 1, MAX_DIM, f->default_v);
    t->head_dim = l->latent.nope + rotated;
    if (t->kv_heads != t->heads)
        err_set(c->e, ERR_INPUT, "'%s': latent attention with %d key-value heads for %d heads", c->what,
                t->kv_heads, t->heads);
    if (c->e->kind)
        return;
    attention_rope(a, c, t, rotated);
    t->scale = 1 / sqrt(t->head_dim);
    if (t->rope >= 0 && !c->e->kind)
        t->scale *= stretched(&a->rope[t->rope]);
}

static int mla_slots(const struct arch *a, const struct layer_arch *l, struct slot *s)
{
    const struct attention_arch *t = &l->attn;
    const struct latent_arch *x = &l->latent;
    int q = t->heads * t->head_dim, n = 0;

    if (x->q) {
        s[n++] = (struct slot){SLOT_Q_DOWN, "self_attn.q_a_proj", x->q, a->hidden, t->bias_qkv,
                               true,        .at = MLA_FIRST};
        s[n++] = (struct slot){SLOT_Q_UP, "self_attn.q_b_proj", q, x->q, .linear = true, .at = MLA_Q_UP};
        s[n++] = (struct slot){SLOT_Q_LATENT_NORM, "self_attn.q_a_layernorm.weight", .out = x->q,
                               .at = MLA_Q_NORM};
    } else {
        s[n++] = (struct slot){SLOT_Q, "self_attn.q_proj", q, a->hidden, .linear = true, .at = MLA_FIRST};
    }
    s[n++] = (struct slot){SLOT_KV_DOWN,
                           "self_attn.kv_a_proj_with_mqa",
                           x->kv + t->head_dim - x->nope,
                           a->hidden,
                           t->bias_qkv,
                           true,
                           .at = MLA_FIRST};
    if (x->kv_two) { /* rows of a head follow each other in the product, k before v (load/latent.c) */
        s[n++] = (struct slot){SLOT_K_UP,      "self_attn.k_b_proj", t->heads * x->nope, x->kv,
                               .linear = true, .turned = t->heads,   .at = MLA_KV_UP};
        s[n++] = (struct slot){SLOT_V_UP, "self_attn.v_b_proj", t->heads * t->v_dim,
                               x->kv,     .linear = true,       .at = MLA_KV_UP};
    } else {
        s[n++] = (struct slot){SLOT_KV_UP, "self_attn.kv_b_proj", t->heads * (x->nope + t->v_dim),
                               x->kv,      .linear = true,        .at = MLA_KV_UP};
    }
    s[n++] = (struct slot){SLOT_O, "self_attn.o_proj", a->hidden, t->heads * t->v_dim, t->bias_o,
                           true,   .at = MLA_O};
    s[n++] = (struct slot){SLOT_KV_LATENT_NORM, "self_attn.kv_a_layernorm.weight", .out = x->kv,
                           .at = MLA_KV_NORM};
    return n;
}

/* The latent, and the rotated part of the key. */
static uint64_t mla_state(const struct layer_arch *l, int64_t tokens, size_t elem)
{
    return (uint64_t)attention_kept(&l->attn, tokens) *
           (uint64_t)(l->latent.kv + l->attn.head_dim - l->latent.nope) * elem;
}

const struct mixer mixer_mla = {"mla", mla_read, mla_slots, mla_state};
