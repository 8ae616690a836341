/* costs.c -- from an expert's sums to its cost, alone or with the experts that are gone. */
#include "score/costs.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int check_source(const struct model_id *id, const int *layer, int n_layers, const char *what,
                        const struct stats *s, struct err *e)
{
    if (model_id_check(id, what, &s->model, "the statistics", e))
        return -1;
    if (n_layers == s->n_layers && memcmp(layer, s->layer, (size_t)n_layers * sizeof *layer) == 0)
        return 0;
    return err_set(e, ERR_INPUT, "%s and the statistics have different layers (%d and %d of them)", what,
                   n_layers, s->n_layers);
}

/* Whose categories count, after checking that what the criterion needs is there. */
static int find_source(struct costs *c, bool by_category, struct err *e)
{
    const struct score_options *o = c->o;
    const struct matrices *m = o->matrices;
    bool apart = by_category || o->weights;

    c->categories = c->s;
    if (criterion_is_pair(o->criterion)) {
        if (!m)
            return err_set(e, ERR_USAGE, "%s is a criterion of pairs: it needs matrices", o->criterion->name);
        c->categories = &m->head;
        if (check_source(&m->head.model, m->head.layer, m->head.n_layers, "the matrices", c->s, e))
            return -1;
        if (apart && m->pooled)
            return err_set(e, ERR_USAGE,
                           "the matrices do not tell categories apart: observe again without --pool-pairs");
    } else if (o->criterion->kind == CRITERION_FILE) {
        if (!o->scores)
            return err_set(e, ERR_USAGE, "the criterion is a file, but there is none");
        if (check_source(&o->scores->model, o->scores->layer, o->scores->n_layers, "the criterion file", c->s,
                         e))
            return -1;
        if (apart)
            return err_set(e, ERR_USAGE, "a criterion file does not tell categories apart");
    } else if (c->s->categories == 0) {
        return err_set(e, ERR_USAGE, "%s needs statistics", o->criterion->name);
    } else if (o->criterion->kind == CRITERION_COLUMN && !stats_have(c->s, o->criterion->column)) {
        return err_set(
            e, ERR_INPUT,
            "%s needs the column '%s', which these statistics do not have: an earlier version made them, "
            "or some of them; observe again",
            o->criterion->name, statistic_column(o->criterion->column)->name);
    }
    return 0;
}

static int new_cost(struct cost *k, size_t experts, bool pair, struct err *e)
{
    k->scale = 1;
    k->alone = mem_new(experts, sizeof *k->alone, e);
    k->pair = pair ? mem_new(experts * experts, sizeof *k->pair, e) : NULL;
    return k->alone && (k->pair || !pair) ? 0 : -1;
}

static int new_categories(struct costs *c, bool pair, struct err *e)
{
    int i;

    c->category = mem_new((size_t)c->categories->categories, sizeof *c->category, e);
    c->index = mem_new((size_t)c->categories->categories, sizeof *c->index, e);
    if (!c->category || !c->index)
        return -1;
    for (i = 0; i < c->categories->categories; i++)
        if (c->mix.w[i] > 0) {
            c->index[c->n] = i;
            if (new_cost(&c->category[c->n++], (size_t)c->s->model.experts, pair, e))
                return -1;
        }
    return 0;
}

int costs_new(struct costs *c, const struct stats *s, const struct score_options *o, bool by_category,
              struct err *e)
{
    size_t experts = (size_t)s->model.experts;
    bool pair = criterion_is_pair(o->criterion);

    *c = (struct costs){.s = s, .o = o};
    if (find_source(c, by_category, e))
        return -1;
    c->tokens = mem_new(experts, sizeof *c->tokens, e);
    c->pooled = mem_new(experts, sizeof *c->pooled, e);
    c->one = mem_new(experts, sizeof *c->one, e);
    c->routed = mem_new((size_t)c->categories->categories, sizeof *c->routed, e);
    c->pair_sum = pair ? mem_new(experts * experts, sizeof *c->pair_sum, e) : NULL;
    if (!c->tokens || !c->pooled || !c->one || !c->routed || (pair && !c->pair_sum) ||
        mix_init(&c->mix, c->categories, o, e) || new_cost(&c->all, experts, pair, e) ||
        (by_category && new_categories(c, pair, e))) {
        costs_free(c);
        return -1;
    }
    return 0;
}

void costs_free(struct costs *c)
{
    int i;

    mix_free(&c->mix);
    for (i = 0; i < c->n; i++) {
        free(c->category[i].alone);
        free(c->category[i].pair);
    }
    free(c->category);
    free(c->index);
    free(c->all.alone);
    free(c->all.pair);
    free(c->tokens);
    free(c->pooled);
    free(c->one);
    free(c->routed);
    free(c->pair_sum);
    *c = (struct costs){0};
}

