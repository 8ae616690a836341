/* diff.c -- two plans beside each other, layer by layer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "score/score.h"

/* Pearson correlation of the rank columns, which is Spearman's of what they rank. */
static double rank_correlation(const struct plan_row *a, const struct plan_row *b, int n)
{
    double mean_a = 0, mean_b = 0, ab = 0, aa = 0, bb = 0;
    int i;

    if (n == 1)
        return 1;
    for (i = 0; i < n; i++) {
        mean_a += (double)a[i].rank / n;
        mean_b += (double)b[i].rank / n;
    }
    for (i = 0; i < n; i++) {
        double x = a[i].rank - mean_a, y = b[i].rank - mean_b;

        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static double share(int both, int kept_a, int kept_b)
{
    int either = kept_a + kept_b - both;

    return either ? (double)both / either : 1;
}

static double share_removed(int both, int kept_a, int kept_b, int experts)
{
    return share(experts - kept_a - kept_b + both, experts - kept_a, experts - kept_b);
}

static int check_layers(const struct plan *a, const struct plan *b, struct err *e)
{
    if (a->n_layers == b->n_layers && memcmp(a->layer, b->layer, (size_t)a->n_layers * sizeof *a->layer) == 0)
        return 0;
    return err_set(e, ERR_INPUT, "the plans have rows for different layers (%d and %d of them)", a->n_layers,
                   b->n_layers);
}

int plan_diff(struct plan_diff *d, const struct plan *a, const struct plan *b, struct err *e)
{
    int l, i;

    *d = (struct plan_diff){0};
    if (model_id_check(&a->model, "the first plan", &b->model, "the second", e) || check_layers(a, b, e))
        return -1;
    d->layer = mem_new((size_t)a->n_layers, sizeof *d->layer, e);
    if (!d->layer)
        return -1;
    d->n = a->n_layers;
    for (l = 0; l < d->n; l++) {
        const struct plan_row *ra = plan_rows(a, l), *rb = plan_rows(b, l);
        struct plan_diff_layer *out = &d->layer[l];

        *out = (struct plan_diff_layer){
            .layer = a->layer[l], .kept_a = plan_kept(a, l), .kept_b = plan_kept(b, l)};
        for (i = 0; i < a->model.experts; i++)
            out->both += ra[i].keep && rb[i].keep;
        out->jaccard = share(out->both, out->kept_a, out->kept_b);
        out->removed = share_removed(out->both, out->kept_a, out->kept_b, a->model.experts);
        out->spearman = rank_correlation(ra, rb, a->model.experts);
        d->kept_a += out->kept_a;
        d->kept_b += out->kept_b;
        d->both += out->both;
        d->spearman += out->spearman / d->n;
    }
    d->jaccard = share(d->both, d->kept_a, d->kept_b);
    d->removed = share_removed(d->both, d->kept_a, d->kept_b, d->n * a->model.experts);
    return 0;
}

void plan_diff_free(struct plan_diff *d)
{
    free(d->layer);
    *d = (struct plan_diff){0};
}
