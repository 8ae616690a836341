/* candidate.c -- what may be compared: plans that are of the reference, models with its vocabulary. */
#include "judge/candidate.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "stats/groups.h"
#include "text/tokenizer.h"

static int check_plan(const struct plan *p, const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    int i;

    if (p->n_layers != a->moe_layers)
        return err_set(e, ERR_INPUT, "the plan has %d layers, but %s has experts in %d", p->n_layers, m->dir,
                       a->moe_layers);
    for (i = 0; i < p->n_layers; i++) {
        if (p->layer[i] < 0 || p->layer[i] >= a->layers || a->layer[p->layer[i]].ffn != FFN_MOE)
            return err_set(e, ERR_INPUT, "the plan names layer %d, which has no experts in %s", p->layer[i],
                           m->dir);
        if (plan_kept(p, i) < a->topk)
            return err_set(e, ERR_INPUT,
                           "the plan keeps %d experts of layer %d, but the router chooses %d; masking needs "
                           "at least as many",
                           plan_kept(p, i), p->layer[i], a->topk);
    }
    return 0;
}

int plan_mask(struct mask *mask, const struct plan *p, const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    size_t experts = (size_t)a->experts, n = (size_t)a->layers * experts, j;
    int i;

    *mask = (struct mask){0};
    if (check_plan(p, m, e) || !(mask->experts = mem_new(n, 1, e)))
        return -1;
    memset(mask->experts, 1, n);
    for (i = 0; i < p->n_layers; i++)
        for (j = 0; j < experts; j++)
            mask->experts[(size_t)p->layer[i] * experts + j] = plan_rows(p, i)[j].keep;
    return 0;
}

/* The file of dir's tokenizer, to be freed; NULL: there is none. */
static char *tokenizer_of(const char *dir, struct err *e)
{
    const char *name;
    char *path;
    size_t i;

    for (i = 0; (name = tokenizer_kind(i)); i++) {
        path = path_join(dir, name, e);
        if (!path || path_exists(path))
            return path;
        free(path);
    }
    return NULL;
}

static bool same_bytes(const char *a, const char *b, struct err *e)
{
    char *x = NULL, *y = NULL;
    size_t n, m;
    bool same = file_read(a, UINT64_C(1) << 30, &x, &n, e) == 0 &&
                file_read(b, UINT64_C(1) << 30, &y, &m, e) == 0 && n == m && memcmp(x, y, n) == 0;

    free(x);
    free(y);
    return same;
}

/* Of what is not understood, files that are equal will do. */
static bool same_tokenizer(const char *a, const char *b, const char *file_a, const char *file_b,
                           struct err *e)
{
    struct err ignored = {0};
    int same = tokenizer_same(a, b, &ignored);

    return same < 0 ? same_bytes(file_a, file_b, e) : same > 0;
}

static int same_vocabulary(const struct model *ref, const struct model *other, struct err *e)
{
    char *a, *b;

    if (ref->arch.vocab != other->arch.vocab)
        return err_set(e, ERR_INPUT,
                       "%s has a vocabulary of %d tokens and %s one of %d; their distributions cannot be "
                       "compared",
                       other->dir, other->arch.vocab, ref->dir, ref->arch.vocab);
    a = tokenizer_of(ref->dir, e);
    b = tokenizer_of(other->dir, e);
    if (a && b && !same_tokenizer(ref->dir, other->dir, a, b, e))
        err_set(e, ERR_INPUT,
                "the tokenizer of %s ('%s') differs from that of %s; their distributions cannot be compared",
                other->dir, path_base(b), ref->dir);
    free(a);
    free(b);
    return e->kind ? -1 : 0;
}

static int checked_mask(struct mask *mask, const struct plan *plan, const struct model *ref, struct err *e)
{
    struct expert_groups groups;
    struct model_id id;

    if (model_id_of(&id, ref, e) || model_id_check(&plan->model, "the plan", &id, ref->dir, e))
        return -1;
    groups = groups_of(&id);
    if (groups.groups > 1 && groups_check_plan(&groups, plan, e))
        return -1;
    return plan_mask(mask, plan, ref, e);
}

int candidate_check(const struct candidate *c, const struct model *ref, struct mask *mask, struct err *e)
{
    *mask = (struct mask){0};
    return c->model ? same_vocabulary(ref, c->model, e) : checked_mask(mask, c->plan, ref, e);
}
