/* plan_ranks.c -- the order of a layer's experts, and a new one. */
#include "judge/plan_ranks.h"

#include <stdlib.h>

#include "base/mem.h"

static int by_rank(const void *a, const void *b)
{
    const struct plan_row *x = *(const struct plan_row *const *)a, *y = *(const struct plan_row *const *)b;

    return (x->rank > y->rank) - (x->rank < y->rank);
}

struct plan_row **plan_by_rank(const struct plan *p, int layer, struct err *e)
{
    size_t experts = (size_t)p->model.experts, j;
    struct plan_row *row = plan_rows(p, layer), **order = mem_new(experts, sizeof *order, e);

    for (j = 0; order && j < experts; j++)
        order[j] = &row[j];
    if (order)
        qsort(order, experts, sizeof *order, by_rank);
    return order;
}

int plan_rank_kept(struct plan *p, int layer, struct err *e)
{
    struct plan_row **order = plan_by_rank(p, layer, e);
    int rank = 0, keep, j;

    if (!order)
        return -1;
    for (keep = 1; keep >= 0; keep--)
        for (j = 0; j < p->model.experts; j++)
            if (order[j]->keep == keep)
                order[j]->rank = ++rank;
    free(order);
    return 0;
}
