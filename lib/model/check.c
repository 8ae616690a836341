/*
 * check.c -- every tensor that the architecture asks for is there with the right shape and a dtype that is
 * understood, and no other. Of a model that is only to be cut, what lies outside MoE modules may be as it
 * likes, and so may be the numbers of experts that each have tensors of their own.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/words.h"
#include "model/parts.h"
#include "model/slots.h"

enum { NAME_LEN = 512 };

struct checker {
    struct model *m;
    bool *seen; /* [ckpt.n] */
    enum model_level level;
    const char *const *ignored; /* tensors that the user vouches for */
    struct err *e;
};

/* Matrices that no format of several tensors holds, embeddings and routers: plain numbers, or blocks that
 * need nothing beside them. */
#define DT_ALONE (DT_FLOATS | DT_GGML)

/* Something is in the way of running the model: at the level of cutting that is noted (the first time), and
 * checking goes on. r: of what failed or did not. */
static int only_run(struct checker *c, int r)
{
    if (!r || c->level == MODEL_RUN || c->e->kind == ERR_NOMEM)
        return r;
    if (!c->m->cut_only)
        c->m->cut_only = mem_strdup(c->e->msg, NULL);
    *c->e = (struct err){0};
    return 0;
}

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

/* The tensor must exist with this shape and one of these dtypes; marks it as seen. */
static int want(struct checker *c, const char *name, uint64_t dtypes, int rank, const uint64_t *shape)
{
    const struct tensor *t = checkpoint_find(&c->m->ckpt, name);
    char have[120], need[120];
    bool same;
    size_t i;

    if (!t)
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' is missing%s", c->m->dir, name,
                       c->m->ckpt.index_unread
                           ? " in model.safetensors, which is read although an index of shards "
                             "lies beside it: is it a stray or older file?"
                           : "");
    i = (size_t)checkpoint_index(&c->m->ckpt, name);
    c->seen[i] = true;
    if (!(dtypes >> t->dtype & 1)) {
        dtype_list(dtypes, need);
        return err_set(c->e, ERR_INPUT, "'%s': tensor '%s' has dtype %s where %s is needed", c->m->dir, name,
                       dtype_name(t->dtype), need);
    }
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

#define WANT_FLOAT(c, name, ...) WANT_DTYPES(c, name, DT_FLOATS, __VA_ARGS__)
#define WANT_DTYPES(c, name, dtypes, ...)                                                                    \
    want(c, name, dtypes, (int)(sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)),                       \
         (uint64_t[]){__VA_ARGS__})

/* A piece was not as it should be: if that hangs on the block sizes of config.json, they are named. */
static int blame_block(struct checker *c, const struct piece *p, struct block_size b)
{
    const struct err why = *c->e;

    if ((p->dim[0].per != PER_BLOCK && p->dim[1].per != PER_BLOCK) || why.kind != ERR_INPUT)
        return -1;
    *c->e = (struct err){0};
    if (b.out == 1 && b.in)
        return err_set(c->e, why.kind, "%s (groups of %d share a scale)", why.msg, b.in);
    if (b.out && b.in)
        return err_set(c->e, why.kind, "%s (weight_block_size is [%d, %d])", why.msg, b.out, b.in);
    return err_set(c->e, why.kind, "%s (there is no weight_block_size: one scale is for %s)", why.msg,
                   b.out ? "each row" : "all of it");
}

/* A piece of a map in the format that it has. */
static int want_piece(struct checker *c, const char *name, bool fused, int out, int in,
                      const struct format_claim *as, const struct piece *p)
{
    uint64_t shape[1 + PIECE_DIMS] = {(uint64_t)c->m->arch.experts};
    bool in_out = fused && model_in_out(c->m, as->format);
    ptrdiff_t i = checkpoint_index(&c->m->ckpt, name);
    const struct tensor *t = i < 0 ? NULL : c->m->ckpt.tensor[i];
    int rank = piece_shape(p, as->block, (uint64_t)out, (uint64_t)in, in_out, shape + 1);

    if (t) {
        int each = fused && t->rank; /* else it is one for all */
        struct piece_view v = {t->shape + each, t->rank - each, t->dtype};
        struct tensor_role *r = &c->m->role[i];

        r->as = as;
        r->piece = p;
        r->use = p->use;
        r->sure = p->use == USE_WEIGHT;
        if (p->dtypes >> t->dtype & 1 && (!each || t->shape[0] == shape[0]) &&
            piece_has_shape(p, as->block, (uint64_t)out, (uint64_t)in, in_out, &v)) {
            c->seen[i] = true;
            return 0;
        }
    } else if (p->optional) {
        return 0;
    }
    return fused ? want(c, name, p->dtypes, rank + 1, shape) : want(c, name, p->dtypes, rank, shape + 1);
}

