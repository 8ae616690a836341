/* stability.c -- plans of the two halves of the text, and how many tokens would make them agree. */
#include <math.h>

#include "score/pool.h"

enum { INTERVALS = 200, HALVINGS = 60 };

/* ---- the normal model ---- */

static double upper_tail(double t)
{
    return erfc(t / sqrt(2)) / 2;
}

/* t with upper_tail(t) = q */
static double threshold(double q)
{
    double low = -40, high = 40;
    int i;

    for (i = 0; i < HALVINGS; i++) {
        double mid = (low + high) / 2;

        if (upper_tail(mid) > q)
            low = mid;
        else
            high = mid;
    }
    return (low + high) / 2;
}

double jaccard_of(double rho, double q)
{
    double t, top, sum = 0, overlap;
    int i;

    if (q >= 1 || rho >= 1)
        return 1;
    t = threshold(q);
    top = asin(rho);
    for (i = 0; i <= INTERVALS; i++) /* Simpson's rule */
        sum += (i == 0 || i == INTERVALS ? 1 : i % 2 ? 4 : 2) * exp(-t * t / (1 + sin(top * i / INTERVALS)));
    overlap = q + sum * top / (3 * INTERVALS) / (2 * acos(-1) * q);
    return overlap / (2 - overlap);
}

double correlation_of(double jaccard, double q)
{
    double low = 0, high = 1;
    int i;

    if (jaccard >= 1)
        return 1;
    for (i = 0; i < HALVINGS; i++) {
        double mid = (low + high) / 2;

        if (jaccard_of(mid, q) < jaccard)
            low = mid;
        else
            high = mid;
    }
    return jaccard <= jaccard_of(0, q) ? 0 : (low + high) / 2;
}

/* ---- the halves ---- */

/* The statistics of one half alone. */
static int half_of(struct stats *out, const struct stats *s, int half, struct err *e)
{
    int l, c, i;

    if (stats_new(out, &s->model, s->run, s->layer, s->n_layers, s->category, s->categories, e))
        return -1;
    for (l = 0; l < s->n_layers; l++)
        for (c = 0; c < s->categories; c++)
            for (i = 0; i < s->model.experts; i++)
                stats_cell(out, l, c, half)[i] = stats_cell(s, l, c, half)[i];
    return 0;
}

static double tokens_of(const struct stats *s)
{
    double n = 0;
    int c;

    for (c = 0; c < s->categories; c++)
        n += pool_routed(s, 0, c);
    return n / s->model.topk;
}

static int plan_of_half(struct plan *p, double *tokens, const struct stats *s, const struct score_options *o,
                        int half, struct err *e)
{
    struct score_report ignored;
    struct stats one;
    int status;

    if (half_of(&one, s, half, e))
        return -1;
    *tokens = tokens_of(&one);
    if (*tokens > 0)
        status = score_plan(p, &one, o, &ignored, e);
    else
        status = err_set(e, ERR_INPUT, "one of the halves has no tokens: two documents are needed at least");
    stats_free(&one);
    return status;
}

static void extrapolate(struct stability *t, double q, double wanted)
{
    double rho = correlation_of(t->halves.jaccard, q), goal = correlation_of(wanted, q);

    t->correlation = rho;
    t->whole = jaccard_of(2 * rho / (1 + rho), q);
    if (goal >= 1)
        t->needed = rho >= 1 ? 0 : INFINITY;
    else
        t->needed =
            rho > 0 ? (t->tokens[0] + t->tokens[1]) / 2 * goal * (1 - rho) / (rho * (1 - goal)) : INFINITY;
}

int stability(struct stability *t, const struct stats *s, const struct score_options *o, double wanted,
              struct err *e)
{
    double q = (double)o->keep / s->model.experts;
    struct plan a = {0}, b = {0};
    int status;

    *t = (struct stability){0};
    if (criterion_is_pair(o->criterion) || o->criterion->kind == CRITERION_FILE)
        return err_set(e, ERR_USAGE,
                       "%s does not tell the halves of the data apart: observe two shards, and compare their "
                       "plans with --diff",
                       o->criterion->name);
    if (!(wanted > jaccard_of(0, q) && wanted <= 1))
        return err_set(e, ERR_USAGE, "a Jaccard index of %g is not above chance, which is %.3g here, up to 1",
                       wanted, jaccard_of(0, q));
    status = plan_of_half(&a, &t->tokens[0], s, o, 0, e) || plan_of_half(&b, &t->tokens[1], s, o, 1, e) ||
                     plan_diff(&t->halves, &a, &b, e)
                 ? -1
                 : 0;
    if (status == 0)
        extrapolate(t, q, wanted);
    plan_free(&a);
    plan_free(&b);
    return status;
}

void stability_free(struct stability *t)
{
    plan_diff_free(&t->halves);
}
