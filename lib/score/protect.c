/* protect.c -- which experts stay whatever the criterion says. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "score/pool.h"

static int ascending(const void *va, const void *vb)
{
    double a = *(const double *)va, b = *(const double *)vb;

    return (a > b) - (a < b);
}

/* By linear interpolation between the two nearest of n sorted values. */
static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1), low = floor(at);
    size_t i = (size_t)low;

    return i + 1 < n ? sorted[i] + (at - low) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

int protect_super(unsigned char *flags, const struct stats *s, struct err *e)
{
    size_t experts = (size_t)s->model.experts, n = (size_t)s->n_layers * experts, i;
    double *max = mem_new(n, sizeof *max, e), *sorted = mem_new(n, sizeof *sorted, e), limit;
    int l, c, r = -1;

    if (!max || !sorted || n == 0)
        goto out;
    for (l = 0; l < s->n_layers; l++)
        for (c = 0; c < 2 * s->categories; c++) {
            const struct expert_stats *x = stats_cell(s, l, c / 2, c % 2);

            for (i = 0; i < experts; i++)
                max[(size_t)l * experts + i] = fmax(max[(size_t)l * experts + i], x[i].m[M_MAX]);
        }
    for (i = 0; i < n; i++)
        sorted[i] = max[i];
    qsort(sorted, n, sizeof *sorted, ascending);
    limit = fmax(quantile(sorted, n, 0.995), sorted[n - 1] / 10);
    for (i = 0; i < (size_t)(s->n_layers * 3 / 4) * experts; i++)
        if (max[i] > limit)
            flags[i] |= PROTECT_SUPER;
    r = 0;
out:
    free(max);
    free(sorted);
    return r;
}

/* The n most frequent experts of one category in one layer, the lower index first. */
static void flag_top(unsigned char *flags, uint64_t *count, int experts, int n)
{
    int best, i;

    while (n-- > 0) {
        best = 0;
        for (i = 1; i < experts; i++)
            if (count[i] > count[best])
                best = i;
        if (count[best] == 0)
            return;
        flags[best] |= PROTECT_TOP;
        count[best] = 0;
    }
}

int protect_top(unsigned char *flags, const struct stats *s, int n, struct err *e)
{
    int experts = s->model.experts, l, c, i;
    uint64_t *count = mem_new((size_t)experts, sizeof *count, e);

    if (!count)
        return -1;
    for (l = 0; l < s->n_layers; l++)
        for (c = 0; c < s->categories; c++) {
            const struct expert_stats *a = stats_cell(s, l, c, 0), *b = stats_cell(s, l, c, 1);

            for (i = 0; i < experts; i++)
                count[i] = a[i].n + b[i].n;
            flag_top(flags + (size_t)l * (size_t)experts, count, experts, n);
        }
    free(count);
    return 0;
}

/* The best expert of one ranking that is not taken, is worth something and whose group is not full. */
static int take_one(unsigned char *flags, int *taken, const struct expert_groups *g, const struct cost *c,
                    const int *rank, int stay)
{
    int size = g->experts / g->groups, i;

    for (i = 0; i < g->experts; i++) {
        int x = rank[i], *group = &taken[x / size];

        if (flags[x] & PROTECT_TURNS || !(c->alone[x] > 0) || (!flags[x] && *group >= stay))
            continue;
        *group += !flags[x];
        flags[x] |= PROTECT_TURNS;
        return 1;
    }
    return 0;
}

int protect_in_turns(unsigned char *flags, const struct expert_groups *g, const struct cost *category,
                     int categories, const int *rank, int n, int stay, struct err *e)
{
    int *taken = mem_new((size_t)g->groups, sizeof *taken, e), size = g->experts / g->groups, i, k, round;

    if (!taken)
        return -1;
    for (i = 0; i < g->experts; i++)
        taken[i / size] += flags[i] != 0;
    for (round = 1; round && n > 0;)
        for (round = 0, k = 0; k < categories && n > 0; k++) {
            int got = take_one(flags, taken, g, &category[k], rank + (size_t)k * (size_t)g->experts, stay);

            round += got;
            n -= got;
        }
    free(taken);
    return 0;
}
