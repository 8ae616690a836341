/* compare_summary.c -- rows of one category: means, quantiles, standard errors over documents. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/judge.h"

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double quantile(const float *sorted, size_t n, double q)
{
    double rank = q * (double)(n - 1);
    size_t i = (size_t)rank;
    double part = rank - (double)i;

    return i + 1 < n ? (1 - part) * sorted[i] + part * sorted[i + 1] : sorted[n - 1];
}

/* What a mean is taken of. */
static double value_kl(const struct kl_row *r)
{
    return r->kl;
}
static double value_same(const struct kl_row *r)
{
    return r->same_top;
}
static double value_ratio(const struct kl_row *r)
{
    return (double)r->nll - (double)r->nll_ref;
}

/* The mean over all positions, and its standard error with documents as clusters (see judge.h). */
static double mean(const struct kl_row *row, const int64_t *first, int64_t docs,
                   double (*value)(const struct kl_row *r), double *se)
{
    double n = (double)(first[docs] - first[0]), m = 0, squares = 0;
    int64_t clusters = 0, d, i;

    for (i = first[0]; i < first[docs]; i++)
        m += value(&row[i]);
    m /= n;
    for (d = 0; d < docs; d++) {
        double off = 0;

        for (i = first[d]; i < first[d + 1]; i++)
            off += value(&row[i]) - m;
        squares += off * off;
        clusters += first[d + 1] > first[d];
    }
    *se = clusters > 1 ? sqrt((double)clusters / (double)(clusters - 1) * squares) / n : NAN;
    return m;
}

static void sums(struct compare_row *out, const struct kl_row *row, const int64_t *first, int64_t docs)
{
    double dp2 = 0;
    int64_t d, i;

    for (d = 0; d < docs; d++)
        out->documents += first[d + 1] > first[d];
    for (i = first[0]; i < first[docs]; i++) {
        double dp = exp(-(double)row[i].nll) - exp(-(double)row[i].nll_ref);

        out->nll_ref += row[i].nll_ref;
        out->nll += row[i].nll;
        dp2 += dp * dp;
    }
    out->rms_dp = sqrt(dp2 / (double)out->tokens);
}

int compare_summarize(struct compare_row *out, const struct kl_row *row, const int64_t *first, int64_t docs,
                      struct err *e)
{
    int64_t from = first[0];
    size_t n = (size_t)(first[docs] - from), i;
    double log_ratio, se;
    float *kl;

    memset(out, 0, sizeof *out);
    out->tokens = (int64_t)n;
    if (n == 0)
        return 0;
    kl = mem_new(n, sizeof *kl, e);
    if (!kl)
        return -1;
    for (i = 0; i < n; i++)
        kl[i] = row[from + (int64_t)i].kl;
    qsort(kl, n, sizeof *kl, by_value);
    out->kl_median = quantile(kl, n, 0.5);
    out->kl_p90 = quantile(kl, n, 0.9);
    out->kl_p99 = quantile(kl, n, 0.99);
    out->kl_p999 = quantile(kl, n, 0.999);
    out->kl_max = kl[n - 1];
    free(kl);
    out->kl_mean = mean(row, first, docs, value_kl, &out->kl_se);
    out->same_top = mean(row, first, docs, value_same, &out->same_top_se);
    log_ratio = mean(row, first, docs, value_ratio, &se);
    out->ppl_ratio = exp(log_ratio);
    out->ppl_ratio_se = out->ppl_ratio * se;
    sums(out, row, first, docs);
    return 0;
}
