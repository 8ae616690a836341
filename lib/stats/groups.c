/* groups.c -- what the groups of a router allow to be kept. */
#include "stats/groups.h"

#include <stdio.h>

struct expert_groups groups_of(const struct model_id *id)
{
    struct expert_groups g = {.experts = id->experts, .topk = id->topk, .groups = 1, .topk_group = 1};

    if (id->groups > 1) {
        g.groups = id->groups;
        g.topk_group = id->topk_group;
        g.top2 = id->group_top2;
    }
    return g;
}

/* Why keep experts cannot stay; false: they can. */
static bool refusal(const struct expert_groups *g, int keep, char *why, size_t n)
{
    int each = keep / g->groups, need = g->topk < keep ? g->topk : keep;

    if (keep % g->groups)
        snprintf(why, n, "each of the %d groups must keep as many as the others", g->groups);
    else if (g->top2 && each < 2)
        snprintf(why, n, "the router adds the two largest scores of a group, so each must keep two");
    else if (g->topk_group * each < need)
        snprintf(why, n, "a token takes %d experts from %d of the %d groups, which would hold %d", need,
                 g->topk_group, g->groups, g->topk_group * each);
    else
        return false;
    return true;
}

bool groups_allow(const struct expert_groups *g, int keep)
{
    char why[160];

    return keep >= 1 && keep <= g->experts && (keep == g->experts || !refusal(g, keep, why, sizeof why));
}

void groups_near(const struct expert_groups *g, int keep, int *below, int *above)
{
    for (*below = keep - 1; *below > 0 && !groups_allow(g, *below); --*below)
        ;
    for (*above = keep + 1; *above <= g->experts && !groups_allow(g, *above); ++*above)
        ;
    if (*below < 0)
        *below = 0;
    if (*above > g->experts)
        *above = 0;
}

int groups_check(const struct expert_groups *g, int keep, enum err_kind kind, struct err *e)
{
    char why[160], ways[80];
    int below, above;

    if (keep < 1 || keep > g->experts)
        return err_set(e, kind, "cannot keep %d of %d experts", keep, g->experts);
    if (groups_allow(g, keep))
        return 0;
    groups_near(g, keep, &below, &above);
    if (below && above)
        snprintf(ways, sizeof ways, "the nearest that can are %d and %d", below, above);
    else if (above == g->experts)
        snprintf(ways, sizeof ways, "no smaller number than %d can", above);
    else
        snprintf(ways, sizeof ways, "the nearest that can is %d", below ? below : above);
    refusal(g, keep, why, sizeof why);
    return err_set(e, kind, "cannot keep %d of %d experts: %s; %s", keep, g->experts, why, ways);
}

static int kept_in(const struct plan_row *row, int from, int n)
{
    int i, kept = 0;

    for (i = from; i < from + n; i++)
        kept += row[i].keep;
    return kept;
}

int groups_check_plan(const struct expert_groups *g, const struct plan *p, struct err *e)
{
    int size = g->experts / g->groups, l, i;

    for (l = 0; l < p->n_layers; l++) {
        const struct plan_row *row = plan_rows(p, l);
        int first = kept_in(row, 0, size);

        for (i = 1; i < g->groups; i++) {
            int kept = kept_in(row, i * size, size);

            if (kept != first)
                return err_set(
                    e, ERR_INPUT,
                    "layer %d of the plan keeps %d of the experts 0 to %d but %d of %d to %d; they "
                    "are groups of the router, and each must keep as many as the others",
                    p->layer[l], first, size - 1, kept, i * size, (i + 1) * size - 1);
        }
        if (groups_check(g, plan_kept(p, l), ERR_INPUT, e)) {
            err_prefix(e, "layer %d of the plan", p->layer[l]);
            return -1;
        }
    }
    return 0;
}