/* ---- pairs ---- */

static double pair_value(const struct criterion *k, const struct pair_sums *p)
{
    if (k->kind == CRITERION_GRAM)
        return p->gram;
    if (k->kind == CRITERION_HOPE_SUM)
        return p->weighted;
    return p->n > 0 ? p->weighted / p->n : 0;
}

static void pair_cost(struct cost *out, const struct criterion *k, const struct pair_sums *p, int experts)
{
    int i, j;

    for (i = 0; i < experts; i++) {
        for (j = 0; j < experts; j++)
            out->pair[i * experts + j] = pair_value(k, &p[i * experts + j]);
        out->alone[i] = out->pair[i * experts + i];
    }
}

static int pairs_layer(struct costs *c, int l, struct err *e)
{
    const struct matrices *m = c->o->matrices;
    int experts = c->s->model.experts, categories = m->pooled ? 1 : c->categories->categories, k, i;

    for (k = 0; k < categories; k++) {
        const struct pair_sums *p = matrices_pairs(m, l, k);

        for (c->routed[k] = 0, i = 0; i < experts; i++)
            c->routed[k] += p[i * experts + i].n;
    }
    if (mix_layer(&c->mix, c->categories, l, c->routed, e))
        return -1;
    memset(c->pair_sum, 0, (size_t)experts * (size_t)experts * sizeof *c->pair_sum);
    for (k = 0; k < categories; k++) {
        const struct pair_sums *p = matrices_pairs(m, l, k);
        double scale = c->mix.scale[k];

        for (i = 0; scale > 0 && i < experts * experts; i++) {
            c->pair_sum[i].n += scale * p[i].n;
            c->pair_sum[i].weighted += scale * p[i].weighted;
            c->pair_sum[i].gram += scale * p[i].gram;
        }
    }
    pair_cost(&c->all, c->o->criterion, c->pair_sum, experts);
    for (i = 0; i < experts; i++)
        c->tokens[i] = c->pair_sum[i * experts + i].n;
    for (k = 0; k < c->n; k++)
        pair_cost(&c->category[k], c->o->criterion, matrices_pairs(m, l, c->index[k]), experts);
    return 0;
}

/* ---- scalars ---- */

static int scalars_layer(struct costs *c, int l, struct err *e)
{
    size_t bytes = (size_t)c->s->model.experts * sizeof *c->pooled;
    int experts = c->s->model.experts, k, i;

    for (k = 0; k < c->s->categories; k++)
        c->routed[k] = pool_routed(c->s, l, k);
    if (mix_layer(&c->mix, c->s, l, c->routed, e))
        return -1;
    memset(c->pooled, 0, bytes);
    for (k = 0; k < c->s->categories; k++)
        if (c->mix.scale[k] > 0)
            pool_add(c->pooled, c->s, l, k, c->mix.scale[k]);
    for (i = 0; i < experts; i++) {
        c->all.alone[i] = criterion_value(c->o->criterion, &c->pooled[i]);
        c->tokens[i] = c->pooled[i].n;
    }
    for (k = 0; k < c->n; k++) {
        memset(c->one, 0, bytes);
        pool_add(c->one, c->s, l, c->index[k], 1);
        for (i = 0; i < experts; i++)
            c->category[k].alone[i] = criterion_value(c->o->criterion, &c->one[i]);
    }
    return 0;
}

static void file_layer(struct costs *c, int l)
{
    size_t experts = (size_t)c->s->model.experts, i;

    memcpy(c->all.alone, c->o->scores->score + (size_t)l * experts, experts * sizeof *c->all.alone);
    for (i = 0; i < experts; i++)
        c->tokens[i] = 1;
}

/* What removing all experts costs. */
static double cost_total(const struct cost *c, int experts)
{
    double sum = 0;
    int i, j;

    for (i = 0; i < experts; i++) {
        sum += c->alone[i];
        for (j = 0; c->pair && j < experts; j++)
            sum += j == i ? 0 : c->pair[i * experts + j];
    }
    return sum;
}

int costs_layer(struct costs *c, int l, struct err *e)
{
    int k;

    if (c->o->criterion->kind == CRITERION_FILE) {
        file_layer(c, l);
        return 0;
    }
    if (criterion_is_pair(c->o->criterion) ? pairs_layer(c, l, e) : scalars_layer(c, l, e))
        return -1;
    for (k = 0; k < c->n; k++) {
        double total = cost_total(&c->category[k], c->s->model.experts);

        c->category[k].scale = total > 0 ? c->mix.w[c->index[k]] / total : 0;
    }
    return 0;
}