/* All pieces of the map [out][in] that is called base, in the format that it has; fused: of all experts. */
static int want_map(struct checker *c, const char *base, bool fused, int out, int in)
{
    struct linear_tensors l;
    const struct piece *p;
    char name[NAME_LEN];
    bool turned;
    int row;

    find_map(c->m, base, fused, out, in, &l);
    turned = l.as->format->turned || (l.as->format->piece->last && fused && model_in_out(c->m, l.as->format));
    row = turned ? out : in;
    if (row % l.as->format->multiple)
        return err_set(c->e, ERR_INPUT, "'%s': '%s' has rows of %d elements, and %s needs a multiple of %d",
                       c->m->dir, base, row, l.as->format->title, l.as->format->multiple);
    FOR_PIECES(p, l.as->format)
    {
        const char *suffix = piece_suffix(p, fused);

        if (!suffix)
            continue;
        snprintf(name, sizeof name, "%s%s", base, suffix);
        if (want_piece(c, name, fused, out, in, l.as, p))
            return checkpoint_find(&c->m->ckpt, name) ? blame_block(c, p, l.as->block) : -1;
    }
    return 0;
}

static int want_linear(struct checker *c, const char *base, int out, int in)
{
    return want_map(c, base, false, out, in);
}

/* In a number format that is not understood: whatever is called "base.ANYTHING" is of this map. */
static bool take_unread(struct checker *c, const char *base)
{
    const struct checkpoint *k = &c->m->ckpt;
    char name[NAME_LEN];
    size_t n = (size_t)snprintf(name, sizeof name, "%s.", base), i;
    bool any = false;

    if (c->level == MODEL_RUN || !*c->m->arch.unread)
        return false;
    for (i = checkpoint_from(k, name); i < k->n && strncmp(k->tensor[i]->name, name, n) == 0; i++)
        if (!strchr(k->tensor[i]->name + n, '.'))
            any = c->seen[i] = true;
    return any;
}

static int want_vector(struct checker *c, const char *base, const char *suffix, int n)
{
    char name[NAME_LEN];

    snprintf(name, sizeof name, "%s%s", base, suffix);
    return WANT_FLOAT(c, name, (uint64_t)n);
}

/* A matrix for each expert. */
static int want_each(struct checker *c, const char *base, const struct slot *s)
{
    char name[NAME_LEN], module[SLOT_NAME];
    int j;

    for (j = 0; j < c->m->arch.experts; j++) {
        snprintf(module, sizeof module, s->name, j);
        snprintf(name, sizeof name, "%s%s", base, module);
        if (!take_unread(c, name) && want_linear(c, name, s->out, s->in))
            return -1;
    }
    return 0;
}

/* One matrix for all experts. */
static int want_stacked(struct checker *c, const char *base, const struct slot *s)
{
    char module[300], name[NAME_LEN];

    snprintf(module, sizeof module, "%s%s", base, s->name);
    snprintf(name, sizeof name, "%s_bias", module);
    if (s->bias && WANT_FLOAT(c, name, (uint64_t)c->m->arch.experts, (uint64_t)s->out))
        return -1;
    return want_map(c, module, true, s->out, s->in);
}

/* In the rows and columns in which it is stored. */
static int want_stored(struct checker *c, const char *module, const struct slot *s)
{
    return s->turned ? want_linear(c, module, s->turned * s->in, s->out / s->turned)
                     : want_linear(c, module, s->out, s->in);
}

/* One matrix, with its bias if it has one. */
static int want_matrix(struct checker *c, const char *base, const struct slot *s)
{
    char module[300], name[NAME_LEN];
    struct linear_tensors l;

    snprintf(module, sizeof module, "%s%s", base, s->name);
    snprintf(name, sizeof name, "%s.weight", module);
    if (s->owner == OF_SHARED && take_unread(c, module))
        return 0;
    if ((!s->optional || find_map(c->m, module, false, 0, 0, &l)) &&
        (s->linear ? want_stored(c, module, s)
                   : WANT_DTYPES(c, name, DT_ALONE, (uint64_t)s->out, (uint64_t)s->in)))
        return -1;
    return s->bias ? want_vector(c, module, ".bias", s->out) : 0;
}

static bool in_moe(const struct slot *s)
{
    return s->owner == OF_ROUTER || s->owner == OF_SHARED || s->owner == OF_EXPERTS;
}

/* The digest is computed of it. */
static int want_router(struct checker *c, const char *base, const struct slot *s)
{
    char name[NAME_LEN];

    snprintf(name, sizeof name, "%s%s.weight", base, s->name);
    return WANT_DTYPES(c, name, DT_ALONE, (uint64_t)s->out, (uint64_t)s->in);
}

