/*
 * check.c -- every tensor that the architecture asks for is there with the right shape and a dtype that is
 * understood, and no other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/parts.h"

enum { NAME_LEN = 512 };
enum want_kind { WANT_FLOAT, WANT_U8, WANT_FP8 };

struct checker {
    struct model *m;
    bool *seen; /* [ckpt.n] */
    struct err *e;
};

static void shape_text(char *buf, size_t n, const uint64_t *shape, int rank)
{
    size_t at = 0;
    int i;

    at += (size_t)snprintf(buf, n, "[");
    for (i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
}

/* The tensor must exist with this shape and kind; marks it as seen. */
static int want(struct checker *c, const char *name, enum want_kind kind, int rank, const uint64_t *shape)
{
    const struct tensor *t = checkpoint_find(&c->m->ckpt, name);
    bool is_float, right, same;
    char have[120], need[120];
    size_t i;

    if (!t)
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' is missing", c->m->dir, name);
    i = (size_t)checkpoint_index(&c->m->ckpt, name);
    c->seen[i] = true;
    is_float = t->dtype == DT_F32 || t->dtype == DT_F16 || t->dtype == DT_BF16;
    right = kind == WANT_FLOAT ? is_float : t->dtype == (kind == WANT_FP8 ? DT_F8_E4M3 : DT_U8);
    if (!right)
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' has dtype %s where %s is needed", c->m->dir, name,
                       dtype_name(t->dtype),
                       kind == WANT_FLOAT ? "BF16, F16 or F32"
                       : kind == WANT_FP8 ? "F8_E4M3"
                                          : "U8");
    same = t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0;
    if (same)
        return 0;
    shape_text(have, sizeof have, t->shape, t->rank);
    shape_text(need, sizeof need, shape, rank);
    if ((c->m->role[i].role == ROLE_EXPERTS || c->m->role[i].role == ROLE_ROUTER) && t->rank == rank &&
        t->shape[0] != shape[0] && memcmp(t->shape + 1, shape + 1, (size_t)(rank - 1) * sizeof *shape) == 0)
        return err_set(c->e, ERR_INPUT,
                       "'%s': tensor '%s' holds %llu experts, config.json says %llu (was it left uncut when "
                       "the model was "
                       "pruned?)",
                       c->m->dir, name, (unsigned long long)t->shape[0], (unsigned long long)shape[0]);
    return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' has shape %s where config.json asks for %s", c->m->dir,
                   name, have, need);
}

#define WANT(c, kind, name, ...)                                                                             \
    want(c, name, kind, (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)),                         \
         (uint64_t[]){__VA_ARGS__})

/* A linear's weight [out, in]: as it is, as compressed-tensors MXFP4, or as block-scaled FP8. */
static int want_linear(struct checker *c, const char *base, int out, int in)
{
    const struct arch *a = &c->m->arch;
    const struct tensor *t;
    char name[NAME_LEN];

    if (a->ct_mxfp4_config) {
        snprintf(name, sizeof name, "%s.weight_packed", base);
        if (checkpoint_find(&c->m->ckpt, name)) {
            if (WANT(c, WANT_U8, name, (uint64_t)out, (uint64_t)in / 2))
                return -1;
            snprintf(name, sizeof name, "%s.weight_scale", base);
            return WANT(c, WANT_U8, name, (uint64_t)out, (uint64_t)in / 32);
        }
    }
    snprintf(name, sizeof name, "%s.weight", base);
    t = checkpoint_find(&c->m->ckpt, name);
    if (a->fp8_config && t && t->dtype == DT_F8_E4M3) {
        if (WANT(c, WANT_FP8, name, (uint64_t)out, (uint64_t)in))
            return -1;
        snprintf(name, sizeof name, "%s.weight_scale_inv", base);
        return WANT(c, WANT_FLOAT, name, ((uint64_t)out + 127) / 128, ((uint64_t)in + 127) / 128);
    }
    return WANT(c, WANT_FLOAT, name, (uint64_t)out, (uint64_t)in);
}

static int want_vector(struct checker *c, const char *base, const char *suffix, int n)
{
    char name[NAME_LEN];

    snprintf(name, sizeof name, "%s%s", base, suffix);
    return WANT(c, WANT_FLOAT, name, (uint64_t)n);
}

struct linear {
    const char *name;
    int out, in;
    bool bias;
};

/* Modules of base, each with its bias if it has one. */
static int want_linears(struct checker *c, const char *base, const struct linear *l, int n)
{
    char name[300];
    int i;

    for (i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s.%s", base, l[i].name);
        if (want_linear(c, name, l[i].out, l[i].in) || (l[i].bias && want_vector(c, name, ".bias", l[i].out)))
            return -1;
    }
    return 0;
}

