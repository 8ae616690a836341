/* candidate.c -- what may be compared: plans that are of the reference, models with its vocabulary. */
#include "judge/candidate.h"

#include <stdlib.h>
#include <string.h>

#include "stats/groups.h"

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

/* 1: digest filled; 0: there is no tokenizer.json. */
static int digest_of_tokenizer(const struct model *m, char digest[HASH_HEX], struct err *e)
{
    char *path = path_join(m->dir, "tokenizer.json", e), *text = NULL;
    size_t n;
    int rc = -1;

    if (!path)
        return -1;
    if (!path_exists(path))
        rc = 0;
    else if (file_read(path, UINT64_C(1) << 30, &text, &n, e) == 0) {
        hash_once(text, n, digest);
        rc = 1;
    }
    free(text);
    free(path);
    return rc;
}

/* The same in another layout; false also where one is not understood. */
static bool same_tokenizer(const char *a, const char *b)
{
    struct err ignored = {0};

    return tokenizer_same(a, b, &ignored) == 1;
}

static int same_vocabulary(const struct model *ref, const struct model *other, struct err *e)
{
    char a[HASH_HEX], b[HASH_HEX];
    int has_a, has_b;

    if (ref->arch.vocab != other->arch.vocab)
        return err_set(e, ERR_INPUT,
                       "%s has a vocabulary of %d tokens and %s one of %d; their distributions cannot be "
                       "compared",
                       other->dir, other->arch.vocab, ref->dir, ref->arch.vocab);
    has_a = digest_of_tokenizer(ref, a, e);
    has_b = has_a < 0 ? -1 : digest_of_tokenizer(other, b, e);
    if (has_b < 0)
        return -1;
    if (has_a && has_b && strcmp(a, b) != 0 && !same_tokenizer(ref->dir, other->dir))
        return err_set(e, ERR_INPUT,
                       "the tokenizer.json of %s differs from that of %s; their distributions cannot be "
                       "compared",
                       other->dir, ref->dir);
    return 0;
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
