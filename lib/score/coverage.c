/* coverage.c -- how many tokens each expert saw, by category. */
#include <stdlib.h>

#include "base/mem.h"
#include "score/score.h"

static int ascending(const void *va, const void *vb)
{
    uint64_t a = *(const uint64_t *)va, b = *(const uint64_t *)vb;

    return (a > b) - (a < b);
}

/* n of every expert of every layer; category < 0: of all categories. */
static void count(uint64_t *n, const struct stats *s, int category)
{
    int experts = s->model.experts, l, c, i;

    for (l = 0; l < s->n_layers; l++, n += experts)
        for (i = 0; i < experts; i++) {
            n[i] = 0;
            for (c = 0; c < s->categories; c++)
                if (category < 0 || c == category)
                    n[i] += stats_cell(s, l, c, 0)[i].n + stats_cell(s, l, c, 1)[i].n;
        }
}

/* Sorts n. */
static void summarize(struct coverage_row *r, uint64_t *n, const struct stats *s, uint64_t least)
{
    int i;

    r->experts = s->n_layers * s->model.experts;
    qsort(n, (size_t)r->experts, sizeof *n, ascending);
    for (i = 0; i < r->experts; i++) {
        r->tokens += (double)n[i];
        r->none += n[i] == 0;
        r->few += n[i] < least;
    }
    r->tokens /= (double)s->n_layers * s->model.topk;
    r->smallest = n[0];
    r->median = ((double)n[(r->experts - 1) / 2] + (double)n[r->experts / 2]) / 2;
}

static void list_few(struct coverage_expert *few, const uint64_t *n, const struct stats *s, uint64_t least)
{
    int experts = s->model.experts, i;

    for (i = 0; i < s->n_layers * experts; i++)
        if (n[i] < least)
            *few++ = (struct coverage_expert){s->layer[i / experts], i % experts, n[i]};
}

int coverage(struct coverage *c, const struct stats *s, uint64_t least, struct err *e)
{
    size_t experts = (size_t)s->n_layers * (size_t)s->model.experts;
    uint64_t *n = mem_new(experts, sizeof *n, e);
    int k;

    *c = (struct coverage){.rows = s->categories + 1};
    c->row = mem_new((size_t)c->rows, sizeof *c->row, e);
    c->few = mem_new(experts, sizeof *c->few, e);
    if (!n || !c->row || !c->few) {
        free(n);
        coverage_free(c);
        return -1;
    }
    for (k = 0; k < c->rows; k++) {
        bool all = k == s->categories;

        count(n, s, all ? -1 : k);
        if (all)
            list_few(c->few, n, s, least);
        c->row[k].category = all ? NULL : s->category[k];
        summarize(&c->row[k], n, s, least);
    }
    free(n);
    return 0;
}

void coverage_free(struct coverage *c)
{
    free(c->row);
    free(c->few);
    *c = (struct coverage){0};
}