/* base: what stands before the slots' names. */
static int want_slots(struct checker *c, const char *base, const struct slot *s, int n)
{
    char name[NAME_LEN];
    int i, r = 0;

    for (i = 0; i < n && r == 0; i++, s++) {
        snprintf(name, sizeof name, "%s%s", base, s->name);
        if (c->level != MODEL_RUN && s->id == SLOT_ROUTER && want_router(c, base, s))
            return -1;
        if (c->level == MODEL_DIGEST)
            continue;
        r = s->role == ROLE_EXPERT    ? want_each(c, base, s)
            : s->role == ROLE_EXPERTS ? want_stacked(c, base, s)
            : s->in                   ? want_matrix(c, base, s)
            : s->row                  ? WANT_FLOAT(c, name, 1, (uint64_t)s->out)
                                      : WANT_FLOAT(c, name, (uint64_t)s->out);
        r = in_moe(s) ? r : only_run(c, r);
    }
    return r;
}

static bool in_moe_module(const struct model *m, size_t i)
{
    const struct tensor_role *r = &m->role[i];

    return r->ffn && m->arch.layer[r->layer].ffn == FFN_MOE;
}

/* What loaders pass over, because they compute it themselves or it is for the numbers of caches and
 * activations only; endings, after a dot or an underscore. */
static const char *const passed_over[] = {"rotary_emb.inv_freq",    "rotary_emb.original_inv_freq",
                                          "rotary_emb.factors",     "rotary_emb.cos_cached",
                                          "rotary_emb.sin_cached",  "_extra_state",
                                          "self_attn.k_scale",      "self_attn.v_scale",
                                          "self_attn.q_scale",      "self_attn.prob_scale",
                                          "self_attn.kv_scale",     "self_attn.attn.k_scale",
                                          "self_attn.attn.v_scale", "k_proj.k_scale",
                                          "v_proj.v_scale",         "kv_cache_scaling_factor",
                                          "k_proj.output_scale",    "v_proj.output_scale"};

static bool may_be_ignored(const struct checker *c, const char *name)
{
    const char *const *p;
    size_t i;

    for (p = c->ignored; p && *p; p++)
        if (fnmatch(*p, name, 0) == 0)
            return true;
    for (i = 0; i < sizeof passed_over / sizeof *passed_over; i++)
        if (ends_with(name, passed_over[i]))
            return true;
    return false;
}

/* What is left over is not understood; say which, and why where that is known. */
static int check_leftovers(struct checker *c)
{
    const struct model *m = c->m;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        const char *name = m->ckpt.tensor[i]->name;

        /* MTP layers are dropped or refused by who writes; a wrapper's other parts are passed through */
        if (c->seen[i] || m->role[i].role == ROLE_MTP || may_be_ignored(c, name))
            continue;
        if (!of_language_model(&m->arch, name))
            continue;
        if (m->role[i].layer >= m->arch.layers)
            return err_set(c->e, ERR_UNKNOWN,
                           "'%s': tensor '%s' belongs to layer %d, config.json has layers 0 to %d", m->dir,
                           name, m->role[i].layer, m->arch.layers - 1);
        if (m->role[i].role == ROLE_EXPERT && m->role[i].expert >= m->arch.experts)
            return err_set(c->e, ERR_INPUT,
                           "'%s': tensor '%s' belongs to expert %d, config.json has experts 0 to %d", m->dir,
                           name, m->role[i].expert, m->arch.experts - 1);
        err_set(c->e, ERR_UNKNOWN,
                "'%s': tensor '%s' is not understood (family %s); if you know that it changes nothing, say "
                "--ignore-tensor '%s'",
                m->dir, name, m->arch.family->name, name);
        if (in_moe_module(m, i) || only_run(c, -1))
            return -1;
    }
    return 0;
}

int check_tensors(struct model *m, const struct model_options *o, struct err *e)
{
    struct err local = {0}; /* what is only noted must not stay in the caller's */
    struct checker c = {m, mem_new(m->ckpt.n, sizeof(bool), e), o ? o->level : MODEL_RUN,
                        o ? o->ignore_tensors : NULL, &local};
    struct slot s[LAYER_SLOTS];
    char base[128];
    int i, r = -1;

    if (!c.seen)
        return -1;
    if (want_slots(&c, m->arch.prefix, s, model_slots(m, s)))
        goto done;
    for (i = 0; i < m->arch.layers; i++) {
        snprintf(base, sizeof base, "%s%slayers.%d.", m->arch.prefix, m->arch.trunk, i);
        if (want_slots(&c, base, s, layer_slots(m, i, s)))
            goto done;
    }
    r = c.level == MODEL_DIGEST ? 0 : check_leftovers(&c);
done:
    if (r)
        err_set(e, local.kind, "%s", local.msg);
    free(c.seen);
    return r;
}
