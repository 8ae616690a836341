/* categories.c -- how much text there is of each category. */
#include "observe/categories.h"

#include "base/mem.h"

struct category_count *category_counts(const struct corpus *c, struct err *e)
{
    struct category_count *n = mem_new((size_t)c->categories, sizeof *n, e);
    int64_t d;

    for (d = 0; n && d < c->docs; d++) {
        n[c->doc[d].category].documents++;
        n[c->doc[d].category].tokens += c->doc[d].n;
    }
    return n;
}

int categories_few(const struct corpus *c, const struct category_count *n, const struct arch *a,
                   int64_t *wanted, int *least)
{
    int k, few = 0;

    *wanted = (int64_t)CATEGORY_ROUTED * a->experts / a->topk;
    *least = 0;
    for (k = 0; k < c->categories; k++) {
        few += n[k].tokens < *wanted;
        if (n[k].tokens < n[*least].tokens)
            *least = k;
    }
    return few;
}