static int check_gqa(struct checker *c, const char *base)
{
    const struct arch *a = &c->m->arch;
    int q = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    const struct linear l[] = {{"q_proj", q, a->hidden, a->bias_qkv},
                               {"k_proj", kv, a->hidden, a->bias_qkv},
                               {"v_proj", kv, a->hidden, a->bias_qkv},
                               {"o_proj", a->hidden, q, a->bias_o}};

    if (want_linears(c, base, l, 4))
        return -1;
    if (a->qk_norm == QKN_HEAD_PRE || a->qk_norm == QKN_FULL_PRE) {
        bool full = a->qk_norm == QKN_FULL_PRE;

        if (want_vector(c, base, ".q_norm.weight", full ? q : a->head_dim) ||
            want_vector(c, base, ".k_norm.weight", full ? kv : a->head_dim))
            return -1;
    }
    return a->family->sinks ? want_vector(c, base, ".sinks", a->heads) : 0;
}

static int check_mla(struct checker *c, const char *base)
{
    const struct arch *a = &c->m->arch;
    int q = a->heads * a->head_dim, rope = a->head_dim - a->nope_dim;
    const struct linear plain = {"q_proj", q, a->hidden, false};
    const struct linear low[] = {{"q_a_proj", a->q_lora, a->hidden, a->bias_qkv},
                                 {"q_b_proj", q, a->q_lora, false}};
    const struct linear rest[] = {{"kv_a_proj_with_mqa", a->kv_lora + rope, a->hidden, a->bias_qkv},
                                  {"kv_b_proj", a->heads * (a->nope_dim + a->v_dim), a->kv_lora, false},
                                  {"o_proj", a->hidden, a->heads * a->v_dim, a->bias_o}};

    if (a->q_lora ? want_linears(c, base, low, 2) || want_vector(c, base, ".q_a_layernorm.weight", a->q_lora)
                  : want_linears(c, base, &plain, 1))
        return -1;
    return want_linears(c, base, rest, 3) || want_vector(c, base, ".kv_a_layernorm.weight", a->kv_lora) ? -1
                                                                                                        : 0;
}

/* gate, up and down of a dense or shared MLP. */
static int check_mlp(struct checker *c, const char *base, int width)
{
    const struct arch *a = &c->m->arch;
    const struct linear l[] = {{"gate_proj", width, a->hidden, a->bias_mlp},
                               {"up_proj", width, a->hidden, a->bias_mlp},
                               {"down_proj", a->hidden, width, a->bias_mlp}};

    return want_linears(c, base, l, 3);
}

/* Layout A and its MXFP4 form: three matrices for each expert. */
static int check_split(struct checker *c, const char *ffn)
{
    const struct arch *a = &c->m->arch;
    char base[256];
    enum part p;
    int j;

    for (j = 0; j < a->experts; j++)
        for (p = PART_GATE; p <= PART_DOWN; p++) {
            snprintf(base, sizeof base, "%s.experts.%d.%s", ffn, j, part_module(a->family, p));
            if (want_linear(c, base, p == PART_DOWN ? a->hidden : a->inter,
                            p == PART_DOWN ? a->inter : a->hidden))
                return -1;
        }
    return 0;
}

static int check_fused(struct checker *c, const char *ffn)
{
    const struct arch *a = &c->m->arch;
    uint64_t e = (uint64_t)a->experts, h = (uint64_t)a->hidden, n = (uint64_t)a->inter;
    char gu[256], down[256], name[300];

    snprintf(gu, sizeof gu, "%s.experts.gate_up_proj", ffn);
    snprintf(down, sizeof down, "%s.experts.down_proj", ffn);
    if (a->family->expert_bias) {
        snprintf(name, sizeof name, "%s_bias", gu);
        if (WANT(c, WANT_FLOAT, name, e, 2 * n))
            return -1;
        snprintf(name, sizeof name, "%s_bias", down);
        if (WANT(c, WANT_FLOAT, name, e, h))
            return -1;
    }
    if (c->m->layout == EXPERTS_FUSED)
        return WANT(c, WANT_FLOAT, gu, e, 2 * n, h) || WANT(c, WANT_FLOAT, down, e, h, n) ? -1 : 0;
    if (c->m->layout == EXPERTS_INTERLEAVED_IO || c->m->layout == EXPERTS_CONCAT_IO)
        return WANT(c, WANT_FLOAT, gu, e, h, 2 * n) || WANT(c, WANT_FLOAT, down, e, n, h) ? -1 : 0;
    if (h % 32 || n % 32)
        return err_set(c->e, ERR_INPUT,
                       "'%s': MXFP4 needs hidden and intermediate sizes that are multiples of 32", c->m->dir);
    snprintf(name, sizeof name, "%s_blocks", gu);
    if (WANT(c, WANT_U8, name, e, 2 * n, h / 32, 16))
        return -1;
    snprintf(name, sizeof name, "%s_scales", gu);
    if (WANT(c, WANT_U8, name, e, 2 * n, h / 32))
        return -1;
    snprintf(name, sizeof name, "%s_blocks", down);
    if (WANT(c, WANT_U8, name, e, h, n / 32, 16))
        return -1;
    snprintf(name, sizeof name, "%s_scales", down);
    return WANT(c, WANT_U8, name, e, h, n / 32);
}

