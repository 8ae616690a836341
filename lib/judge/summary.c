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

/* Standard error of a mean, from the sum of squared deviations. */
static double mean_se(double squares, size_t n)
{
    return n > 1 ? sqrt(squares / ((double)(n - 1) * (double)n)) : 0;
}

static void moments(struct compare_row *out, const struct kl_row *row, size_t n)
{
    double kl = 0, kl2 = 0, ratio2 = 0, ratio;
    size_t i, same = 0;

    for (i = 0; i < n; i++) {
        kl += row[i].kl;
        same += row[i].same_top;
        out->nll_ref += row[i].nll_ref;
        out->nll += row[i].nll;
    }
    kl /= (double)n;
    ratio = (out->nll - out->nll_ref) / (double)n;
    for (i = 0; i < n; i++) { /* a second walk: squares of deviations do not cancel */
        double dk = row[i].kl - kl, dr = (double)row[i].nll - row[i].nll_ref - ratio;

        kl2 += dk * dk;
        ratio2 += dr * dr;
    }
    out->kl_mean = kl;
    out->kl_se = mean_se(kl2, n);
    out->same_top = (double)same / (double)n;
    out->ppl_ratio = exp(ratio);
    out->ppl_ratio_se = out->ppl_ratio * mean_se(ratio2, n);
}

int compare_summarize(struct compare_row *out, const struct kl_row *row, size_t n, struct err *e)
{
    float *kl;
    size_t i;

    memset(out, 0, sizeof *out);
    out->tokens = (int64_t)n;
    if (n == 0)
        return 0;
    kl = mem_new(n, sizeof *kl, e);
    if (!kl)
        return -1;
    for (i = 0; i < n; i++)
        kl[i] = row[i].kl;
    qsort(kl, n, sizeof *kl, by_value);
    out->kl_median = quantile(kl, n, 0.5);
    out->kl_p90 = quantile(kl, n, 0.9);
    out->kl_p99 = quantile(kl, n, 0.99);
    out->kl_p999 = quantile(kl, n, 0.999);
    out->kl_max = kl[n - 1];
    moments(out, row, n);
    free(kl);
    return 0;
}
