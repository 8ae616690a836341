/* cut.c -- old and new numbers of the experts, and the record in the metadata. */
#include "surgery/cut.h"

#include <stdlib.h>
#include <string.h>

#include "surgery/prune.h"

static int cut_new(struct cut *c, const struct model *m, int kept, struct err *e)
{
    const struct arch *a = &m->arch;
    size_t layers = (size_t)a->layers;
    int i;

    *c =
        (struct cut){.experts = a->experts, .kept = kept, .layers = a->layers, .drop_mtp = kept < a->experts};
    c->old = mem_new(layers * (size_t)kept, sizeof *c->old, e);
    c->renumber = mem_new(layers * (size_t)a->experts, sizeof *c->renumber, e);
    c->moe = mem_new(layers, sizeof *c->moe, e);
    if (!c->old || !c->renumber || !c->moe) {
        cut_free(c);
        return -1;
    }
    for (i = 0; i < a->layers; i++)
        c->moe[i] = a->layer[i].ffn == FFN_MOE;
    return 0;
}

/* Experts keep their order: the new number is the rank among those that stay. */
static void set_layer(struct cut *c, int layer, const struct plan_row *row)
{
    int j, next = 0;

    for (j = 0; j < c->experts; j++) {
        bool keep = row ? row[j].keep : j < c->kept;

        c->renumber[layer * c->experts + j] = keep ? next : -1;
        if (keep)
            c->old[layer * c->kept + next++] = j;
    }
}

struct expert_groups prune_groups(const struct model *m)
{
    const struct arch *a = &m->arch;

    /* routers of such families add two scores even where there is only one group */
    return (struct expert_groups){a->experts, a->topk, a->groups, a->topk_group,
                                  a->family->group == GROUP_TOP2};
}

int cut_first(struct cut *c, const struct model *m, int keep, struct err *e)
{
    struct expert_groups groups = prune_groups(m);
    int i;

    if (groups_check(&groups, keep, ERR_USAGE, e) || cut_new(c, m, keep, e))
        return -1;
    for (i = 0; i < c->layers; i++)
        set_layer(c, i, NULL);
    return 0;
}

/* The plan's layers must be the model's MoE layers. */
static int check_layers(const struct model *m, const struct plan *p, struct err *e)
{
    int i, n = 0;

    for (i = 0; i < m->arch.layers; i++) {
        if (m->arch.layer[i].ffn != FFN_MOE)
            continue;
        if (n >= p->n_layers || p->layer[n] > i)
            return err_set(e, ERR_INPUT, "the plan has no rows for layer %d of '%s'", i, m->dir);
        if (p->layer[n] < i)
            break;
        n++;
    }
    if (n < p->n_layers)
        return err_set(e, ERR_INPUT, "the plan has rows for layer %d, which has no experts in '%s'",
                       p->layer[n], m->dir);
    return 0;
}

int cut_from_plan(struct cut *c, const struct model *m, const struct plan *p, struct err *e)
{
    const struct arch *a = &m->arch;
    struct expert_groups groups = prune_groups(m);
    int i, kept;

    /* how many layers there are in all is said in several ways where some predict further tokens: those with
     * experts must be the same, and the digest tells the rest */
    if (strcmp(p->model.family, a->family->name) != 0 || p->model.experts != a->experts ||
        p->model.hidden != a->hidden)
        return err_set(e, ERR_INPUT,
                       "the plan is for a model of family %s with %d experts and hidden size %d; '%s' is %s "
                       "with %d and %d",
                       p->model.family, p->model.experts, p->model.hidden, m->dir, a->family->name,
                       a->experts, a->hidden);
    if (check_layers(m, p, e))
        return -1;
    kept = plan_kept(p, 0);
    for (i = 0; i < p->n_layers; i++) {
        if (plan_kept(p, i) == 0)
            return err_set(e, ERR_INPUT, "the plan keeps no expert of layer %d", p->layer[i]);
        if (plan_kept(p, i) != kept)
            return err_set(e, ERR_INPUT,
                           "the plan keeps %d experts of layer %d but %d of layer %d; config.json has one "
                           "number for all layers, so keep the same number in each",
                           kept, p->layer[0], plan_kept(p, i), p->layer[i]);
    }
    if (groups_check_plan(&groups, p, e) || cut_new(c, m, kept, e))
        return -1;
    for (i = 0; i < p->n_layers; i++)
        set_layer(c, p->layer[i], plan_rows(p, i));
    return 0;
}

int cut_number(const struct cut *c, int layer, int expert)
{
    if (layer < 0 || layer >= c->layers || !c->moe[layer] || expert < 0 || expert >= c->experts)
        return -1;
    return c->renumber[layer * c->experts + expert];
}

void cut_free(struct cut *c)
{
    free(c->old);
    free(c->renumber);
    free(c->moe);
    *c = (struct cut){0};
}

/* ---- the record ---- */

/* Digits, then the character stop (0: the end of the text). */
static int take_int(const char **s, char stop, int max, int *out)
{
    int v = 0, digits = 0;

    for (; **s >= '0' && **s <= '9' && digits < 9; ++*s, digits++)
        v = v * 10 + (**s - '0');
    if (!digits || **s != stop || v > max)
        return -1;
    *s += stop != 0;
    *out = v;
    return 0;
}

/* base[layers][experts]: the first model's numbers of this model's experts; *of: how many it had. */
static int read_record(const struct cut *c, const char *record, int *base, int *of)
{
    const char *s = record;
    int i, j, layer;

    if (take_int(&s, ';', 1 << 20, of) || *of < c->experts)
        return -1;
    for (i = 0; i < c->layers; i++) {
        char end = 0;

        if (!c->moe[i])
            continue;
        for (j = i + 1; j < c->layers; j++)
            end = c->moe[j] ? ';' : end;
        if (take_int(&s, ':', i, &layer) || layer != i)
            return -1;
        for (j = 0; j < c->experts; j++)
            if (take_int(&s, j + 1 < c->experts ? ',' : end, *of - 1, &base[i * c->experts + j]))
                return -1;
    }
    return 0;
}

char *cut_record(const struct cut *c, const struct model *m, struct err *e)
{
    size_t n = (size_t)c->layers * (size_t)c->experts, i;
    int *base = mem_new(n, sizeof *base, e), of = c->experts, layer, j;
    const char *record = checkpoint_meta(&m->ckpt, CUT_KEY);
    struct str s = {0};
    int width = 1;

    if (!base)
        return NULL;
    for (i = 0; i < n; i++)
        base[i] = (int)(i % (size_t)c->experts);
    if (record && read_record(c, record, base, &of)) {
        err_set(e, ERR_INPUT, "'%s/%s': the metadata key '" CUT_KEY "' does not fit the model", m->dir,
                m->ckpt.shard_name[0]);
        free(base);
        return NULL;
    }
    for (j = of - 1; j > 9; j /= 10)
        width++;
    str_addf(&s, "%d", of);
    for (layer = 0; layer < c->layers; layer++) {
        if (!c->moe[layer])
            continue;
        str_addf(&s, ";%d:", layer);
        for (j = 0; j < c->kept; j++)
            str_addf(&s, "%s%0*d", j ? "," : "", width,
                     base[layer * c->experts + c->old[layer * c->kept + j]]);
    }
    free(base);
    if (str_ok(&s, e)) {
        str_free(&s);
        return NULL;
    }
    return s.p;
}
