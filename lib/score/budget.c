/* budget.c -- removals where the next one costs least, until enough are gone. */
#include "score/budget.h"

#include <stdlib.h>

#include "base/mem.h"

/* What the next round of removals costs in a layer that keeps `keep` now. */
static double next_cost(const double *step, const struct expert_groups *g, int keep)
{
    double sum = 0;
    int i;

    for (i = 0; i < g->groups; i++)
        sum += step[g->experts - keep + i];
    return sum;
}

/* The smallest number that the router's groups allow, at least least. */
static int floor_of(const struct expert_groups *g, int least)
{
    while (least < g->experts && !groups_allow(g, least))
        least++;
    return least;
}

int budget_spread(const double *step, int n_layers, const struct expert_groups *g, long total, int *keep,
                  struct err *e)
{
    int *least = mem_new((size_t)n_layers, sizeof *least, e), l, best;
    long all = (long)n_layers * g->experts, must = 0;

    if (!least)
        return -1;
    for (l = 0; l < n_layers; l++) {
        must += least[l] = floor_of(g, keep[l]);
        keep[l] = g->experts;
    }
    if (must > total) {
        free(least);
        return err_set(e, ERR_USAGE,
                       "the layers must keep %ld experts altogether, but only %ld are to stay: keep more, or "
                       "lower the minimum",
                       must, total);
    }
    for (; all - g->groups >= total; all -= g->groups) {
        double cost = 0;

        for (best = -1, l = 0; l < n_layers; l++) {
            double c;

            if (keep[l] - g->groups < least[l])
                continue;
            c = next_cost(step + (size_t)l * (size_t)g->experts, g, keep[l]);
            if (best < 0 || c <= cost) {
                best = l;
                cost = c;
            }
        }
        if (best < 0)
            break;
        keep[best] -= g->groups;
    }
    free(least);
    return 0;
}