static int check_moe(struct checker *c, int layer)
{
    const struct arch *a = &c->m->arch;
    const struct family *f = a->family;
    char ffn[160], base[256];

    snprintf(ffn, sizeof ffn, "%smodel.layers.%d.%s", a->prefix, layer, c->m->ffn_module);
    snprintf(base, sizeof base, "%s.%s", ffn, f->router);
    if (want_linear(c, base, a->experts, a->hidden) ||
        (f->router_bias && want_vector(c, base, ".bias", a->experts)))
        return -1;
    if (f->corr_name) {
        snprintf(base, sizeof base, "%s.%s", ffn, f->corr_name);
        if (f->corr_row ? WANT(c, WANT_FLOAT, base, 1, (uint64_t)a->experts)
                        : WANT(c, WANT_FLOAT, base, (uint64_t)a->experts))
            return -1;
    }
    if (f->shared_module && a->shared_inter) {
        snprintf(base, sizeof base, "%s.%s", ffn, f->shared_module);
        if (check_mlp(c, base, a->shared_inter))
            return -1;
        snprintf(base, sizeof base, "%s.shared_expert_gate.weight", ffn);
        if (f->shared_gated && WANT(c, WANT_FLOAT, base, 1, (uint64_t)a->hidden))
            return -1;
    }
    return split_layout(c->m->layout) ? check_split(c, ffn) : check_fused(c, ffn);
}

static int check_layer(struct checker *c, int layer)
{
    const struct arch *a = &c->m->arch;
    char base[160];

    snprintf(base, sizeof base, "%smodel.layers.%d", a->prefix, layer);
    if (want_vector(c, base, ".input_layernorm.weight", a->hidden) ||
        want_vector(c, base, ".post_attention_layernorm.weight", a->hidden))
        return -1;
    snprintf(base, sizeof base, "%smodel.layers.%d.self_attn", a->prefix, layer);
    if (a->family->attn == ATTN_MLA ? check_mla(c, base) : check_gqa(c, base))
        return -1;
    if (a->layer[layer].ffn == FFN_MOE)
        return check_moe(c, layer);
    snprintf(base, sizeof base, "%smodel.layers.%d.%s", a->prefix, layer, a->family->ffn_module);
    return check_mlp(c, base, a->dense_inter);
}

/* What is left over is not understood; say which, and why where that is known. */
static int check_leftovers(struct checker *c)
{
    const struct model *m = c->m;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        const char *name = m->ckpt.tensor[i]->name;

        /* MTP layers are dropped or refused by who writes; a wrapper's other parts are passed through */
        if (c->seen[i] || m->role[i].role == ROLE_MTP)
            continue;
        if (*m->arch.prefix && strncmp(name, m->arch.prefix, strlen(m->arch.prefix)) != 0)
            continue;
        if (m->role[i].layer >= m->arch.layers)
            return err_set(c->e, ERR_UNKNOWN,
                           "'%s': tensor '%s' belongs to layer %d, config.json has layers 0 to %d", m->dir,
                           name, m->role[i].layer, m->arch.layers - 1);
        if (m->role[i].role == ROLE_EXPERT && m->role[i].expert >= m->arch.experts)
            return err_set(c->e, ERR_INPUT,
                           "'%s': tensor '%s' belongs to expert %d, config.json has experts 0 to %d", m->dir,
                           name, m->role[i].expert, m->arch.experts - 1);
        return err_set(c->e, ERR_UNKNOWN, "'%s': tensor '%s' is not understood (family %s)", m->dir, name,
                       m->arch.family->name);
    }
    return 0;
}

int check_tensors(struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    struct checker c = {m, mem_new(m->ckpt.n, sizeof(bool), e), e};
    char base[128];
    int i, r = -1;

    if (!c.seen)
        return -1;
    snprintf(base, sizeof base, "%smodel.embed_tokens.weight", a->prefix);
    if (WANT(&c, WANT_FLOAT, base, (uint64_t)a->vocab, (uint64_t)a->hidden))
        goto done;
    snprintf(base, sizeof base, "%smodel.norm", a->prefix);
    if (want_vector(&c, base, ".weight", a->hidden))
        goto done;
    snprintf(base, sizeof base, "%slm_head", a->prefix);
    if ((!a->tied || model_tensor(m, -1, "lm_head.weight")) && want_linear(&c, base, a->vocab, a->hidden))
        goto done;
    if (a->bias_head && want_vector(&c, base, ".bias", a->vocab))
        goto done;
    for (i = 0; i < a->layers; i++)
        if (check_layer(&c, i))
            goto done;
    r = check_leftovers(&c);
done:
    free(c.seen);
    return r;
}
