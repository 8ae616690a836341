/* pool.c -- sums of an expert over categories and halves, by their weights. */
#include "score/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int category_index(const struct stats *s, const char *name, struct err *e)
{
    struct str known = {0};
    int i;

    for (i = 0; i < s->categories; i++)
        if (strcmp(s->category[i], name) == 0)
            return i;
    for (i = 0; i < s->categories && known.n < 400; i++)
        str_addf(&known, "%s'%s'", i ? ", " : "", s->category[i]);
    err_set(e, ERR_USAGE, "no category '%s' in the statistics: there %s %s%s", name,
            s->categories == 1 ? "is" : "are", known.p ? known.p : "none", i < s->categories ? ", ..." : "");
    str_free(&known);
    return -1;
}

int mix_init(struct mix *m, const struct stats *s, const struct score_options *o, struct err *e)
{
    double sum = 0;
    int i, c;

    m->weighted = o->weights > 0;
    m->w = mem_new((size_t)s->categories, sizeof *m->w, e);
    m->scale = mem_new((size_t)s->categories, sizeof *m->scale, e);
    if (!m->w || !m->scale)
        goto fail;
    for (c = 0; c < s->categories; c++)
        m->w[c] = m->scale[c] = m->weighted ? o->default_weight : 1;
    for (i = 0; i < o->weights; i++) {
        c = category_index(s, o->weight[i].category, e);
        if (c < 0)
            goto fail;
        m->w[c] = o->weight[i].w;
    }
    for (c = 0; c < s->categories; c++) {
        if (!(m->w[c] >= 0 && isfinite(m->w[c]))) {
            err_set(e, ERR_USAGE, "the weight of category '%s' is %g: weights are at least 0", s->category[c],
                    m->w[c]);
            goto fail;
        }
        sum += m->w[c];
    }
    if ((sum > 0 && isfinite(sum)) || !m->weighted)
        return 0;
    err_set(e, ERR_USAGE,
            sum > 0 ? "the weights add up to more than a number can hold" : "no category weighs more than 0");
fail:
    mix_free(m);
    return -1;
}

void mix_free(struct mix *m)
{
    free(m->w);
    free(m->scale);
    *m = (struct mix){0};
}

int mix_layer(struct mix *m, const struct stats *s, int l, const double *routed, struct err *e)
{
    double tokens = 0, weights = 0;
    int c;

    if (!m->weighted)
        return 0;
    for (c = 0; c < s->categories; c++) {
        if (m->w[c] > 0 && !(routed[c] > 0))
            return err_set(e, ERR_INPUT, "category '%s' has a weight but no tokens in layer %d",
                           s->category[c], s->layer[l]);
        tokens += m->w[c] > 0 ? routed[c] : 0;
        weights += m->w[c];
    }
    for (c = 0; c < s->categories; c++)
        m->scale[c] = m->w[c] > 0 ? m->w[c] / weights * (tokens / routed[c]) : 0;
    return 0;
}

double pool_routed(const struct stats *s, int l, int c)
{
    const struct expert_stats *x = stats_cell(s, l, c, 0); /* both halves follow each other */
    uint64_t n = 0;
    int i;

    for (i = 0; i < 2 * s->model.experts; i++)
        n += x[i].n;
    return (double)n;
}

void pool_add(struct pooled *out, const struct stats *s, int l, int c, double scale)
{
    const struct expert_stats *a = stats_cell(s, l, c, 0), *b = stats_cell(s, l, c, 1);
    int i, k;

    for (i = 0; i < s->model.experts; i++) {
        out[i].n += scale * (double)(a[i].n + b[i].n);
        for (k = 0; k < M_COUNT; k++) {
            enum merge_rule rule = statistic_column(k)->merge;
            double both = merged(rule, a[i].m[k], b[i].m[k]);

            out[i].m[k] = merged(rule, out[i].m[k], rule == MERGE_MAX ? both : scale * both);
        }
    }
}
