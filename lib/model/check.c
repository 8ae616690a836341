/*
 * check.c -- every tensor that the architecture asks for is there with the right shape and a dtype that is
 * understood, and no other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/parts.h"
#include "model/slots.h"

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

/* Layout A and its MXFP4 form: a matrix for each expert. */
static int want_each(struct checker *c, const char *base, const struct slot *s)
{
    char name[NAME_LEN], module[SLOT_NAME];
    int j;

    for (j = 0; j < c->m->arch.experts; j++) {
        snprintf(module, sizeof module, s->name, j);
        snprintf(name, sizeof name, "%s%s", base, module);
        if (want_linear(c, name, s->out, s->in))
            return -1;
    }
    return 0;
}

/* One tensor for all experts, or two in MXFP4. */
static int want_stacked(struct checker *c, const char *base, const struct slot *s)
{
    uint64_t e = (uint64_t)c->m->arch.experts, out = (uint64_t)s->out, in = (uint64_t)s->in;
    char module[300], name[NAME_LEN];

    snprintf(module, sizeof module, "%s%s", base, s->name);
    snprintf(name, sizeof name, "%s_bias", module);
    if (s->bias && WANT(c, WANT_FLOAT, name, e, out))
        return -1;
    if (c->m->layout == EXPERTS_FUSED)
        return WANT(c, WANT_FLOAT, module, e, out, in);
    if (c->m->layout != EXPERTS_MXFP4)
        return WANT(c, WANT_FLOAT, module, e, in, out);
    if (in % 32)
        return err_set(c->e, ERR_INPUT,
                       "'%s': MXFP4 needs hidden and intermediate sizes that are multiples of 32", c->m->dir);
    snprintf(name, sizeof name, "%s_blocks", module);
    if (WANT(c, WANT_U8, name, e, out, in / 32, 16))
        return -1;
    snprintf(name, sizeof name, "%s_scales", module);
    return WANT(c, WANT_U8, name, e, out, in / 32);
}

/* One matrix, with its bias if it has one. */
static int want_matrix(struct checker *c, const char *base, const struct slot *s)
{
    char module[300], name[NAME_LEN];

    snprintf(module, sizeof module, "%s%s", base, s->name);
    snprintf(name, sizeof name, "%s.weight", module);
    if (!(s->optional && !checkpoint_find(&c->m->ckpt, name)) &&
        (s->linear ? want_linear(c, module, s->out, s->in)
                   : WANT(c, WANT_FLOAT, name, (uint64_t)s->out, (uint64_t)s->in)))
        return -1;
    return s->bias ? want_vector(c, module, ".bias", s->out) : 0;
}

/* base: what stands before the slots' names. */
static int want_slots(struct checker *c, const char *base, const struct slot *s, int n)
{
    char name[NAME_LEN];
    int i, r = 0;

    for (i = 0; i < n && r == 0; i++, s++) {
        snprintf(name, sizeof name, "%s%s", base, s->name);
        r = s->role == ROLE_EXPERT    ? want_each(c, base, s)
            : s->role == ROLE_EXPERTS ? want_stacked(c, base, s)
            : s->in                   ? want_matrix(c, base, s)
            : s->row                  ? WANT(c, WANT_FLOAT, name, 1, (uint64_t)s->out)
                                      : WANT(c, WANT_FLOAT, name, (uint64_t)s->out);
    }
    return r;
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
    struct checker c = {m, mem_new(m->ckpt.n, sizeof(bool), e), e};
    struct slot s[LAYER_SLOTS];
    char base[128];
    int i, r = -1;

    if (!c.seen || want_slots(&c, m->arch.prefix, s, model_slots(m, s)))
        goto done;
    for (i = 0; i < m->arch.layers; i++) {
        snprintf(base, sizeof base, "%smodel.layers.%d.", m->arch.prefix, i);
        if (want_slots(&c, base, s, layer_slots(m, i, s)))
            goto done;
    }
    r = check_leftovers(&c);
done:
    free(c.seen);
    return r;
}
